"""Files that other tools quantised, matched with their float form and diagnosed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

for _package in ("onnx", "onnxruntime", "torch"):
    pytest.importorskip(_package, reason=f"{_package} is not installed")

import onnx  # noqa: E402
import torch  # noqa: E402

from quant.diagnose import diagnose_quantised  # noqa: E402
from quant.diagnosis.foreign import scheme_of  # noqa: E402
from quant.diagnosis.pair import match_graphs  # noqa: E402
from quant.errors import QuantError  # noqa: E402
from quant.graph import Graph  # noqa: E402
from quant.method import apply_method, parse_method  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from quant.onnx_write import to_float_onnx  # noqa: E402
from quant.operators import Conv, Gemm  # noqa: E402
from quant.passes.scaling import find_pairs, rescale  # noqa: E402
from quant.ptq import prepare, quantise  # noqa: E402
from quant.scheme import parse_scheme  # noqa: E402
from tests import faulty_nets, limited_nets  # noqa: E402
from tests.float_nets import inputs, random_net  # noqa: E402
from tests.onnx_models import images  # noqa: E402
from tests.ort_static import static  # noqa: E402
from tests.test_quant_onnx_qdq import SHAPE, small_net  # noqa: E402

# Of the other tools.
pytestmark = pytest.mark.filterwarnings("ignore")


def renamed(graph: Graph) -> Graph:
    """Give every node and tensor a name that says nothing."""
    tensors = {name: f"t{index}" for index, name in enumerate(graph.tensors)}
    nodes = tuple(
        replace(node, name=f"k{i}", inputs=tuple(tensors[n] for n in node.inputs), output=tensors[node.output])
        for i, node in enumerate(graph.nodes)
    )
    return Graph(
        "renamed",
        tensors[graph.input],
        tensors[graph.output],
        nodes,
        {tensors[name]: tensor for name, tensor in graph.tensors.items()},
        {tensors[name]: weight for name, weight in graph.weights.items()},
    )


@pytest.mark.parametrize("seed", range(12))
def test_names_are_not_needed(seed):
    graph, x = prepare(random_net(seed)), inputs(16, seed)
    quantised = quantise(graph, parse_scheme("w8a8"), x)
    pairs = [match_graphs(graph, found) for found in (quantised, renamed(quantised))]
    assert pairs[0].unmatched == pairs[1].unmatched == ()
    weighted = [m for m in pairs[1].matches if isinstance(m.node.op, Conv | Gemm)]
    assert len(weighted) == sum(isinstance(node.op, Conv | Gemm) for node in graph.nodes)
    for first, second in zip(*(pair.matches for pair in pairs), strict=True):
        assert first.node == second.node
        index = [node.name for node in quantised.nodes].index(first.main.name)
        assert second.main.name == f"k{index}"
        assert {first.how, second.how} == {"topology"}


def float_file(folder: Path, graph: Graph) -> Path:
    """Write a float graph as ONNX."""
    model = to_float_onnx(graph)
    shape = ["N", *graph.shape(graph.output)[1:]]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info(graph.output, onnx.TensorProto.FLOAT, shape))
    onnx.save(model, folder / "float.onnx")
    return folder / "float.onnx"


@pytest.mark.parametrize(
    "more", [{}, {"activation": "s8"}, {"per_channel": False}, {"ActivationSymmetric": True}], ids=str
)
def test_files_of_onnx_runtime_are_healthy(tmp_path, more):
    x = faulty_nets.data()
    source = float_file(tmp_path, faulty_nets.plain())
    path = static(source, tmp_path / "ort.onnx", x, **more)
    found = diagnose_quantised(load_onnx(path), load_onnx(source), x)
    assert (found.unmatched, found.healthy, found.findings) == ((), True, ())
    assert len(found.rows) == 5
    assert found.scheme.startswith("w8a8")
    assert ("-pt" in found.scheme) == (more.get("per_channel") is False)


def test_a_file_calibrated_on_other_data(tmp_path):
    x = faulty_nets.data()
    source = float_file(tmp_path, faulty_nets.plain())
    path = static(source, tmp_path / "ort.onnx", x / np.float32(255))
    found = diagnose_quantised(load_onnx(path), load_onnx(source), x)
    assert not found.healthy
    finding = next(finding for finding in found.findings if finding.layer == "x")
    assert finding.cause == "preprocessing"
    assert finding.numbers["high"] / finding.numbers["grid_high"] == pytest.approx(255, rel=0.05)
    assert found.trials[0].cure == "quantise again"
    assert found.trials[0].helped


def test_a_fault_in_a_file_of_onnx_runtime(tmp_path):
    case = faulty_nets.weight_disparity()
    source = float_file(tmp_path, case.graph)
    path = static(source, tmp_path / "ort.onnx", case.inputs, per_channel=False)
    found = diagnose_quantised(load_onnx(path), load_onnx(source), case.inputs)
    assert ("weight_disparity", "n0") in {(finding.cause, finding.layer) for finding in found.findings}
    assert next(t for t in found.trials if t.cause == "weight_disparity" and t.helped).cure == "weights per channel"


def test_a_file_of_nncf(tmp_path):
    pytest.importorskip("nncf", reason="nncf is not installed", exc_type=ImportError)
    from tests.test_quant_import_nncf import quantised

    x = images(SHAPE, 64) * 2
    source = small_net(tmp_path / "float.onnx")
    found = diagnose_quantised(load_onnx(quantised(source, tmp_path / "nncf.onnx", x)), load_onnx(source), x)
    assert found.unmatched == ()
    # NNCF takes the mean of each image's minimum and maximum; the means of these images lie far apart.
    assert {finding.cause for finding in found.findings} <= {"clipped_range"}
    assert all(trial.helped for trial in found.trials if trial.cure == "quantise again")


@pytest.mark.parametrize("name", ["w8a8, float bias", "w4a8", "w2a4"])
def test_a_file_of_brevitas(tmp_path, name):
    pytest.importorskip("brevitas", reason="brevitas is not installed")
    from tests import brevitas_nets

    net = brevitas_nets.trained(brevitas_nets.RECIPES[name])
    quantised = load_onnx(brevitas_nets.qcdq(net, tmp_path / "qcdq.onnx"))
    torch.onnx.export(FloatTwin(net), (torch.zeros(SHAPE_OF_BREVITAS),), tmp_path / "float.onnx", dynamo=False)
    floating = load_onnx(tmp_path / "float.onnx")
    x = brevitas_nets.samples(32, 9).numpy()
    found = diagnose_quantised(quantised, floating, x)
    assert found.unmatched == ()
    assert found.scheme.startswith(name.split(",", maxsplit=1)[0])
    if "w8" in name:
        # Brevitas' ranges come from a few other images and cut off what goes beyond.
        cut = [trial for trial in found.trials if trial.cause == "clipped_range"]
        assert [trial.cure for trial in cut] == ["quantise again"]
        assert cut[0].helped
    weighted = [row.facts for row in found.rows if row.facts.damage.weights is not None]
    assert len(weighted) == 4
    assert all(facts.damage.local.sqnr_db > (30 if "w8" in name else 2) for facts in weighted)


SHAPE_OF_BREVITAS = (1, 3, 12, 12)


class FloatTwin(torch.nn.Module):
    """The float network of `tests.brevitas_nets.Net`, with the same weights."""

    def __init__(self, net: torch.nn.Module):
        super().__init__()
        functional = torch.nn.functional
        self.conv, self.linear = functional.conv2d, functional.linear
        for name in ("stem", "depthwise", "pointwise", "fc"):
            layer = getattr(net, name)
            self.register_buffer(f"{name}_weight", layer.weight.detach().clone())
            self.register_buffer(f"{name}_bias", layer.bias.detach().clone())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        x = self.conv(x, self.stem_weight, self.stem_bias, padding=1).relu()
        x = (x + self.conv(x, self.depthwise_weight, self.depthwise_bias, padding=1, groups=8)).relu()
        x = torch.nn.functional.max_pool2d(x, 2)
        x = self.conv(x, self.pointwise_weight, self.pointwise_bias).relu()
        return self.linear(x.mean(dim=(2, 3)), self.fc_weight, self.fc_bias)


@pytest.mark.parametrize("passes", ["cle", "smooth"])
def test_channels_that_were_scaled_are_compared_alike(passes):
    graph, x = prepare(faulty_nets.plain()), faulty_nets.data()
    # The same function with very uneven channels between the convolutions, for the pass to even out.
    first, *_ = find_pairs(graph)
    graph = rescale(graph, first, np.exp2(np.linspace(-3, 3, faulty_nets.WIDTH)))
    quantised = apply_method(graph, parse_scheme("w8a8"), parse_method(passes), x)
    found = diagnose_quantised(quantised, graph, x)
    assert found.equalised[0] == "n0"
    assert (found.healthy, found.findings) == (True, ())
    # What is left between the weights is the rounding of 8 bits, and not the factors of the channels.
    effects = [row.facts.damage.weights for row in found.rows if row.facts.damage.weights is not None]
    assert all(effect.error.sqnr_db > 25 for effect in effects)
    plain = quantise(graph, parse_scheme("w8a8"), x)
    assert diagnose_quantised(plain, graph, x).equalised == ()


def test_what_cannot_be_matched_is_named():
    graph, x = prepare(faulty_nets.plain()), faulty_nets.data()
    other = quantise(graph, parse_scheme("w8a8"), x)
    # A layer of other shape: the quantised network has 12 channels where the float one has 16.
    narrow = prepare(narrower())
    pair = match_graphs(narrow, other)
    assert pair.unmatched == ("n0", "n2")
    assert [(match.node.name, match.how) for match in pair.matches] == [("n4", "name"), ("n5", "topology")]


def narrower() -> Graph:
    """A network whose mean and last layer are those of the plain one, and nothing before them."""
    from tests.float_nets import Net

    net = Net(7)
    net.conv(12)
    net.clip()
    net.conv(16, 5, 1, (2, 2, 2, 2))
    net.clip()
    net.mean()
    net.gemm(5)
    return net.graph()


@pytest.mark.parametrize(
    ("other", "says"),
    [
        (random_net(1, classes=7), r"the output .* has shape \[1, 5\], that of .* \[1, 7\]"),
        (random_net(1, depth=0), "no layer of float model 'net' matches"),
    ],
    ids=["classes", "layers"],
)
def test_another_network(other, says):
    quantised = quantise(other, parse_scheme("w8a8"), inputs(8))
    floating = prepare(faulty_nets.plain())
    if "no layer" in says:
        floating = prepare(gemm_only())
    with pytest.raises(QuantError, match=says):
        match_graphs(floating, quantised)


def gemm_only() -> Graph:
    """A network of the same ends whose layers all have other shapes."""
    from tests.float_nets import Net

    net = Net(9)
    net.conv(6, 5, 1, (2, 2, 2, 2))
    net.mean()
    net.gemm(5)
    return net.graph()


def test_the_scheme_of_a_graph_is_read_back():
    graph, x = prepare(faulty_nets.plain()), faulty_nets.data()
    for name in ("w8a8", "w4a8-pt", "w8a8-sym", "we4m3-ae4m3", "w4a8;n0=w8a8"):
        scheme = parse_scheme(name)
        found = scheme_of(match_graphs(graph, quantise(graph, scheme, x)))
        assert str(found) == name.replace("e4m3-ae4m3", "e4m3-ae4m3-sym") or str(found) == name


def test_limits_of_scaled_channels_are_compared_alike():
    """Equalised across ReLU6: the quantised graph has a Minimum where the float model has one limit for all."""
    graph = limited_nets.mobile(1)
    x = limited_nets.images(graph, 48)
    quantised = apply_method(graph, parse_scheme("w8a8"), parse_method("cle"), x)
    found = diagnose_quantised(quantised, graph, x)
    assert (found.equalised, found.unmatched) == (("n0", "n2", "n5", "n8", "n12"), ())
    assert {row.facts.kind for row in found.rows} >= {"Conv", "Minimum"}
    effects = [row.facts.damage.weights for row in found.rows if row.facts.damage.weights is not None]
    assert len(effects) == 8
    assert all(effect.error.sqnr_db > 20 for effect in effects)
