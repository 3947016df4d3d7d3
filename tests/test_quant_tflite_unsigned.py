"""uint8 layers of `.tflite` files beside the reference kernels of LiteRT and tflite-runtime: the same codes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from export.runtimes.litert import LITERT_REF, TFLITE_RUNTIME
from quant.fixedpoint import multiply_q31, q31_multiplier
from quant.formats import Array, IntArray
from quant.graph import Graph, check
from tests import tflite_files as files
from tests.tflite_files import FlatTensor, Maker

KERNELS = [
    pytest.param(
        maker, id=runtime.name, marks=pytest.mark.skipif(bool(runtime.missing()), reason=str(runtime.missing()))
    )
    for runtime, maker in ((LITERT_REF, files.reference_kernels), (TFLITE_RUNTIME, files.old_reference_kernels))
]
ONCE = {"strideH": 1, "strideW": 1}
CONV = {**ONCE, "dilationHFactor": 1, "dilationWFactor": 1}


def unsigned(shape: tuple[int, ...], scale: float = 0.05, zero: int = 131, seed: int = 0) -> Maker:
    maker = Maker(shape, scale, zero, seed)
    maker.tensors[0] = FlatTensor("x", shape, "UINT8", (scale,), zero)
    return maker


def layer(maker: Maker, shape: tuple[int, ...], axis: int, zero: int = 109) -> tuple[str, str]:
    """uint8 weights with one scale and a zero point, and a bias."""
    place, scale = len(maker.tensors), float(np.float32(maker.rng.uniform(0.002, 0.02)))
    weight = maker.rng.integers(0, 256, shape).astype("u1")
    bias = maker.rng.integers(-2000, 2000, shape[axis]).astype("<i4")
    product = float(np.float32(maker.last.scale[0]) * np.float32(scale))
    return (
        maker.constant(f"w{place}", weight, scale=(scale,), zero=zero),
        maker.constant(f"b{place}", bias, scale=(product,)),
    )


def assert_exact(maker: Maker, kernels: Callable[[bytes], files.Invoke], count: int = 8) -> Graph:
    data = maker.data()
    build = files.imported(data)
    shown = files.computed(build)
    images = np.random.default_rng(1).integers(0, 256, (count, *maker.tensors[0].shape[1:])).astype(np.uint8)
    invoke = kernels(files.showing(data, shown))
    rows, expected = [invoke(image[None]) for image in images], files.graph_values(build, images)
    for place, (index, codes) in enumerate(expected.items()):
        tensor = build.tensor(index)
        found = np.concatenate([row[place].reshape(tensor.shape) for row in rows])
        np.testing.assert_array_equal(found.astype(int), codes, err_msg=tensor.what)
        assert np.unique(found).size > 10
    return check(build.graph())


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("activation", range(4))
def test_convolutions(kernels, activation: int):
    maker = unsigned((1, 7, 6, 4))
    fields = {**CONV, "padding": 0, "fusedActivationFunction": activation}
    maker.add("CONV_2D", (1, 7, 6, 5), layer(maker, (5, 3, 3, 4), 0), "Conv2DOptions", scale=0.04, zero=90, **fields)
    fields |= {"depthMultiplier": 2, "strideH": 2, "padding": 1}
    weights = layer(maker, (1, 3, 3, 10), 3, zero=200)
    maker.add("DEPTHWISE_CONV_2D", (1, 3, 4, 10), weights, "DepthwiseConv2DOptions", scale=0.05, zero=100, **fields)
    graph = assert_exact(maker, kernels)
    assert {graph.quant(node.inputs[1]).format.name for node in graph.nodes} == {"int9"}


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("kernel", [(2, 2), (3, 2), (4, 4), (3, 3)])
def test_average_pools_round_halves_up(kernels, kernel: tuple[int, int]):
    for padding, out in ((1, (9 - kernel[0], 9 - kernel[1])), (0, (8, 8))):
        maker = unsigned((1, 8, 8, 3))
        fields = {**ONCE, "filterHeight": kernel[0], "filterWidth": kernel[1], "padding": padding}
        maker.add("AVERAGE_POOL_2D", (1, *out, 3), (), "Pool2DOptions", **fields, fusedActivationFunction=1)
        graph = assert_exact(maker, kernels)
        assert [node.kind for node in graph.nodes] == ["Requantize", "AveragePool", "Requantize"]


@pytest.mark.parametrize("kernels", KERNELS)
def test_sums_moves_and_largest_values(kernels):
    maker = unsigned((1, 8, 8, 3))
    pads = maker.constant("pads", np.array([[0, 0], [1, 0], [0, 1], [0, 0]], "<i4"))
    maker.add("PAD", (1, 9, 9, 3), (pads,), "PadOptions")
    fields = {"strideH": 1, "strideW": 1, "filterHeight": 2, "filterWidth": 2, "padding": 1}
    maker.add("MAX_POOL_2D", (1, 8, 8, 3), (), "Pool2DOptions", **fields)
    maker.add("ADD", (1, 8, 8, 3), ("x",), "AddOptions", scale=0.08, zero=120, fusedActivationFunction=1)
    last = maker.last.name
    maker.add("CONCATENATION", (1, 8, 8, 6), (last,), "ConcatenationOptions", axis=3)
    assert [node.kind for node in assert_exact(maker, kernels).nodes] == ["Pad", "MaxPool", "Add", "Concat"]


def swept(code: str, seed: int) -> tuple[Maker, IntArray, tuple[float, float, float]]:
    """A layer whose weights are all zero, and whose biases lie beside the rounding boundaries of its output."""
    rng = np.random.default_rng(seed)
    x, w = (float(np.float32(10 ** rng.uniform(-3, 0))) for _ in range(2))
    y = float(np.float32(x * w / 10 ** rng.uniform(-7, -3)))
    steps = rng.integers(-127, 127, 2048) + 0.5
    bias = np.rint(steps / (x * w / y)).astype(np.int64) + rng.integers(-2, 3, 2048)
    depthwise = code == "DEPTHWISE_CONV_2D"
    maker = unsigned((1, 1, 1, 2048 if depthwise else 1), x, 0)
    shape = (1, 1, 1, 2048) if depthwise else (2048, 1, 1, 1)
    weight = maker.constant("w", np.full(shape, 7, "u1"), scale=(w,), zero=7)
    sums = maker.constant("b", bias.astype("<i4"), scale=(float(np.float32(x) * np.float32(w)),))
    fields = {**CONV, "padding": 1, **({"depthMultiplier": 1} if depthwise else {})}
    options = "DepthwiseConv2DOptions" if depthwise else "Conv2DOptions"
    maker.add(code, (1, 1, 1, 2048), (weight, sums), options, scale=y, zero=128, **fields)
    return maker, bias, (x, w, y)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("code", ["CONV_2D", "DEPTHWISE_CONV_2D"])
def test_products_of_scales_are_rounded_to_float32_first(kernels, code: str):
    other = 0
    for seed in range(8):
        maker, bias, (x, w, y) = swept(code, seed)
        image = np.zeros((1, *maker.tensors[0].shape[1:]), np.uint8)
        found = kernels(maker.data())(image)[0].ravel().astype(int)
        build = files.imported(maker.data())
        np.testing.assert_array_equal(files.graph_values(build, image)[build.file.output].ravel(), found)
        assert np.unique(found).size > 100
        other += int((found != plain(bias, x * w / y)).sum())
    # With the product in double, as signed layers have it, codes would differ.
    assert other > 10


def plain(bias: IntArray, real: float) -> Array:
    multiplier = q31_multiplier(real)
    sums = multiply_q31(bias, np.array(multiplier.mantissa), np.array(multiplier.exponent))
    return np.clip(sums + 128, 0, 255)


@pytest.mark.skipif(bool(TFLITE_RUNTIME.missing()), reason=str(TFLITE_RUNTIME.missing()))
def test_fully_connected_layers_round_as_tflite_runtime_does():
    maker = unsigned((1, 2, 3, 4))
    maker.add("FULLY_CONNECTED", (1, 9), layer(maker, (9, 24), 0), "FullyConnectedOptions", scale=0.4, zero=100)
    assert_exact(maker, files.old_reference_kernels, 32)
