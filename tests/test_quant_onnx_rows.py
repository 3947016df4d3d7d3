"""1-D networks: ONNX over [N, C, L] computes what ONNX Runtime computes, and runs on every exact target."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from devices.runtimes import RUNTIMES  # noqa: E402
from export.target import Source  # noqa: E402
from export.targets import TARGETS  # noqa: E402
from quant.errors import QuantError  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from quant.program import lower  # noqa: E402
from quant.ptq import quantise  # noqa: E402
from quant.reference import quantise_input, run  # noqa: E402
from quant.scheme import parse_scheme  # noqa: E402
from tests.onnx_models import NODE, images, same_as_ort, save, weights  # noqa: E402

WAVE = (1, 3, 24)
INT = np.int64


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.onnx"


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2], "pads": [1, 2]},
        {"dilations": [3]},
        {"auto_pad": "SAME_UPPER", "strides": [2]},
        {"kernel_shape": [5]},
    ],
)
def test_convolutions(file, attributes):
    graph = same_as_ort(
        save(file, [NODE("Conv", ["x", "w"], ["y"], **attributes)], {"w": weights(4, 3, 5)}, WAVE), WAVE
    )
    assert [node.kind for node in graph.nodes] == ["Reshape", "Conv", "Reshape"]
    assert graph.shape(graph.input) == WAVE
    assert len(graph.shape(graph.output)) == 3


@pytest.mark.parametrize(
    "node",
    [
        NODE("MaxPool", ["c"], ["m"], kernel_shape=[3], strides=[2], pads=[1, 0]),
        NODE("AveragePool", ["c"], ["m"], kernel_shape=[4], strides=[3]),
        NODE("Pad", ["c", "counts"], ["m"]),
        NODE("Slice", ["c", "from", "to", "axis", "by"], ["m"]),
        NODE("Concat", ["c", "c"], ["m"], axis=-1),
        NODE("Concat", ["c", "c"], ["m"], axis=1),
        NODE("BatchNormalization", ["c", "g", "b", "e", "v"], ["m"]),
        NODE("Relu", ["c"], ["m"]),
        NODE("HardSwish", ["c"], ["m"]),
        NODE("Add", ["c", "c"], ["m"]),
    ],
)
def test_what_may_stand_behind(file, node):
    rng = np.random.default_rng(0)
    constants = {"w": weights(4, 3, 5), "counts": np.array([0, 0, 2, 0, 0, 1], INT), "from": np.array([1], INT)}
    constants |= {"to": np.array([19], INT), "axis": np.array([-1], INT), "by": np.array([2], INT)}
    constants |= {name: rng.uniform(0.5, 2, 4).astype(np.float32) for name in "gbev"}
    nodes = [NODE("Conv", ["x", "w"], ["c"], pads=[2, 2]), node, NODE("GlobalAveragePool", ["m"], ["a"])]
    same_as_ort(save(file, [*nodes, NODE("Flatten", ["a"], ["y"])], constants, WAVE), WAVE)
    same_as_ort(save(file, [*nodes[:2], NODE("Relu", ["m"], ["y"])], constants, WAVE), WAVE)


@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axis", [2, -1])
def test_means(file, keep, axis):
    nodes = [
        NODE("Conv", ["x", "w"], ["c"]),
        NODE("ReduceMean", ["c"], ["y"], axes=[axis], keepdims=keep),
    ]
    same_as_ort(save(file, nodes, {"w": weights(4, 3, 5)}, WAVE), WAVE)


def test_one_constant_per_channel_behind_a_convolution(file):
    nodes = [NODE("Conv", ["x", "w"], ["c"]), NODE("Add", ["c", "b"], ["y"])]
    for shape in ((1, 4, 1), (4, 1)):
        graph = same_as_ort(save(file, nodes, {"w": weights(4, 3, 5), "b": weights(*shape)}, WAVE), WAVE)
        assert [node.kind for node in graph.nodes] == ["Reshape", "Conv", "Reshape"]


def test_quantised_files(file):
    """A QDQ file of a 1-D convolution: weights as codes with three axes, scales per channel."""
    constants = {"s": np.float32(0.05), "z": np.int8(3), "codes": np.arange(60, dtype=np.int8).reshape(4, 3, 5)}
    constants |= {
        "ws": np.array([0.01, 0.02, 0.03, 0.04], np.float32),
        "wz": np.zeros(4, np.int8),
        "t": np.float32(0.4),
    }
    nodes = [
        NODE("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        NODE("DequantizeLinear", ["xq", "s", "z"], ["xr"]),
        NODE("DequantizeLinear", ["codes", "ws", "wz"], ["wr"], axis=0),
        NODE("Conv", ["xr", "wr"], ["c"]),
        NODE("QuantizeLinear", ["c", "t", "z"], ["yq"]),
        NODE("DequantizeLinear", ["yq", "t", "z"], ["y"]),
    ]
    graph = load_onnx(save(file, nodes, constants, WAVE))
    conv = next(node for node in graph.nodes if node.kind == "Conv")
    np.testing.assert_array_equal(graph.weights[conv.inputs[1]], constants["codes"][:, :, None])
    assert graph.quant(conv.output).scale == (float(np.float32(0.4)),)


def test_a_matrix_product_over_three_axes_is_still_refused(file):
    nodes = [NODE("Conv", ["x", "w"], ["c"]), NODE("MatMul", ["c", "m"], ["y"])]
    with pytest.raises(QuantError, match=r"MatMul.*only \[batch, features\]"):
        load_onnx(save(file, nodes, {"w": weights(4, 3, 5), "m": weights(20, 6)}, WAVE))


def audio_net(file):
    """A small keyword network with 1-D depthwise layers and a gate, exported by torch; returns its float graph."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    nn = torch.nn

    class Audio(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.front = nn.Sequential(nn.Conv1d(3, 8, 5, 2, 2), nn.BatchNorm1d(8), nn.Hardswish(), nn.MaxPool1d(2))
            self.deep = nn.Sequential(nn.Conv1d(8, 8, 3, padding=1, groups=8), nn.ReLU(), nn.Conv1d(8, 12, 1))
            self.gate = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Conv1d(12, 12, 1), nn.Hardsigmoid())
            self.head = nn.Linear(12, 6)

        def forward(self, x):
            x = self.deep(self.front(x))
            return self.head((x * self.gate(x)).mean(-1))

    torch.manual_seed(3)
    net = Audio().eval()
    with torch.no_grad():
        for value in net.parameters():
            value.mul_(2.0)
        x = torch.from_numpy(images(WAVE, 16, 1))
        net.head.bias -= net(x).mean(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            net, (x[:1],), str(file), opset_version=17, dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "N"}}
        )
    return same_as_ort(file, WAVE)


@pytest.mark.parametrize("name", ["tflite-micro", "c-host", "verilator"])
def test_an_audio_network_is_exact_on_every_target(file, name, tmp_path):
    found = next(runtime for runtime in RUNTIMES if runtime.name == name)
    if found.missing():
        pytest.skip(found.missing())
    graph, x = audio_net(file), images(WAVE, 16, 1)
    made = quantise(graph, parse_scheme("w8a8"), x)
    codes = quantise_input(made.quant(made.input), x)
    values = run(lower(made), codes)
    target = next(target for target in TARGETS if target.name == found.target)
    (folder := tmp_path / "part").mkdir()
    target.write(Source("net", made, codes, values[made.output]), folder)
    session = found.open(folder, "net", made)
    try:
        shown = session.tensors(codes)
    finally:
        session.close()
    assert len(shown) > 8
    for tensor, got in shown.items():
        np.testing.assert_array_equal(got.reshape(values[tensor].shape), values[tensor], err_msg=tensor)
    assert len(set(values[made.output].argmax(axis=1).tolist())) > 2
