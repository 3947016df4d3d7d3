"""Every imported operator, in small files, against TFLite-Micro: the same codes in every tensor."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.runtimes.tflm import TFLITE_MICRO
from export.tflite import encode
from quant import operators as ops
from quant.formats import INT8, Array
from quant.graph import Graph, Node, Tensor, check
from quant.program import clip_ordinals, lower
from quant.reference import fast_dot, run
from quant.tflite_import import load_tflite
from tests import tflite_cases as cases
from tests import tflite_files as files
from tests.tflite_files import Maker
from tests.toys import random_codes, toy_graph

REASON = TFLITE_MICRO.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
FEW = settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
CONV = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
POOL = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 3}


def assert_exact(maker: Maker, count: int = 4) -> Graph:
    data = maker.data()
    build = files.imported(data)
    shown = files.computed(build)
    rng = np.random.default_rng(1)
    images = rng.integers(-128, 128, (count, *maker.tensors[0].shape[1:])).astype(np.int8)
    invoke = files.micro(files.showing(data, shown), len(shown), 1 << 22)
    rows, expected = [invoke(image[None]) for image in images], files.graph_values(build, images)
    assert expected
    for place, (index, codes) in enumerate(expected.items()):
        tensor = build.tensor(index)
        found = np.concatenate([row[place].reshape(tensor.shape) for row in rows])
        np.testing.assert_array_equal(found.astype(int), codes, err_msg=tensor.what)
        assert np.unique(found).size > 3
    return check(build.graph())


def kinds(graph: Graph) -> list[str]:
    return [node.kind for node in graph.nodes]


@pytest.mark.parametrize("activation", range(4))
@pytest.mark.parametrize(("padding", "out"), [(0, (4, 3)), (1, (3, 3))])
def test_convolutions_and_their_fused_activations(activation: int, padding: int, out: tuple[int, int]):
    maker = Maker((1, 8, 6, 4))
    fields = {**CONV, "strideH": 2, "strideW": 2, "padding": padding, "fusedActivationFunction": activation}
    kernel = (3, 2)
    maker.add("CONV_2D", (1, *out, 6), maker.layer((6, *kernel, 4), 0), "Conv2DOptions", scale=0.1, zero=9, **fields)
    (node,) = assert_exact(maker).nodes
    assert node.clip == (None, (0.0, float("inf")), (-1.0, 1.0), (0.0, 6.0))[activation]


def test_grouped_dilated_and_per_tensor_convolutions():
    maker = Maker((1, 7, 7, 6))
    fields = {**CONV, "dilationHFactor": 2, "padding": 1}
    maker.add("CONV_2D", (1, 3, 5, 8), maker.layer((8, 3, 3, 3), 0), "Conv2DOptions", scale=0.2, zero=0, **fields)
    shared = maker.layer((5, 1, 1, 8), 0, channels=False)
    maker.add("CONV_2D", (1, 3, 5, 5), (shared[0],), "Conv2DOptions", scale=0.3, zero=-20, padding=0, **CONV)
    graph = assert_exact(maker)
    assert [node.op.groups for node in graph.nodes] == [2, 1]
    assert not graph.weights[graph.nodes[1].inputs[2]].any()


@pytest.mark.parametrize(("channels", "many"), [(4, 1), (3, 2), (1, 5)])
def test_depthwise_convolutions_with_multipliers(channels: int, many: int):
    maker = Maker((1, 6, 6, channels))
    fields = {**CONV, "padding": 0, "depthMultiplier": many, "fusedActivationFunction": 3}
    layer = maker.layer((1, 3, 3, channels * many), 3)
    maker.add("DEPTHWISE_CONV_2D", (1, 6, 6, channels * many), layer, "DepthwiseConv2DOptions", scale=0.04, **fields)
    (node,) = assert_exact(maker).nodes
    assert node.op.groups == channels


@pytest.mark.parametrize("channels", [True, False])
def test_fully_connected_layers_flatten_images_in_the_files_order(channels: bool):
    for flat in (False, True):
        maker = Maker((1, 3, 2, 4))
        if flat:
            maker.add("RESHAPE", (1, 24), (maker.counts(1, 24),), "ReshapeOptions")
        layer = maker.layer((7, 24), 0, channels=channels)
        maker.add("FULLY_CONNECTED", (1, 7), layer, "FullyConnectedOptions", scale=0.2, zero=4)
        assert kinds(assert_exact(maker, 8)) == ["Reshape", "Gemm"]


def test_a_flattened_image_may_be_rounded_before_the_layer():
    maker = Maker((1, 3, 2, 4))
    maker.add("RESHAPE", (1, 24), (maker.counts(-1, 24),), "ReshapeOptions")
    maker.add("QUANTIZE", (1, 24), (), "QuantizeOptions", scale=0.07, zero=20)
    maker.add("FULLY_CONNECTED", (1, 7), maker.layer((7, 24), 0), "FullyConnectedOptions", scale=0.2, zero=4)
    assert kinds(assert_exact(maker, 8)) == ["Reshape", "Requantize", "Gemm"]


def test_a_layer_may_keep_its_axes():
    maker = Maker((1, 1, 1, 12))
    fields = {"keepNumDims": True, "fusedActivationFunction": 1}
    maker.add("FULLY_CONNECTED", (1, 1, 1, 7), maker.layer((7, 12), 0), "FullyConnectedOptions", scale=0.1, **fields)
    graph = assert_exact(maker, 8)
    assert kinds(graph) == ["Reshape", "Gemm", "Reshape"]
    assert graph.shape(graph.output) == (1, 7, 1, 1)


@FEW
@given(st.integers(0, 999), st.floats(0.3, 3), st.floats(0.3, 3), st.integers(-128, 127), st.integers(0, 3))
def test_sums_with_every_fused_activation(seed: int, ratio: float, out: float, zero: int, activation: int):
    maker = Maker((1, 16, 16, 3), seed=seed)
    first = maker.last
    maker.add("QUANTIZE", first.shape, (), "QuantizeOptions", scale=0.05 * ratio, zero=zero)
    maker.add("ADD", first.shape, ("x",), "AddOptions", scale=0.05 * out, fusedActivationFunction=activation)
    codes = files.graph_values(files.imported(maker.data()), np.zeros((1, 16, 16, 3), np.int8))
    assert len(codes) == 2
    graph = assert_exact(maker)
    assert kinds(graph) == ["Requantize", "Add"]


@pytest.mark.parametrize("activation", range(4))
@pytest.mark.parametrize("code", ["AVERAGE_POOL_2D", "MAX_POOL_2D"])
def test_pools_and_their_fused_activations(code: str, activation: int):
    for padding, out in ((0, (4, 3)), (1, (4, 2))):
        maker = Maker((1, 8, 5, 3), scale=0.04, zero=-17)
        fields = {**POOL, "padding": padding, "fusedActivationFunction": activation}
        maker.add(code, (1, *out, 3), (), "Pool2DOptions", **fields)
        graph = assert_exact(maker, 8)
        pool = "AveragePool" if code.startswith("A") else "MaxPool"
        assert kinds(graph) == ([pool, "Clip"] if activation else [pool])


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("axes", [(1, 2), (-2, 1), (2, -3)])
def test_means_over_height_and_width(axes: tuple[int, int], keep: bool):
    maker = Maker((1, 5, 6, 9))
    shape = (1, 1, 1, 9) if keep else (1, 9)
    maker.add("MEAN", shape, (maker.counts(*axes),), "ReducerOptions", scale=0.02, zero=5, keepDims=keep)
    assert kinds(assert_exact(maker, 8)) == ["Mean"]


def test_pads_slices_and_concatenations_along_every_axis():
    for axis in (1, 2, 3, -1):
        maker = Maker((1, 4, 5, 3))
        pads = maker.constant("pads", np.array([[0, 0], [1, 2], [0, 3], [2, 1]], "<i4"))
        maker.add("PAD", (1, 7, 8, 6), (pads,), "PadOptions")
        maker.add("SLICE", (1, 3, 7, 4), (maker.counts(0, 2, 1, 2), maker.counts(1, 3, -1, 4)), "SliceOptions")
        ends = maker.counts(0, 0, 0, 0), maker.counts(1, 2, -1, 9), maker.counts(1, 2, 2, 1)
        maker.add("STRIDED_SLICE", (1, 1, 3, 4), ends, "StridedSliceOptions", beginMask=6, endMask=9)
        shape = [1, 1, 3, 4]
        shape[axis] *= 2
        last = maker.last.name
        maker.add("CONCATENATION", tuple(shape), (last,), "ConcatenationOptions", axis=axis)
        assert kinds(assert_exact(maker, 8)) == ["Pad", "Slice", "Slice", "Concat"]


def test_reshapes_that_keep_channels_or_have_one():
    maker = Maker((1, 12, 5))
    maker.add("RESHAPE", (1, 12, 5, 1), (maker.counts(1, 12, 5, 1),), "ReshapeOptions")
    maker.add("CONV_2D", (1, 12, 5, 4), maker.layer((4, 3, 3, 1), 0), "Conv2DOptions", scale=0.09, padding=0, **CONV)
    maker.add("RESHAPE", (1, 60, 1, 4), (maker.counts(1, 60, 1, 4),), "ReshapeOptions")
    maker.add("RESHAPE", (1, 60, 4), (maker.counts(1, 60, 4),), "ReshapeOptions")
    maker.add("EXPAND_DIMS", (1, 1, 60, 4), (maker.counts(1),), "ExpandDimsOptions")
    maker.add(
        "CONV_2D", (1, 1, 20, 2), maker.layer((2, 1, 3, 4), 0), "Conv2DOptions", scale=0.1, **{**CONV, "strideW": 3}
    )
    maker.add("SQUEEZE", (1, 20, 2), (), "SqueezeOptions", squeezeDims=np.array([1], np.int32))
    graph = assert_exact(maker)
    assert graph.shape(graph.input) == (1, 12, 5)
    assert graph.shape(graph.output) == (1, 2, 20)


def test_transposes_become_an_order_of_axes():
    maker = Maker((1, 3, 8, 7))
    maker.add("TRANSPOSE", (1, 8, 7, 3), (maker.counts(0, 2, 3, 1),), "TransposeOptions")
    maker.add("CONV_2D", (1, 8, 7, 4), maker.layer((4, 3, 3, 3), 0), "Conv2DOptions", scale=0.09, padding=0, **CONV)
    maker.add("TRANSPOSE", (1, 4, 8, 7), (maker.counts(0, 3, 1, 2),), "TransposeOptions")
    maker.add("RESHAPE", (1, 224), (maker.counts(1, 224),), "ReshapeOptions")
    maker.add("FULLY_CONNECTED", (1, 7), maker.layer((7, 224), 0), "FullyConnectedOptions", scale=0.4, zero=4)
    graph = assert_exact(maker)
    assert kinds(graph) == ["Conv", "Reshape", "Gemm"]
    assert graph.shape(graph.input) == (1, 3, 8, 7)


@pytest.mark.parametrize(("code", "scale"), [("RELU", 0.02), ("RELU", 0.05), ("RELU6", 0.05)])
def test_activations_of_their_own(code: str, scale: float):
    maker = Maker((1, 6, 5, 3), scale=0.05, zero=-90)
    maker.add(code, (1, 6, 5, 3), (), scale=scale, zero=-90 if scale == 0.05 else 3)
    assert kinds(assert_exact(maker)) == ["Clip"]


def test_limits_become_clips():
    maker = Maker((1, 6, 5, 3))
    for code, limit in (("MAXIMUM", -40), ("MINIMUM", 77)):
        bound = maker.constant(code, np.array([limit], "i1"), scale=(maker.last.scale[0],), zero=maker.last.zero)
        maker.add(code, (1, 6, 5, 3), (bound,), "MaximumMinimumOptions")
    assert kinds(assert_exact(maker)) == ["Clip", "Clip"]


@pytest.mark.parametrize(
    ("code", "options", "fields"),
    [
        ("LOGISTIC", "", {"scale": 1 / 256, "zero": -128}),
        ("TANH", "", {"scale": 1 / 128, "zero": 0}),
        ("HARD_SWISH", "HardSwishOptions", {"scale": 0.04, "zero": -100}),
        ("LEAKY_RELU", "LeakyReluOptions", {"scale": 0.04, "zero": -60, "alpha": 0.125}),
    ],
)
def test_functions_of_one_value(code: str, options: str, fields: dict[str, float]):
    maker = Maker((1, 6, 5, 3), scale=0.05, zero=-10)
    maker.add(code, (1, 6, 5, 3), (), options, **fields)
    assert kinds(assert_exact(maker, 16)) == ["Function"]


@pytest.mark.parametrize("swapped", [False, True])
def test_products_of_one_shape_and_per_channel(swapped: bool):
    maker = Maker((1, 6, 5, 3), scale=0.05, zero=-10)
    maker.add("MEAN", (1, 1, 1, 3), (maker.counts(1, 2),), "ReducerOptions", keepDims=True)
    maker.add("MUL", (1, 6, 5, 3), ("x",), "MulOptions", scale=0.09, zero=4, fusedActivationFunction=1)
    if swapped:
        op = maker.operators[-1]
        maker.operators[-1] = files.FlatOp(**{**fields_of(op), "inputs": op.inputs[::-1]})
    maker.add("MUL", (1, 6, 5, 3), ("x",), "MulOptions", scale=0.3, zero=-20)
    assert kinds(assert_exact(maker, 16)) == ["Mean", "Mul", "Mul"]


def test_four_bit_weights_are_unpacked():
    maker = Maker((1, 5, 5, 3))
    codes = maker.rng.integers(-7, 8, (5, 3, 3, 3))
    nibbles = np.append(codes.ravel(), 0).reshape(-1, 2) & 15
    packed = (nibbles[:, 0] | nibbles[:, 1] << 4).astype(np.uint8).tobytes()
    scales = tuple(map(float, np.linspace(0.01, 0.1, 5, dtype=np.float32)))
    maker.tensors.append(files.FlatTensor("w", (5, 3, 3, 3), "INT4", scales, data=packed))
    maker.add("CONV_2D", (1, 3, 3, 5), ("w",), "Conv2DOptions", scale=0.1, padding=1, **CONV)
    graph = assert_exact(maker)
    np.testing.assert_array_equal(graph.weights["w"], codes.transpose(0, 3, 1, 2))
    assert graph.quant("w").format.name == "int4"


def test_a_network_of_most_operators():
    graph = assert_exact(files.mixture(), 16)
    assert len(graph.nodes) == 14
    assert len({node.kind for node in graph.nodes}) == 12


def test_softmax_and_real_values_at_the_ends_are_left_out():
    maker = Maker((1, 6))
    maker.add("FULLY_CONNECTED", (1, 7), maker.layer((7, 6), 0), "FullyConnectedOptions", scale=0.2, zero=4)
    maker.add("SOFTMAX", (1, 7), (), "SoftmaxOptions", scale=1 / 256, zero=-128, beta=1.0)
    graph = assert_exact(maker, 8)
    maker.add("DEQUANTIZE", (1, 7), (), "DequantizeOptions", dtype="FLOAT32")
    maker.tensors[0] = files.FlatTensor("x", (1, 6), "FLOAT32")
    first = files.FlatTensor("q", (1, 6), "INT8", (0.05,), -3)
    maker.tensors.append(first)
    maker.operators[0] = files.FlatOp(
        **{**fields_of(maker.operators[0]), "inputs": ("q", *maker.operators[0].inputs[1:])}
    )
    maker.operators.insert(0, files.FlatOp("QUANTIZE", 1, ("x",), "q", "QuantizeOptions"))
    real = check(files.imported(maker.data()).graph())
    assert real.quant(real.input) == graph.quant(graph.input)
    codes = random_codes(graph, 8)
    found, expected = (run(lower(g), codes, fast_dot)[g.output] for g in (real, graph))
    np.testing.assert_array_equal(found, expected)


def fields_of(op: files.FlatOp) -> dict[str, object]:
    return {name: getattr(op, name) for name in ("code", "version", "inputs", "output", "options", "fields")}


def round_trip(graph: Graph, folder: Path, codes: Array) -> Graph:
    """Write a graph, import the file, and compare what both compute, tensor by tensor where names are the same."""
    path = folder / "again.tflite"
    path.write_bytes(encode(graph))
    again = load_tflite(path)
    before, after = (run(lower(g), codes, fast_dot) for g in (graph, again))
    shared = set(before) & set(after)
    assert {graph.input, graph.output} <= shared
    for name in shared:
        np.testing.assert_array_equal(before[name], after[name], err_msg=name)
    return again


def test_what_this_project_writes_it_reads_back(tmp_path: Path):
    for seed in range(5):
        graph = toy_graph(seed=seed)
        again = round_trip(graph, tmp_path, random_codes(graph, 4))
        assert [node.op for node in again.nodes] == [node.op for node in graph.nodes]
        limits = [[clip_ordinals(g.quant(n.output), n.clip) for n in g.nodes] for g in (graph, again)]
        assert limits[0] == limits[1]


def test_flattened_images_are_read_back(tmp_path: Path):
    quant = cases.quant(0.02, 3)
    shapes = {"x": (1, 3, 4, 5), "flat": (1, 60), "y": (1, 6)}
    graph = cases.gemm(np.random.default_rng(3), Tensor((1, 60), quant), 6)
    nodes = (
        Node("flatten", ops.Reshape(shape=(1, 60)), ("x",), "flat"),
        Node("fc", ops.Gemm(), ("flat", "w", "b"), "y"),
    )
    tensors = {**graph.tensors, **{name: Tensor(shape, quant) for name, shape in shapes.items() if name != "y"}}
    whole = check(Graph("whole", "x", "y", nodes, tensors, graph.weights))
    again = round_trip(whole, tmp_path, random_codes(whole, 8))
    assert kinds(again) == ["Reshape", "Gemm"]
    assert again.quant("x").format == INT8
