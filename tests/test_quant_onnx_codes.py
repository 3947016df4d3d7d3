"""QDQ files as other tools write them: operators on codes, Q/DQ of float weights, integer inputs; and refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from quant.errors import QuantError  # noqa: E402
from quant.formats import Array  # noqa: E402
from quant.graph import Graph  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from quant.program import lower  # noqa: E402
from quant.ptq import prepare  # noqa: E402
from quant.reference import dequantise, quantise_input, run  # noqa: E402
from tests.onnx_models import NODE, images, ort_run, save, weights  # noqa: E402

INT = np.int64
SHAPE = (1, 3, 6, 6)
#: Scales and zero points by name: `u` and `v` are uint8 grids, `i` an int8 grid, `w` the weights' grid.
GRIDS: dict[str, Any] = {
    "u_s": np.float32(0.04),
    "u_z": np.uint8(120),
    "v_s": np.float32(0.03),
    "v_z": np.uint8(7),
    "i_s": np.float32(0.05),
    "i_z": np.int8(-9),
    "w_s": np.float32(0.01),
    "w_z": np.int8(0),
}
WEIGHT = np.clip(np.rint(weights(4, 3, 3, 3) / 0.01), -127, 127).astype(np.int8)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.onnx"


def q(source: str, output: str, grid: str = "u") -> Any:
    """A QuantizeLinear on one of GRIDS."""
    return NODE("QuantizeLinear", [source, f"{grid}_s", f"{grid}_z"], [output], name=f"q_{output}")


def dq(source: str, output: str, grid: str = "u", **attributes: int) -> Any:
    """A DequantizeLinear on one of GRIDS."""
    return NODE("DequantizeLinear", [source, f"{grid}_s", f"{grid}_z"], [output], name=f"dq_{output}", **attributes)


def pair(source: str, output: str, grid: str = "u") -> list[Any]:
    """A Q/DQ pair."""
    return [q(source, f"{output}_q", grid), dq(f"{output}_q", output, grid)]


def conv(source: str, output: str, **attributes: Any) -> list[Any]:
    """A convolution with quantised weights and no bias."""
    return [
        dq("weight", f"{output}_w", "w"),
        NODE("Conv", [source, f"{output}_w"], [output], name=output, **attributes),
    ]


def within(path: Path, lsb: int, shape: tuple[int, ...] = SHAPE, x: Array | None = None) -> Graph:
    """Assert that the imported graph gives ONNX Runtime's codes within `lsb`; return it."""
    x = images(shape, 16) if x is None else x
    graph = load_onnx(path)
    codes = quantise_input(graph.quant(graph.input), x)
    ours = run(lower(graph), codes)[graph.output]
    real = ort_run(path, x, "ORT_DISABLE_ALL")
    theirs = quantise_input(graph.quant(graph.output), real)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= lsb
    assert ours.reshape(16, -1).std(axis=0).max() > 0
    assert len(np.unique(ours)) > 4
    return graph


def model(file: Path, nodes: list[Any], constants: dict[str, Any] | None = None, **more: Any) -> Path:
    """Write a model with the grids and the weight."""
    shape = more.pop("shape", SHAPE)
    return save(file, nodes, {**GRIDS, "weight": WEIGHT, **(constants or {})}, shape, **more)


def test_a_pair_between_conv_and_clip_is_a_rounding_of_its_own(file):
    constants = {"low": np.float32(0), "high": np.float32(3)}
    clip = NODE("Clip", ["c_d", "low", "high"], ["k"], name="clip")
    nodes = [*pair("x", "a"), *conv("a", "c"), *pair("c", "c_d"), clip, *pair("k", "y", "v")]
    graph = within(model(file, nodes, constants), 1)
    assert [(node.kind, node.clip) for node in graph.nodes] == [("Conv", None), ("Clip", None)]


def test_no_pair_between_conv_and_relu_is_one_rounding(file):
    nodes = [*pair("x", "a"), *conv("a", "c"), NODE("Relu", ["c"], ["r"]), *pair("r", "y", "v")]
    graph = within(model(file, nodes), 1)
    assert [(node.kind, node.clip) for node in graph.nodes] == [("Conv", (0.0, float("inf")))]


@pytest.mark.parametrize(("low", "high"), [(7, 80), (30, None), (None, 41), (0, 255)])
def test_a_clip_of_codes_behind_conv_is_fused(file, low, high):
    constants = {"low": np.uint8(low or 0), "high": np.uint8(high or 0)}
    clip = NODE("Clip", ["c_q", "low" if low is not None else "", "high" if high is not None else ""], ["k"])
    nodes = [*pair("x", "a"), *conv("a", "c"), q("c", "c_q", "v"), clip, dq("k", "y", "v")]
    graph = within(model(file, nodes, constants), 1)
    assert [node.kind for node in graph.nodes] == ["Conv"]
    codes = run(lower(graph), quantise_input(graph.quant("x"), images(SHAPE, 16)))[graph.output].astype(int) + 128
    assert codes.min() == max(low or 0, 0)
    assert codes.max() <= (255 if high is None else high)


def test_relu_and_clip_of_codes_that_something_else_reads(file):
    constants = {"high": np.int8(20)}
    nodes = [
        q("x", "x_q", "i"),
        NODE("Relu", ["x_q"], ["r"], name="relu"),
        NODE("Clip", ["x_q", "", "high"], ["k"], name="clip"),
        NODE("Concat", ["r", "k", "x_q"], ["j"], axis=1),
        dq("j", "y", "i"),
    ]
    graph = within(model(file, nodes, constants), 0)
    assert [node.kind for node in graph.nodes] == ["Clip", "Clip", "Concat"]
    assert {graph.quant(name) for name in graph.activations()} == {graph.quant("x")}


def test_moves_of_codes(file):
    constants = {
        "pads": np.array([0, 0, 1, 0, 0, 0, 0, 2], INT),
        "zero": np.uint8(120),
        "shape": np.array([0, -1], INT),
    }
    constants |= {"i0": np.array([1], INT), "i9": np.array([9], INT), "i2": np.array([2], INT)}
    nodes = [
        q("x", "a"),
        NODE("Pad", ["a", "pads", "zero"], ["b"]),
        NODE("MaxPool", ["b"], ["c"], kernel_shape=[2, 2]),
        NODE("Slice", ["c", "i0", "i9", "i2"], ["d"]),
        NODE("Identity", ["d"], ["e"]),
        NODE("Reshape", ["e", "shape"], ["f"]),
        NODE("Concat", ["f", "f"], ["g"], axis=1),
        dq("g", "y"),
    ]
    graph = within(model(file, nodes, constants), 0)
    assert [node.kind for node in graph.nodes] == ["Pad", "MaxPool", "Slice", "Reshape", "Concat"]


def test_float_weights_behind_a_pair_and_a_float_bias(file):
    scales = np.linspace(0.004, 0.02, 4).astype(np.float32)
    constants = {"real": weights(4, 3, 3, 3), "s": scales, "z": np.zeros(4, np.int8), "bias": weights(4)}
    nodes = [
        *pair("x", "a"),
        NODE("QuantizeLinear", ["real", "s", "z"], ["w_q"], axis=0),
        NODE("DequantizeLinear", ["w_q", "s", "z"], ["w_d"], axis=0),
        NODE("Conv", ["a", "w_d", "bias"], ["c"], name="conv"),
        *pair("c", "y"),
    ]
    graph = within(model(file, nodes, constants), 1)
    columns = scales.reshape(-1, 1, 1, 1)
    assert np.array_equal(graph.weights["conv.weight"], np.clip(np.rint(constants["real"] / columns), -128, 127))
    assert graph.quant("conv.weight").scale == tuple(scales.tolist())


@pytest.mark.parametrize("kind", ["Gemm", "MatMul"])
def test_matrices_with_scales_along_columns(file, kind):
    scales = np.linspace(0.004, 0.02, 5).astype(np.float32)
    codes = np.random.default_rng(0).integers(-127, 128, (6, 5)).astype(np.int8)
    nodes = [
        *pair("x", "a"),
        NODE("DequantizeLinear", ["codes", "s"], ["w_d"], axis=1),
        NODE(kind, ["a", "w_d"], ["c"], name="fc"),
        *pair("c", "y"),
    ]
    graph = within(model(file, nodes, {"codes": codes, "s": scales}, shape=(1, 6)), 1, (1, 6))
    assert np.array_equal(graph.weights["fc.weight"], codes.T)
    assert graph.quant("fc.weight").scale == tuple(scales.tolist())


def test_unsigned_weights_with_zero_point_128(file):
    constants = {"uw": (WEIGHT.astype(int) + 128).astype(np.uint8), "uw_z": np.uint8(128)}
    nodes = [
        *pair("x", "a"),
        NODE("DequantizeLinear", ["uw", "w_s", "uw_z"], ["w_d"]),
        NODE("Conv", ["a", "w_d"], ["c"], name="conv"),
        *pair("c", "y"),
    ]
    graph = within(model(file, nodes, constants), 1)
    assert np.array_equal(graph.weights["conv.weight"], WEIGHT)


def test_quantising_again_on_another_grid_is_a_requantize(file):
    nodes = [*pair("x", "a"), *pair("a", "b", "v"), *pair("b", "y", "i")]
    graph = within(model(file, nodes), 1)
    assert [node.kind for node in graph.nodes] == ["Requantize", "Requantize"]
    same = [*pair("x", "a"), *pair("a", "b"), NODE("MaxPool", ["b"], ["m"], kernel_shape=[2, 2]), *pair("m", "y")]
    assert [node.kind for node in within(model(file, same), 0).nodes] == ["MaxPool"]


def test_pools_and_moves_with_another_grid_behind_them(file):
    # Averages of unpadded windows are a convolution: averaging on the input's grid would round twice.
    for kind, pads, want in (
        ("MaxPool", 0, ["Requantize", "MaxPool"]),
        ("AveragePool", 1, ["AveragePool", "Requantize"]),
        ("AveragePool", 0, ["Conv"]),
    ):
        pool = NODE(kind, ["a"], ["m"], kernel_shape=[2, 2], pads=[pads] * 4)
        graph = within(model(file, [*pair("x", "a"), pool, *pair("m", "y", "v")]), 1)
        assert [node.kind for node in graph.nodes] == want


def test_a_pair_only_behind_the_pool_and_only_before_the_reshape(file):
    flat = NODE("Flatten", ["m_d"], ["y"])
    nodes = [
        *pair("x", "a"),
        *conv("a", "c"),
        NODE("MaxPool", ["c"], ["m"], kernel_shape=[2, 2]),
        *pair("m", "m_d"),
        flat,
    ]
    graph = within(model(file, nodes), 1)
    assert [node.kind for node in graph.nodes] == ["Conv", "MaxPool", "Reshape"]
    assert graph.quant("c") == graph.quant("m") == graph.quant("y")


def test_integer_input_and_output(file):
    nodes = [dq("x", "a"), *conv("a", "c"), q("c", "y")]
    path = model(file, nodes, input_type=onnx.TensorProto.UINT8)
    graph = load_onnx(path)
    stored = np.random.default_rng(0).integers(0, 256, (16, *SHAPE[1:])).astype(np.uint8)
    ours = run(lower(graph), (stored.astype(int) - 128).astype(np.int8))[graph.output]
    assert np.abs(ours.astype(int) + 128 - ort_run(path, stored).astype(int)).max() <= 1
    assert len(np.unique(ours)) > 50


def test_a_softmax_at_the_end_is_left_out(file):
    nodes = [*pair("x", "a"), NODE("MatMul", ["a", "w_d"], ["c"]), *pair("c", "d"), NODE("Softmax", ["d"], ["s"])]
    nodes = [NODE("DequantizeLinear", ["codes", "w_s"], ["w_d"]), *nodes, *pair("s", "y", "v")]
    graph = load_onnx(model(file, nodes, {"codes": np.arange(-15, 15, dtype=np.int8).reshape(6, 5)}, shape=(1, 6)))
    assert [node.kind for node in graph.nodes] == ["Gemm"]
    with pytest.raises(QuantError, match="is quantised already; export it as it is"):
        prepare(graph)


@pytest.mark.parametrize(
    ("kind", "name"), [("UINT4", "int4"), ("INT4", "int4"), ("UINT16", "int16"), ("INT16", "int16")]
)
def test_other_widths(file, kind, name):
    """Opset 21: the type of the zero point is the type of the codes."""
    width, unsigned = int(name[3:]), kind.startswith("U")
    zero = (1 << (width - 1)) - 2 if unsigned else -2
    nodes = [
        NODE("QuantizeLinear", ["x", "s", "z"], ["a"]),
        NODE("DequantizeLinear", ["a", "s", "z"], ["y"]),
        NODE("MaxPool", ["y"], ["m"], kernel_shape=[1, 1]),
    ]
    nodes[-1].output[0], nodes[1].output[0], nodes[-1].input[0] = "y", "d", "d"
    path = model(file, nodes, {"s": np.float32(0.5 if width == 4 else 1e-4)}, opset=21, check=False)
    proto = onnx.load(path)
    proto.graph.initializer.append(onnx.helper.make_tensor("z", getattr(onnx.TensorProto, kind), [], [zero]))
    path.write_bytes(proto.SerializeToString())
    graph = load_onnx(path)
    assert graph.quant("x").format.name == name
    assert graph.quant("x").zero == -2
    x = images(SHAPE, 16)
    real = dequantise(graph.quant("x"), run(lower(graph), quantise_input(graph.quant("x"), x))[graph.output])
    np.testing.assert_allclose(real, ort_run(path, x, "ORT_DISABLE_ALL"), atol=1e-6)


def bias_case(scale: float, kind: type = np.int32, value: int = 0) -> tuple[list[Any], dict[str, Any]]:
    constants = {"b": np.array([0, 1, value, 3], kind), "b_s": np.float32(scale)}
    bias = NODE("DequantizeLinear", ["b", "b_s"], ["b_d"])
    layer = NODE("Conv", ["a", "w_d", "b_d"], ["c"], name="conv")
    return [*pair("x", "a"), dq("weight", "w_d", "w"), bias, layer, *pair("c", "y")], constants


def scaled_weights(zeros: Any, scales: Any, axis: int) -> tuple[list[Any], dict[str, Any]]:
    weight = NODE("DequantizeLinear", ["weight", "s", "z"], ["w_d"], axis=axis)
    layer = NODE("Conv", ["a", "w_d"], ["c"], name="conv")
    constants = {"s": np.array(scales, np.float32), "z": np.array(zeros, np.int8)}
    return [*pair("x", "a"), weight, layer, *pair("c", "y")], constants


@pytest.mark.parametrize(("scale", "kind"), [(0.0008, np.int32), (0.0004, np.int8), (0.01, np.int8)])
def test_a_bias_on_another_grid_means_its_real_values(file, scale, kind):
    nodes, constants = bias_case(scale, kind, value=-2)
    graph = within(model(file, nodes, constants), 1)
    assert graph.weights["conv.bias"].tolist() == np.rint(np.array([0, 1, -2, 3]) * (scale / 0.0004)).tolist()


REFUSALS = {
    "scale and zero point differ from those of the QuantizeLinear before it": ([q("x", "a"), dq("a", "y", "v")], {}),
    "'x' is not made by a QuantizeLinear": ([NODE("DequantizeLinear", ["x", "u_s", "u_z"], ["y"])], {}),
    "is quantised twice, each time from real values": (
        [*pair("x", "a"), *pair("x", "b", "v"), NODE("Add", ["a", "b"], ["c"]), *pair("c", "y")],
        {},
    ),
    "it works on codes; there only Clip, Relu, Concat": (
        [q("x", "a"), NODE("Add", ["a", "a"], ["b"]), dq("b", "y")],
        {},
    ),
    "with one scale and zero point are supported": (
        [*pair("x", "r"), q("r", "b", "v"), q("r", "a"), NODE("Concat", ["a", "b"], ["c"], axis=1), dq("c", "y")],
        {},
    ),
    "only padding with zeros is supported": (
        [q("x", "a"), NODE("Pad", ["a", "pads"], ["b"]), dq("b", "y")],
        {"pads": np.array([0, 0, 1, 1] * 2, INT)},
    ),
    "its scale must be positive and finite": (pair("x", "y"), {"u_s": np.float32(0)}),
    "its scale must be positive and finite.": (pair("x", "y"), {"u_s": np.float32(-1)}),
    "activations with one scale per channel are supported right behind a layer": (
        [
            NODE("QuantizeLinear", ["x", "s", "z"], ["a"], axis=1),
            NODE("DequantizeLinear", ["a", "s", "z"], ["y"], axis=1),
        ],
        {"s": np.float32([0.1, 0.2, 0.3]), "z": np.zeros(3, np.uint8)},
    ),
    "zero points that differ between channels are not supported": scaled_weights([0, 1, 0, 0], [1, 1, 1, 1], 0),
    "its weights 'w_d' have zero point 3; only symmetric weights": scaled_weights(3, 0.1, 0),
    "weight scales must run along the output channels": scaled_weights([0, 0, 0], [1, 1, 1], 1),
    "5 scales along axis 0 of a tensor of shape [4, 3, 3, 3]": scaled_weights([0] * 5, [1] * 5, 0),
    "the bias of output channel 2 is -3e+06, 7.5e+09 steps of the accumulator": bias_case(1e5, value=-30),
    "its input 'x' has no QuantizeLinear before it": ([*conv("x", "c"), *pair("c", "y")], {}),
    "has no scale: no QuantizeLinear reads it": (
        [*pair("x", "a"), *conv("a", "c"), *conv("a", "d"), NODE("Add", ["c", "d"], ["s"]), *pair("s", "y")],
        {},
    ),
    "tensor 'x', the model's input, has no scale": ([NODE("GlobalAveragePool", ["x"], ["r"]), *pair("r", "y")], {}),
    "the weights of node 'c' (Conv) are float in a quantised model": (
        [*pair("x", "a"), NODE("Conv", ["a", "real"], ["c"], name="c"), *pair("c", "y")],
        {"real": weights(4, 3, 3, 3)},
    ),
    "input 1 ('x') must be a constant": ([NODE("QuantizeLinear", ["x", "x", "u_z"], ["a"]), dq("a", "y")], {}),
}


@pytest.mark.parametrize("message", REFUSALS)
def test_refusals(file, message):
    nodes, constants = REFUSALS[message]
    path = model(file, nodes, constants, check=False)
    with pytest.raises(QuantError) as error:
        load_onnx(path)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "node '" in str(error.value) or "model.onnx" in str(error.value) or "model: " in str(error.value)


def test_blocks_of_scales_and_int32_activations_are_refused(file):
    blocked = {"s": np.full((4, 3, 3, 1), 0.1, np.float32)}
    nodes = [
        *pair("x", "a"),
        NODE("DequantizeLinear", ["weight", "s"], ["w_d"], axis=3, block_size=3),
        NODE("Conv", ["a", "w_d"], ["c"]),
        *pair("c", "y"),
    ]
    with pytest.raises(QuantError, match="it must have one scale, or one for each channel"):
        load_onnx(model(file, nodes, blocked, opset=21, check=False))
    path = model(file, [*pair("x", "y", "k")], {"k_s": np.float32(1), "k_z": np.int32(0)}, check=False)
    with pytest.raises(QuantError, match="activations with int32 codes are not supported"):
        load_onnx(path)
