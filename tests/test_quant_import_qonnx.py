"""QONNX's quantisers one by one: what is imported, and what is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from quant.errors import QuantError  # noqa: E402
from quant.formats import Array, find_format  # noqa: E402
from quant.graph import Graph  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from quant.operators import Requantize  # noqa: E402
from quant.program import lower  # noqa: E402
from quant.reference import dequantise, quantise_input, run  # noqa: E402
from tests.onnx_models import NODE, images, save, weights  # noqa: E402

SHAPE = (1, 3, 6, 6)
DOMAIN = "qonnx.custom_op.general"
F = np.float32
GRID: dict[str, Any] = {
    "s": F(0.05),
    "z": F(0),
    "b8": F(8),
    "b4": F(4),
    "e": F(3),
    "m": F(2),
    "bias": F(3),
    "top": F(28),
}


def quant(source: str, output: str, bits: str = "b8", scale: str = "s", zero: str = "z", **attributes: Any) -> Any:
    given = {"signed": 1, "narrow": 0, "rounding_mode": "ROUND", **attributes}
    return NODE("Quant", [source, scale, zero, bits], [output], name=f"q_{output}", domain=DOMAIN, **given)


def float_quant(source: str, output: str, top: str = "top", **attributes: Any) -> Any:
    given = {"has_inf": 0, "has_nan": 0, "has_subnormal": 1, "saturation": 1, "rounding_mode": "ROUND", **attributes}
    inputs = [source, "s", "e", "m", "bias", top]
    return NODE("FloatQuant", inputs, [output], name=f"q_{output}", domain=DOMAIN, **given)


def model(path: Path, nodes: list[Any], **constants: Any) -> Path:
    return save(path, nodes, {**GRID, **constants}, SHAPE, opset=13, domains=(DOMAIN,), check=False)


def executed(path: Path, x: Array) -> Array:
    """What qonnx makes of a file, image by image."""
    qonnx = pytest.importorskip("qonnx.core.onnx_exec", reason="qonnx is not installed")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    proto = onnx.load(path)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    del proto.graph.value_info[:]
    wrapped = ModelWrapper(proto).transform(InferShapes())
    return np.concatenate([qonnx.execute_onnx(wrapped, {"x": image[None]})["y"] for image in x])


def same_as_qonnx(path: Path, codes: int = 0) -> Graph:
    """Assert that the reference is within `codes` of qonnx at the output; return the graph."""
    graph, x = load_onnx(path), images(SHAPE, 8) * 2
    found = run(lower(graph), quantise_input(graph.quant(graph.input), x))[graph.output]
    theirs = quantise_input(graph.quant(graph.output), executed(path, x))
    fmt = graph.quant(graph.output).format
    gap = np.abs(fmt.to_ordinals(found) - fmt.to_ordinals(theirs))
    assert len(np.unique(theirs)) > 2
    assert (theirs != theirs[0]).any()
    assert gap.max() <= codes
    return graph


@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("bits", "zero"), [(2, 0), (2, 1), (4, 0), (5, 3), (8, 0), (8, 7), (12, 0)])
def test_integer_inputs(tmp_path, bits, zero, signed, narrow):
    nodes = [quant("x", "y", "b", zero="zz", signed=signed, narrow=narrow)]
    path = model(tmp_path / "m.onnx", nodes, b=F(bits), zz=F(zero), s=F(0.5 if bits < 8 else 0.02))
    graph = load_onnx(path)
    # A narrow range is a clip behind the format's own.
    assert graph.quant("x").format.name == f"int{bits}"
    x = images(SHAPE, 8) * 2
    codes = run(lower(graph), quantise_input(graph.quant("x"), x))[graph.output]
    np.testing.assert_allclose(dequantise(graph.quant(graph.output), codes), executed(path, x), atol=1e-6)


@pytest.mark.parametrize(
    ("exponent", "mantissa", "bias", "top", "name"),
    [
        (3, 2, 3, 28, "e3m2"),
        (2, 1, 1, 6, "e2m1"),
        (4, 3, 7, 480, "e4m3"),
        (4, 3, 7, 448, "e4m3fn"),
        (5, 2, 15, 57344, "e5m2ocp"),
        (1, 6, 0, 3.96875, "e1m6"),
        (3, 0, 3, 16, "e3m0"),
        # Another bias moves the binary point; a smaller largest value is a clip.
        (3, 2, 5, 7, "e3m2"),
        (3, 2, 3, 20, "e3m2"),
        (2, 3, 1, 99, "e2m3"),
    ],
)
def test_minifloat_inputs(tmp_path, exponent, mantissa, bias, top, name):
    sizes = {"e": F(exponent), "m": F(mantissa), "bias": F(bias), "top": F(top)}
    path = model(tmp_path / "m.onnx", [float_quant("x", "y")], **sizes, s=F(0.3))
    graph, x = load_onnx(path), images(SHAPE, 8) * 4
    assert graph.quant("x").format.name == name
    assert graph.quant("x").scale[0] == pytest.approx(0.3 * 2.0 ** (find_format(name).bias - bias))
    codes = run(lower(graph), quantise_input(graph.quant("x"), x))[graph.output]
    found = dequantise(graph.quant(graph.output), codes)
    assert len(np.unique(found)) > 5
    np.testing.assert_allclose(found, executed(path, x), rtol=1e-6)


def layer(weight: Any, path: Path, **constants: Any) -> Path:
    nodes = [quant("x", "a"), weight, NODE("Conv", ["a", "wq"], ["c"], name="conv"), quant("c", "y", scale="so")]
    return model(path, nodes, w=weights(4, 3, 3, 3), so=F(0.1), **constants)


def test_bipolar_weights_are_two_bits(tmp_path):
    scale = np.linspace(0.1, 0.3, 4).astype(np.float32).reshape(4, 1, 1, 1)
    bipolar = NODE("BipolarQuant", ["w", "ws"], ["wq"], name="sign", domain=DOMAIN)
    graph = same_as_qonnx(layer(bipolar, tmp_path / "m.onnx", ws=scale), 1)
    assert graph.quant("conv.weight").format.name == "int2"
    assert set(np.unique(graph.weights["conv.weight"]).tolist()) == {-1, 1}
    one_bit = layer(quant("w", "wq", "b1", "ws"), tmp_path / "n.onnx", ws=scale, b1=F(1))
    assert np.array_equal(load_onnx(one_bit).weights["conv.weight"], graph.weights["conv.weight"])


def test_weights_of_a_matrix_that_is_turned_behind_its_quantiser(tmp_path):
    scale = np.linspace(0.01, 0.03, 5).astype(np.float32).reshape(5, 1)
    nodes = [
        quant("x", "a"),
        NODE("Flatten", ["a"], ["f"]),
        quant("w", "wq", "b4", "ws", narrow=1),
        NODE("Transpose", ["wq"], ["wt"], perm=[1, 0]),
        NODE("MatMul", ["f", "wt"], ["n"], name="fc"),
        NODE("Add", ["n", "b"], ["c"], name="bias"),
        quant("c", "y", scale="so"),
    ]
    path = model(tmp_path / "m.onnx", nodes, w=weights(5, 108) / 8, ws=scale, b=weights(5), so=F(0.05))
    graph = same_as_qonnx(path, 1)
    assert [node.kind for node in graph.nodes] == ["Reshape", "Gemm"]
    assert graph.quant("fc.weight").scale == tuple(scale.reshape(-1).tolist())
    assert graph.weights["fc.bias"].any()


def test_a_sum_of_two_grids(tmp_path):
    nodes = [
        quant("x", "a"),
        NODE("MaxPool", ["a"], ["p"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        quant("p", "b", "b4", "so"),
        NODE("Add", ["p", "b"], ["c"], name="add"),
        quant("c", "y", scale="so"),
    ]
    graph = same_as_qonnx(model(tmp_path / "m.onnx", nodes, so=F(0.37)), 1)
    # The pool's output keeps the input's grid for the sum, and is rounded once more for the other addend.
    assert [type(node.op) for node in graph.nodes if node.name == "q_b"] == [Requantize]
    assert graph.quant("p") == graph.quant("x")


REFUSED: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "rounding_mode FLOOR is not supported; only ROUND": ([quant("x", "y", rounding_mode="FLOOR")], {}),
    "rounding_mode CEIL is not supported; only ROUND": ([float_quant("x", "y", rounding_mode="CEIL")], {}),
    "input 3 (bit width) is 3.5; it must be one whole number": ([quant("x", "y", "b")], {"b": F(3.5)}),
    "input 3 (bit width) is 40; supported: 2 to 16": ([quant("x", "y", "b")], {"b": F(40)}),
    "input 2 (zero point) is 0.25; it must be": ([quant("x", "y", zero="zz")], {"zz": F(0.25)}),
    "activations with int32 codes are not supported": ([quant("x", "y", "b")], {"b": F(24)}),
    "activations with one scale per channel": ([quant("x", "y", scale="ss")], {"ss": np.full((1, 3, 1, 1), 0.1, F)}),
    "input 1 (scale) of shape [3, 1] for a tensor": ([quant("x", "y", scale="ss")], {"ss": np.full((3, 1), 0.1, F)}),
    "input 1 (scale) must be positive": ([quant("x", "y")], {"s": F(0)}),
    "binary activations (a sign) have no integer form here": (
        [NODE("BipolarQuant", ["x", "s"], ["y"], name="sign", domain=DOMAIN)],
        {},
    ),
    "binary activations (a sign) have no integer form": ([quant("x", "y", "b")], {"b": F(1)}),
    "saturation=0 is not supported": ([float_quant("x", "y", saturation=0)], {}),
    "has_subnormal=0 is not supported": ([float_quant("x", "y", has_subnormal=0)], {}),
    "E6M5 is not a format of 3 to 8 bits": ([float_quant("x", "y")], {"e": F(6), "m": F(5)}),
    "input 4 (exponent bias) is 2.5; it must be a whole number": ([float_quant("x", "y")], {"bias": F(2.5)}),
    "input 5 (largest value) is 27.0, which is no value of e3m2": ([float_quant("x", "y")], {"top": F(27)}),
    "op Trunc": ([NODE("Trunc", ["x", "s", "z", "b8", "b4"], ["y"], domain=DOMAIN)], {}),
    "its weights 'wq' have zero point 3; only symmetric": (
        [quant("x", "a"), quant("w", "wq", zero="zz"), NODE("Conv", ["a", "wq"], ["c"]), quant("c", "y")],
        {"w": weights(4, 3, 3, 3), "zz": F(3)},
    ),
    "reads real values. Quantise the input of every layer": (
        [quant("w", "wq"), NODE("Conv", ["x", "wq"], ["c"]), quant("c", "y")],
        {"w": weights(4, 3, 3, 3)},
    ),
    "is read as real values by node 'add' (Add) and quantised for others": (
        [
            quant("x", "a"),
            quant("w", "wq"),
            NODE("Conv", ["a", "wq"], ["c"], pads=[1, 1, 1, 1]),
            quant("c", "d"),
            NODE("Add", ["c", "d"], ["f"], name="add"),
            quant("f", "y"),
        ],
        {"w": weights(3, 3, 3, 3)},
    ),
    "only constants are transposed": ([quant("x", "a"), NODE("Transpose", ["a"], ["y"], perm=[0, 2, 3, 1])], {}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(tmp_path, message):
    nodes, constants = REFUSED[message]
    with pytest.raises(QuantError) as error:
        load_onnx(model(tmp_path / "model.onnx", nodes, **constants))
    assert message in str(error.value)
    assert "node '" in str(error.value)
    assert "\n" not in str(error.value)


def test_a_minifloat_sum_of_real_values_is_refused_as_output(tmp_path):
    """Its accumulator does not fit the integer rule, and no data says which minifloat would do."""
    nodes = [float_quant("x", "a"), float_quant("w", "wq"), NODE("Conv", ["a", "wq"], ["y"], name="conv")]
    with pytest.raises(QuantError, match=r"'y', the output of node 'conv' \(Conv\), has no scale"):
        load_onnx(model(tmp_path / "m.onnx", nodes, w=weights(4, 3, 3, 3)))
