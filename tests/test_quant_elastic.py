"""An elastic network as a file: exact, strict, and every width made of it without training or data."""

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="the network of these tests is trained with torch")

from quant import elastic_file, graph_file
from quant.elastic import ElasticNetwork, at, check_network, code_range
from quant.errors import QuantError
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from quant.subnet import uniform
from tests.elastic import LAYERS, MIXED, SUBNETS, digits, network


def _outputs(graph, count=48):
    data = digits()
    codes = quantise_input(graph.quant(graph.input), data.preprocess.apply(data.x_test[:count]))
    return run(lower(graph), codes, fast_dot)[graph.output]


def test_code_ranges():
    assert code_range(4, signed=True, weights=True) == (-8, 7)
    assert code_range(8, signed=True, weights=True) == (-127, 127)
    assert code_range(8, signed=True, weights=False) == (-128, 127)
    assert code_range(2, signed=False, weights=False) == (0, 3)


def test_a_file_gives_every_width_without_training(tmp_path):
    path = tmp_path / "net.elastic"
    elastic_file.save(network(), path)
    assert [file.name for file in tmp_path.iterdir()] == ["net.elastic"]
    read = elastic_file.load(path)
    assert tuple(read.subnets) == SUBNETS
    graphs = {subnet: at(read, subnet) for subnet in SUBNETS}
    for subnet, graph in graphs.items():
        assert graph_file.to_bytes(graph) == graph_file.to_bytes(at(network(), str(subnet)))
        made = _outputs(graph)
        assert (made != made[:1]).any(axis=0).all()
        assert len(set(made.argmax(axis=1).tolist())) > 3
    # The widths are real: other formats, and another function.
    weights = [graphs[uniform(LAYERS, bits)].quant("conv1.weight").format.name for bits in (2, 3, 4, 8)]
    assert weights == ["int2", "int3", "int4", "int8"]
    assert graphs[MIXED].quant("relu0.out").format.name == "int2"
    assert graphs[MIXED].quant("norm1.out").format.name == "int5"
    assert (_outputs(graphs[SUBNETS[0]]) != _outputs(graphs[SUBNETS[3]])).any()


def test_short_names_find_a_subnet():
    for which in (4, "4", "w4a4", uniform(LAYERS, 4)):
        assert graph_file.to_bytes(at(network(), which)) == graph_file.to_bytes(at(network(), SUBNETS[2]))


def test_a_subnet_without_statistics_is_refused_with_those_there_are():
    with pytest.raises(QuantError, match=r"no batch norm statistics for w5a5.*It has: w2a2, w3a3, w4a4, w8a8, w3\.8a2"):
        at(network(), 5)
    with pytest.raises(QuantError, match="names no subnet"):
        at(network(), "four")


def test_shared_weights_are_there_once():
    data = elastic_file.to_bytes(network())
    one = replace(network(), subnets={SUBNETS[0]: network().subnets[SUBNETS[0]]})
    # A subnet costs only its batch norm statistics.
    norms = sum(values.nbytes for pair in network().subnets[SUBNETS[0]].values() for values in pair)
    per_subnet = (len(data) - len(elastic_file.to_bytes(one))) / (len(SUBNETS) - 1)
    assert norms <= per_subnet < 12 * norms + 2000


def test_every_changed_byte_is_refused():
    data = elastic_file.to_bytes(network())
    places = np.random.default_rng(0).choice(len(data), 150, replace=False)
    for place in places:
        changed = bytearray(data)
        changed[place] ^= 1 << int(place % 8)
        with pytest.raises(QuantError):
            elastic_file.from_bytes(bytes(changed))
    for cut in (0, 10, len(data) // 2, len(data) - 1):
        with pytest.raises(QuantError):
            elastic_file.from_bytes(data[:cut])


def _rewritten(change):
    """The file with another header, honestly zipped."""
    source = zipfile.ZipFile(io.BytesIO(elastic_file.to_bytes(network())))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in source.namelist():
            data = source.read(name)
            if name == "elastic.json":
                header = json.loads(data)
                change(header)
                data = json.dumps(header, indent=1, sort_keys=True).encode()
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h.update(schema=2),
        lambda h: h.update(more=1),
        lambda h: h.pop("layers"),
        lambda h: h["layers"].reverse(),
        lambda h: h["layers"][0].update(widths=[2, 8]),
        lambda h: h["layers"][1].update(widths=[2.0, 3, 4, 5, 6, 7, 8]),
        lambda h: h["tensors"].pop("mean"),
        lambda h: h["tensors"]["mean"].update(signed="no"),
        lambda h: h["subnets"].append("w5a5"),
        lambda h: h.update(subnets=[]),
        lambda h: h.update(subnets=["w2a2"] * 5),
        lambda h: h["arrays"].reverse(),
        lambda h: h.update(arrays=3),
    ],
)
def test_a_forged_header_is_refused(change):
    assert elastic_file.from_bytes(_rewritten(lambda _: None)).subnets.keys() == network().subnets.keys()
    with pytest.raises(QuantError):
        elastic_file.from_bytes(_rewritten(change))


def test_a_message_names_the_file(tmp_path):
    path = tmp_path / "bad.elastic"
    path.write_bytes(b"no zip")
    with pytest.raises(QuantError, match=r"bad\.elastic: this is not a readable elastic network"):
        elastic_file.load(path)
    with pytest.raises(QuantError, match=r"cannot read .*none\.elastic"):
        elastic_file.load(tmp_path / "none.elastic")


def _with_table(change) -> ElasticNetwork:
    layer = network().layers[1]
    wrong = replace(layer, per_layer=change(layer.per_layer))
    return replace(network(), layers=(network().layers[0], wrong, *network().layers[2:]))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: replace(network(), subnets={}), "at least one subnet"),
        (lambda: replace(network(), layers=network().layers[1:]), "layers are"),
        (lambda: replace(network(), tensors={}), "tensors are"),
        (
            lambda: replace(network(), subnets={uniform(3, 4): next(iter(network().subnets.values()))}),
            "2 elastic layers",
        ),
        (lambda: replace(network(), subnets={SUBNETS[0]: {}}), "batch norms for w2a2"),
        (lambda: _with_table(lambda t: replace(t, symmetric=-t.symmetric)), "greater than 0"),
        (lambda: _with_table(lambda t: replace(t, symmetric=t.symmetric * np.nan)), "finite"),
        (lambda: _with_table(lambda t: replace(t, offset=t.offset[:, 1:])), r"float32 \[1, 7\]"),
        (lambda: _with_table(lambda t: replace(t, widths=(2, 3))), "different widths"),
    ],
)
def test_parts_that_do_not_fit_are_refused(make, words):
    with pytest.raises(QuantError, match=words):
        check_network(make())


def test_a_gamma_that_is_not_positive_cannot_fold_into_scales():
    weights = dict(network().graph.weights)
    weights["norm1.weight"] = weights["norm1.weight"] * np.float32(-1)
    wrong = replace(network(), graph=replace(network().graph, weights=weights))
    with pytest.raises(QuantError, match=r"norm1.*gamma must be positive"):
        at(wrong, 4)
