"""Every operator of the `.tflite` exporter, alone, against the integer reference in TFLite-Micro: exact."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from export.runtimes.tflm import TFLITE_MICRO, MicroSession
from export.tflite import encode
from quant import operators as ops
from quant.formats import INT8, UINT8, Format, integer
from quant.graph import Graph, Node, Quant, Tensor, check
from tests import tflite_cases as cases

INF = float("inf")
REASON = TFLITE_MICRO.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
FEW = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])

seeds = st.integers(0, 2**32 - 1)
formats = st.sampled_from([INT8, INT8, INT8, UINT8])
clips = st.sampled_from([None, (0.0, INF), (0.0, 6.0), (-1.0, 1.0), (0.0, 4.0), (-2.0, 3.0), (0.5, INF)])
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
kernels = st.tuples(st.integers(1, 4), st.integers(1, 4))
pads = st.tuples(*[st.integers(0, 2)] * 4)
sizes = st.tuples(st.integers(1, 6), st.integers(4, 10), st.integers(4, 10))


@st.composite
def quants(draw: st.DrawFn, fmt: Format = INT8) -> Quant:
    scale = 10 ** draw(st.floats(-3, 0.3))
    return cases.quant(scale, draw(st.integers(fmt.min_ordinal, fmt.max_ordinal)), fmt)


@st.composite
def images(draw: st.DrawFn) -> Tensor:
    return Tensor((1, *draw(sizes)), draw(quants(draw(formats))))


def assert_exact(graph: Graph, count: int = 2) -> None:
    codes = cases.random_input(graph, count)
    expected = cases.expected(graph, codes)
    session = MicroSession(encode(graph), graph)
    found = session.tensors(codes)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
        assert found[name].dtype == values.dtype
    np.testing.assert_array_equal(session.run(codes), expected[graph.output])


def output(graph: Graph, count: int = 4) -> list[int]:
    return np.unique(cases.expected(graph, cases.random_input(graph, count))[graph.output]).tolist()


@st.composite
def convolutions(draw: st.DrawFn, kind: str) -> Graph:
    x, kernel, dilations = draw(images()), draw(kernels), draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (1, 3)]))
    assume(all(x.shape[2 + i] >= (kernel[i] - 1) * dilations[i] + 1 for i in (0, 1)))
    rng, many = np.random.default_rng(draw(seeds)), draw(st.integers(1, 4))
    groups = {"regular": 1, "depthwise": x.shape[1], "grouped": draw(st.integers(2, 3))}[kind]
    if kind == "grouped":
        x = Tensor((1, groups * draw(st.integers(2, 3)), *x.shape[2:]), x.quant)
    op = ops.Conv(strides=draw(pairs), pads=draw(pads), dilations=dilations, groups=groups)
    return cases.conv(rng, op, x, (groups * many, *kernel), clip=draw(clips), fmt=x.quant.format)


@FEW
@given(convolutions("regular"))
def test_convolutions_are_exact(graph):
    assert_exact(graph)


@FEW
@given(convolutions("depthwise"))
def test_depthwise_convolutions_are_exact(graph):
    assert_exact(graph)


@FEW
@given(convolutions("grouped"))
def test_grouped_convolutions_are_exact(graph):
    assert_exact(graph)


@pytest.mark.parametrize("bits", range(2, 9))
def test_narrow_weights_are_exact(bits):
    rng = np.random.default_rng(bits)
    x = Tensor((1, 4, 7, 7), cases.quant(0.03, 11))
    graph = cases.conv(rng, ops.Conv(pads=(1, 1, 1, 1)), x, (6, 3, 3), weight=integer(bits))
    assert len(output(graph)) > 40
    assert_exact(graph)


@FEW
@given(seeds, quants(), st.integers(1, 70), clips, st.booleans())
def test_fully_connected_layers_are_exact(seed, x, inputs, clip, per_tensor):
    rng = np.random.default_rng(seed)
    assert_exact(cases.gemm(rng, Tensor((1, inputs), x), 20, clip, per_tensor=per_tensor), 16)


@pytest.mark.parametrize("per_tensor", [False, True])
def test_requantisation_is_exact_next_to_rounding_boundaries(per_tensor):
    # Zero weights leave the bias as the accumulator: half the biases sit within 2 of a boundary of the output grid.
    rng = np.random.default_rng(int(per_tensor))
    for exponent in np.linspace(-6.5, -0.5, 7):
        graph = cases.gemm(rng, Tensor((1, 1), cases.quant(0.02, 3)), 512, per_tensor=per_tensor)
        factor = np.float32(10**exponent)
        weight = graph.tensors["w"].quant
        out = cases.quant(0.02 * np.mean(weight.scale) / factor, -5)
        steps = rng.integers(-120, 120, 512) + 0.5
        real = 0.02 * np.broadcast_to(weight.scale, (512,)) / out.scale[0]
        bias = np.rint(steps / real) + rng.integers(-2, 3, 512)
        bias = np.clip(bias, -(2**30), 2**30).astype(np.int32)
        tensors = {**graph.tensors, "y": Tensor((1, 512), out)}
        swept = Graph("swept", "x", "y", graph.nodes, tensors, {"w": graph.weights["w"] * np.int8(0), "b": bias})
        assert_exact(swept)
        assert len(output(swept)) > 100


@st.composite
def sums(draw: st.DrawFn) -> Graph:
    x = draw(quants())
    other = cases.quant(x.scale[0] * draw(st.floats(0.2, 4)), draw(st.integers(-128, 127)))
    y = cases.quant(max(x.scale[0], other.scale[0]) * draw(st.floats(0.3, 3)), draw(st.integers(-128, 127)))
    return cases.add(x, other, y, draw(clips), (1, 2, 40, 40))


@FEW
@given(sums())
def test_sums_are_exact_over_many_pairs(graph):
    assert_exact(graph, 1)


def test_sums_are_exact_over_all_pairs_of_codes():
    every = np.arange(-128, 128, dtype=np.int8)
    grid = np.stack(np.meshgrid(every, every, indexing="ij"))[None]
    for scale, other, y in ((0.02, 0.02, 0.03), (0.5, 0.11, 0.43), (0.017, 0.061, 0.05), (0.25, 0.5, 0.5)):
        graph = cases.add(cases.quant(scale, 4), cases.quant(other, -9), cases.quant(y, 17))
        expected = cases.expected(graph, grid)
        np.testing.assert_array_equal(MicroSession(encode(graph), graph).run(grid), expected["y"])
        assert np.unique(expected["y"]).size > 150


@st.composite
def means(draw: st.DrawFn) -> Graph:
    x, keep, y = draw(images()), draw(st.booleans()), None
    if draw(st.booleans()):
        y = draw(quants(x.quant.format))
        y = cases.quant(x.quant.scale[0] * 10 ** draw(st.floats(-2, 1)), y.zero, y.format)
    shape = (1, x.shape[1], 1, 1) if keep else (1, x.shape[1])
    return cases.one(ops.Mean(keep_dims=keep), x, Tensor(shape, y or x.quant), draw(clips))


@FEW
@given(means())
def test_means_are_exact(graph):
    assert_exact(graph, 8)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (25, 5), (32, 32), (56, 56)])
def test_means_of_large_images_are_exact(height, width):
    x = Tensor((1, 3, height, width), cases.quant(0.03))
    y = cases.quant(0.03 / np.sqrt(height * width), 0)
    graph = cases.one(ops.Mean(keep_dims=False), x, Tensor((1, 3), y))
    assert len(output(graph, 16)) > 20
    assert_exact(graph, 16)


@FEW
@given(quants(), st.floats(-2, 2), formats, clips)
def test_requantising_every_code_is_exact(x, decades, fmt, clip):
    y = cases.quant(x.scale[0] * 10**decades, 7, fmt)
    graph = cases.one(ops.Requantize(), Tensor((1, 4, 8, 8), x), Tensor((1, 4, 8, 8), y), clip)
    every = np.arange(-128, 128, dtype=np.int8).reshape(1, 4, 8, 8)
    np.testing.assert_array_equal(MicroSession(encode(graph), graph).run(every), cases.expected(graph, every)["y"])


@FEW
@given(images(), st.sampled_from([(0.0, INF), (0.0, 6.0), (-1.0, 2.5), (0.1, 0.2)]))
def test_clips_of_their_own_are_exact(x, limits):
    assert_exact(cases.one(ops.Clip(low=limits[0], high=limits[1]), x, x))


def test_a_clip_beyond_the_range_of_the_format_gives_its_limit():
    for limits, only in (((0.5, INF), 127), ((-INF, -300.0), -128)):
        x = Tensor((1, 2, 3, 3), cases.quant(1.0, 127))
        graph = cases.one(ops.Clip(low=limits[0], high=limits[1]), x, x)
        assert output(graph) == [only]
        assert_exact(graph)


@FEW
@given(images(), kernels, pairs, pads)
def test_max_pools_are_exact(x, kernel, strides, pad):
    op = ops.MaxPool(
        kernel=kernel, strides=strides, pads=tuple(min(p, k - 1) for p, k in zip(pad, kernel * 2, strict=True))
    )
    size = [cases.window_out(x.shape[2 + i], kernel[i], strides[i], op.pads[i::2]) for i in (0, 1)]
    assert_exact(cases.one(op, x, Tensor((1, x.shape[1], *size), x.quant)))


@FEW
@given(quants(), sizes, kernels, pairs, st.booleans())
def test_average_pools_are_exact(quant, size, kernel, strides, same):
    x = Tensor((1, *size), quant)
    total = [max((-(-x.shape[2 + i] // strides[i]) - 1) * strides[i] + kernel[i] - x.shape[2 + i], 0) for i in (0, 1)]
    pad = tuple(t // 2 for t in total) + tuple(t - t // 2 for t in total) if same else (0, 0, 0, 0)
    out = [cases.window_out(x.shape[2 + i], kernel[i], strides[i], pad[i::2]) for i in (0, 1)]
    op = ops.AveragePool(kernel=kernel, strides=strides, pads=pad)
    assert_exact(cases.one(op, x, Tensor((1, x.shape[1], *out), quant)))


@FEW
@given(images(), st.tuples(*[st.integers(0, 3)] * 3), st.tuples(*[st.integers(0, 3)] * 3))
def test_pads_are_exact(x, before, after):
    op = ops.Pad(before=(0, *before), after=(0, *after))
    shape = tuple(n + a + b for n, a, b in zip(x.shape, op.before, op.after, strict=True))
    assert_exact(cases.one(op, x, Tensor(shape, x.quant)))


@FEW
@given(images(), st.data())
def test_slices_are_exact(x, data):
    starts = tuple(data.draw(st.integers(0, n - 1)) for n in x.shape)
    ends = tuple(data.draw(st.sampled_from([n, s + 1, 2**31 - 1])) for n, s in zip(x.shape, starts, strict=True))
    steps = (1, *(data.draw(st.integers(1, 3)) for _ in range(3)))
    shape = tuple(len(range(n)[a:b:c]) for n, a, b, c in zip(x.shape, starts, ends, steps, strict=True))
    assert_exact(cases.one(ops.Slice(starts=starts, ends=ends, steps=steps), x, Tensor(shape, x.quant)))


@FEW
@given(images(), st.integers(1, 3), st.integers(2, 10))
def test_concatenations_are_exact(x, axis, count):
    pad = ops.Pad(before=(0, 0, 0, 0), after=tuple(int(i == axis) for i in range(4)))
    longer = tuple(n + int(i == axis) for i, n in enumerate(x.shape))
    names = tuple("xp"[i % 2] for i in range(count))
    extent = sum({"x": x.shape, "p": longer}[name][axis] for name in names)
    shape = tuple(extent if i == axis else n for i, n in enumerate(x.shape))
    nodes = (Node("pad", pad, ("x",), "p"), Node("join", ops.Concat(axis=axis), names, "y"))
    tensors = {"x": x, "p": Tensor(longer, x.quant), "y": Tensor(shape, x.quant)}
    assert_exact(check(Graph("join", "x", "y", nodes, tensors)))


@FEW
@given(images())
def test_reshapes_keep_the_order_of_the_graph(x):
    _, c, h, w = x.shape
    for before, after in (((1, c, h, w), (1, c * h * w)), ((1, c * h * w), (1, w, c, h)), ((1, c, h, w), (1, w, h, c))):
        start, end = Tensor(before, x.quant), Tensor(after, x.quant)
        assert_exact(cases.one(ops.Reshape(shape=after), start, end))
