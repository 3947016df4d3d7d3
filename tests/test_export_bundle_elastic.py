"""A bundle carries an elastic network; its width is switched when it is loaded, and nothing else can be slipped in."""

from dataclasses import replace

import pytest

pytest.importorskip("torch", reason="the network of these tests is trained with torch")

from edge.exporting import whole
from export.arm_m import TARGET as ARM_M
from export.bundle import BundleSpec, write_bundle
from export.bundle_read import ELASTIC, read_bundle
from export.errors import ExportError
from quant import graph_file
from quant.elastic import at
from quant.errors import QuantError
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from tests.elastic import SUBNETS, digits, network


def _spec(carried=True):
    data = digits()
    (part,) = whole(at(network(), 8), data.preprocess.apply(data.x_test[:8]))
    part = replace(part, elastic=network()) if carried else part
    return BundleSpec("clothes", "w8a8", data.preprocess, data.labels, (part,))


def test_the_width_is_switched_at_load_time(tmp_path):
    write_bundle(tmp_path / "b", _spec(), ARM_M)
    bundle, data = read_bundle(tmp_path / "b"), digits()
    (part,) = bundle.parts
    assert f"model/{ELASTIC}" in {file.path for file in bundle.manifest.files}
    labels = []
    for subnet in SUBNETS:
        graph = part.at(str(subnet))
        assert graph_file.to_bytes(graph) == graph_file.to_bytes(at(network(), subnet))
        codes = quantise_input(graph.quant(graph.input), data.preprocess.apply(data.x_test[:200]))
        made = run(lower(graph), codes, fast_dot)[graph.output]
        labels.append(made.argmax(axis=1))
        assert (labels[-1] == data.y_test[:200]).mean() > 0.7
        assert len(set(labels[-1].tolist())) > 3
    assert any((other != labels[0]).any() for other in labels[1:])
    with pytest.raises(QuantError, match="no batch norm statistics for w5a5"):
        part.at(5)


def test_the_digest_covers_it(tmp_path):
    write_bundle(tmp_path / "with", _spec(), ARM_M)
    write_bundle(tmp_path / "without", _spec(carried=False), ARM_M)
    assert read_bundle(tmp_path / "with").digest != read_bundle(tmp_path / "without").digest
    file = tmp_path / "with" / "model" / ELASTIC
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(ExportError, match=r"network\.elastic was changed"):
        read_bundle(tmp_path / "with")


def test_a_bundle_without_one_says_so(tmp_path):
    write_bundle(tmp_path / "b", _spec(carried=False), ARM_M)
    (part,) = read_bundle(tmp_path / "b").parts
    assert part.elastic is None
    with pytest.raises(ExportError, match="carries no elastic network"):
        part.at(4)


def test_an_extra_elastic_file_is_refused(tmp_path):
    write_bundle(tmp_path / "with", _spec(), ARM_M)
    write_bundle(tmp_path / "without", _spec(carried=False), ARM_M)
    data = (tmp_path / "with" / "model" / ELASTIC).read_bytes()
    (tmp_path / "without" / "model" / ELASTIC).write_bytes(data)
    with pytest.raises(ExportError, match="not in the manifest"):
        read_bundle(tmp_path / "without")


def test_a_graph_that_is_none_of_its_subnets_is_refused(tmp_path):
    spec = _spec()
    part = spec.parts[0]
    other = replace(part.graph, name="other")
    with pytest.raises(ExportError, match="none of the subnets"):
        write_bundle(tmp_path / "b", replace(spec, parts=(replace(part, graph=other),)), ARM_M)
    assert list(tmp_path.iterdir()) == []
