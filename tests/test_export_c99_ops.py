"""Random single operators: the generated C, built with sanitizers and strict warnings, gives the reference's codes."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from export.arm_m import TARGET
from export.target import Source
from quant import operators as ops
from quant.errors import QuantError
from quant.formats import INT8, Format, find_format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.program import lower
from quant.reference import run
from tests.single_ops import add_graph, all_codes, conv_graph, quant, rms, unary_graph, windows

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler 'cc' here")

NARROW = tuple(map(find_format, ("int8", "int8", "uint8", "int4", "e4m3", "e4m3fn", "e3m2", "e2m1", "e5m2", "int16")))
SANITIZED = (
    "-O1",
    "-std=c99",
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Wshadow",
    "-Wcast-align=strict",
    "-Werror",
    "-fsanitize=undefined,address",
    "-fno-sanitize-recover=all",
)
#: Builds per operator; set EDGEMILL_EXAMPLES for a longer hunt.
EXAMPLES = int(os.environ.get("EDGEMILL_EXAMPLES", "12"))
FEW = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.filter_too_much]
)

formats = st.sampled_from(NARROW)
seeds = st.integers(0, 2**31)
sizes = st.integers(1, 7)
pads = st.tuples(*[st.integers(0, 2)] * 4)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


def prove(graph: Graph, seed: int) -> None:
    """Build the self-test with sanitizers and run it on random codes, or reject the example if it does not lower."""
    try:
        program = lower(graph)
    except QuantError:
        assume(False)
    shape = graph.shape(graph.input)
    inputs = all_codes(graph.quant(graph.input).format, shape, 3, seed)
    outputs = run(program, inputs)[graph.output]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        TARGET.write(Source("op", graph, inputs, outputs), folder)
        command = ["cc", *SANITIZED, "op.c", "op_test.c", "-o", "op_test"]
        built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        done = subprocess.run(["./op_test"], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout == "op: 3 of 3 vectors bit-exact\n"


def zero_of(fmt: Format, fraction: float) -> int:
    """A zero point inside the format; minifloats have none."""
    return 0 if fmt.is_minifloat else round(fmt.min_ordinal + fraction * (fmt.max_ordinal - fmt.min_ordinal))


zeros = st.sampled_from((0.0, 0.3, 0.5, 1.0))


@FEW
@given(
    x=formats,
    weight=formats,
    y=formats,
    zero=zeros,
    y_zero=zeros,
    size=st.tuples(sizes, sizes),
    groups=st.integers(1, 3),
    depth=st.integers(1, 4),
    out=st.integers(1, 4),
    kernel=pairs,
    strides=pairs,
    dilations=pairs,
    pad=pads,
    clip=st.sampled_from((None, (0.0, float("inf")), (0.0, 6.0))),
    seed=seeds,
)
def test_convolution(
    *, x, weight, y, zero, y_zero, size, groups, depth, out, kernel, strides, dilations, pad, clip, seed
):
    rows = windows(size[0], kernel[0], strides[0], pad[0], pad[2], dilation=dilations[0])
    columns = windows(size[1], kernel[1], strides[1], pad[1], pad[3], dilation=dilations[1])
    assume(rows > 0 and columns > 0)
    op = ops.Conv(strides=strides, pads=pad, dilations=dilations, groups=groups)
    given = quant(x, 0.02, zero_of(x, zero))
    extent = (groups * depth, *size)
    prove(
        conv_graph(
            x=given,
            weight=weight,
            y=y,
            size=extent,
            out=groups * out,
            kernel=kernel,
            op=op,
            clip=clip,
            seed=seed,
            y_zero=zero_of(y, y_zero),
        ),
        seed,
    )


@FEW
@given(
    x=formats,
    weight=formats,
    y=formats,
    zero=zeros,
    size=st.tuples(sizes, sizes),
    channels=st.integers(2, 9),
    kernel=pairs,
    strides=pairs,
    dilations=pairs,
    pad=pads,
    seed=seeds,
)
def test_depthwise(*, x, weight, y, zero, size, channels, kernel, strides, dilations, pad, seed):
    rows = windows(size[0], kernel[0], strides[0], pad[0], pad[2], dilation=dilations[0])
    columns = windows(size[1], kernel[1], strides[1], pad[1], pad[3], dilation=dilations[1])
    assume(rows > 0 and columns > 0)
    op = ops.Conv(strides=strides, pads=pad, dilations=dilations, groups=channels)
    given = quant(x, 0.02, zero_of(x, zero))
    prove(
        conv_graph(x=given, weight=weight, y=y, size=(channels, *size), out=channels, kernel=kernel, op=op, seed=seed),
        seed,
    )


@FEW
@given(x=formats, b=formats, y=formats, zero=zeros, ratio=st.floats(0.1, 8), size=st.integers(1, 40), seed=seeds)
def test_add_and_requantize(*, x, b, y, zero, ratio, size, seed):
    first = quant(x, 0.02, zero_of(x, zero))
    second = quant(b, 0.02 * ratio * rms(x) / rms(b), zero_of(b, 1 - zero))
    total = quant(y, 0.02 * (1 + ratio) * rms(x) / rms(y), zero_of(y, zero))
    prove(add_graph(first, second, total, (1, size)), seed)


@FEW
@given(x=formats, y=formats, zero=zeros, size=st.tuples(sizes, sizes, sizes), keep=st.booleans(), seed=seeds)
def test_mean(*, x, y, zero, size, keep, seed):
    given = quant(x, 0.02, zero_of(x, zero))
    made = quant(y, 0.02 * rms(x) / rms(y) / np.sqrt(size[1] * size[2]), zero_of(y, zero))
    out = (1, size[0], 1, 1) if keep else (1, size[0])
    prove(unary_graph(ops.Mean(keep_dims=keep), given, (1, *size), made, out), seed)


@FEW
@given(
    x=formats,
    kernel=pairs,
    strides=pairs,
    pad=pads,
    size=st.tuples(sizes, sizes, sizes),
    largest=st.booleans(),
    seed=seeds,
)
def test_pools(*, x, kernel, strides, pad, size, largest, seed):
    assume(max(pad[0], pad[2]) < kernel[0] and max(pad[1], pad[3]) < kernel[1])
    rows = windows(size[1], kernel[0], strides[0], pad[0], pad[2])
    columns = windows(size[2], kernel[1], strides[1], pad[1], pad[3])
    assume(rows > 0 and columns > 0)
    kind = ops.MaxPool if largest else ops.AveragePool
    both = quant(x, 0.02, zero_of(x, 0.3))
    op = kind(kernel=kernel, strides=strides, pads=pad)
    prove(unary_graph(op, both, (1, *size), both, (1, size[0], rows, columns)), seed)


@FEW
@given(x=formats, before=pads, after=pads, size=st.tuples(sizes, sizes, sizes), rank=st.integers(2, 4), seed=seeds)
def test_pad(*, x, before, after, size, rank, seed):
    shape = (1, *size)[:rank]
    low, high = (0, *before)[:rank], (0, *after)[:rank]
    both = quant(x, 0.02, zero_of(x, 0.3))
    out = tuple(n + a + b for n, a, b in zip(shape, low, high, strict=True))
    prove(unary_graph(ops.Pad(before=low, after=high), both, shape, both, out), seed)


@FEW
@given(x=formats, size=st.tuples(sizes, sizes, sizes), data=st.data(), rank=st.integers(2, 4), seed=seeds)
def test_slice(*, x, size, data, rank, seed):
    shape = (1, *size)[:rank]
    cuts = [(0, 1, 1)]
    for extent in shape[1:]:
        start = data.draw(st.integers(0, extent - 1))
        cuts.append((start, data.draw(st.sampled_from((extent, 2**31, -1, start + 1))), data.draw(st.integers(1, 3))))
    out = tuple(len(range(*slice(*cut).indices(n))) for cut, n in zip(cuts, shape, strict=True))
    assume(min(out) > 0)
    starts, ends, steps = zip(*cuts, strict=True)
    op = ops.Slice(starts=starts, ends=ends, steps=steps)
    both = quant(x, 0.02, zero_of(x, 0.3))
    prove(unary_graph(op, both, shape, both, out), seed)


@FEW
@given(
    x=formats,
    size=st.tuples(sizes, sizes, sizes),
    axis=st.sampled_from((1, 2, 3, -1)),
    cut=st.integers(1, 3),
    seed=seeds,
)
def test_concat_of_the_input_and_its_slice(*, x, size, axis, cut, seed):
    shape = (1, *size)
    part = list(shape)
    part[axis] = min(cut, shape[axis])
    whole = list(shape)
    whole[axis] += part[axis]
    both = quant(x, 0.02, zero_of(x, 0.3))
    tensors = {"x": Tensor(shape, both), "s": Tensor(tuple(part), both), "y": Tensor(tuple(whole), both)}
    op = ops.Slice(starts=(0, 0, 0, 0), ends=tuple(part), steps=(1, 1, 1, 1))
    nodes = (Node("slice", op, ("x",), "s"), Node("join", ops.Concat(axis=axis), ("s", "x"), "y"))
    prove(check(Graph("concat", "x", "y", nodes, tensors)), seed)


RESHAPES = (
    ((1, 3, 2, 2), (1, 12)),
    ((1, 3, 1, 1), (1, 3)),
    ((1, 3, 2, 2), (1, 2, 3, 2)),
    ((1, 12), (1, 3, 2, 2)),
    ((1, 3, 2, 2), (1, 3, 4)),
    ((1, 4, 3), (1, 2, 2, 3)),
    ((1, 1, 3, 2), (1, 6)),
    ((1, 3, 2, 2), (1, 1, 3, 4)),
)


@pytest.mark.parametrize("shapes", RESHAPES)
@pytest.mark.parametrize("fmt", ["int8", "e4m3"])
def test_reshape_keeps_the_order_of_the_graph(shapes, fmt):
    both = quant(find_format(fmt), 0.02)
    prove(unary_graph(ops.Reshape(shape=shapes[1]), both, shapes[0], both, shapes[1]), 5)


def test_reshape_in_the_middle_shares_memory():
    both = quant(INT8, 0.02, 3)
    half = Quant(INT8, (float(np.float32(0.04)),), -5)
    tensors = {
        "x": Tensor((1, 6, 1, 1), both),
        "a": Tensor((1, 6, 1, 1), half),
        "b": Tensor((1, 6), half),
        "y": Tensor((1, 6), both),
    }
    nodes = (
        Node("a", ops.Requantize(), ("x",), "a"),
        Node("b", ops.Reshape(shape=(1, 6)), ("a",), "b"),
        Node("y", ops.Requantize(), ("b",), "y"),
    )
    prove(check(Graph("shared", "x", "y", nodes, tensors)), 7)


def test_zero_stays_zero_where_the_output_grid_is_much_finer():
    """A multiplier of 2^24 and more: the step of the output grid follows from the leading bit, which 0 lacks."""
    fine = find_format("e5m2")
    graph = unary_graph(ops.Requantize(), quant(INT8, 0.02), (1, 256), quant(fine, 0.02 * 127 / fine.max), (1, 256))
    program = lower(graph)
    every = np.arange(-128, 128, dtype=np.int8)[None]
    made = run(program, every)["y"]
    assert made[0, 128] == 0 and len(np.unique(made)) > 40
    with tempfile.TemporaryDirectory() as name:
        TARGET.write(Source("fine", graph, every, made), Path(name))
        subprocess.run(
            ["cc", *SANITIZED, "fine.c", "fine_test.c", "-o", "t"], cwd=name, check=True, capture_output=True
        )
        assert subprocess.run(["./t"], cwd=name, check=False, capture_output=True).returncode == 0
