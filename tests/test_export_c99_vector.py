"""The vector kernels of generated C: exact on emulated Cortex-M55, A72 and A76, and no dearer than they should be."""

from __future__ import annotations

import dataclasses
import tempfile
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from devices.emulators import qemu_system, qemu_user
from devices.emulators.machine import EmulatedSession, Machine, open_part
from devices.emulators.trial import cannot_count, missing
from export.arm_m import TARGET
from export.target import Source
from quant import operators as ops
from quant.fixedpoint import q31_multiplier
from quant.formats import INT8, Array, IntArray, find_format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.program import ConvStep, lower
from quant.reference import run
from tests.single_ops import all_codes, conv_graph, quant, unary_graph

MACHINES = (
    pytest.param(qemu_system.M55, "defined(HELIUM)", id="m55"),
    pytest.param(qemu_user.A72, "defined(NEON) && !defined(SDOT)", id="a72"),
    pytest.param(qemu_user.A76, "defined(SDOT)", id="a76"),
)
#: channels, height, width; outputs; kernel; the rest of the operator.
CONVOLUTIONS = (
    pytest.param((32, 8, 8), 32, (1, 1), ops.Conv(), id="pointwise"),
    pytest.param((20, 5, 5), 6, (1, 1), ops.Conv(strides=(2, 1)), id="pointwise-strided"),
    pytest.param((13, 7, 3), 21, (1, 1), ops.Conv(), id="pointwise-odd"),
    pytest.param((16, 6, 5), 36, (3, 3), ops.Conv(pads=(1, 1, 1, 1)), id="in-place"),
    pytest.param((3, 9, 8), 17, (3, 3), ops.Conv(strides=(2, 2), pads=(0, 0, 1, 1)), id="first-layer"),
    pytest.param((8, 7, 9), 20, (3, 3), ops.Conv(pads=(2, 1, 2, 1), dilations=(2, 1)), id="rows-dilated"),
    pytest.param((5, 6, 7), 9, (3, 2), ops.Conv(pads=(0, 2, 0, 2), dilations=(1, 2)), id="columns-dilated"),
    pytest.param((1, 25, 8), 64, (10, 4), ops.Conv(strides=(2, 2), pads=(4, 1, 5, 1)), id="keyword"),
    pytest.param((16, 2, 1), 5, (3, 3), ops.Conv(pads=(2, 2, 2, 2)), id="larger-than-the-image"),
    pytest.param((67, 1, 1), 30, (1, 1), ops.Conv(), id="one-position"),
)
DEPTHWISE = (
    pytest.param((64, 6, 5), (3, 3), ops.Conv(pads=(1, 1, 1, 1), groups=64), id="3x3"),
    pytest.param((24, 9, 8), (3, 3), ops.Conv(strides=(2, 2), pads=(0, 0, 1, 1), groups=24), id="strided"),
    pytest.param((21, 6, 7), (3, 3), ops.Conv(pads=(1, 2, 1, 2), dilations=(1, 2), groups=21), id="dilated-odd"),
    pytest.param((17, 7, 7), (5, 5), ops.Conv(pads=(2, 2, 2, 2), groups=17), id="5x5"),
    pytest.param((8, 9, 9), (9, 9), ops.Conv(pads=(4, 4, 4, 4), groups=8), id="9x9"),
)


def opened(machine: Machine, folder: str, graph: Graph, inputs: Array, outputs: Array) -> EmulatedSession:
    """Export a graph and open it on a machine; skips with the reason where that cannot be emulated."""
    reason = missing(machine)
    if reason is not None:
        pytest.skip(reason)
    TARGET.write(Source("op", graph, inputs, outputs), Path(folder))
    return open_part(machine, Path(folder), "op", graph)


def prove(machine: Machine, graph: Graph, marks: tuple[str, ...], inputs: Array | None = None) -> None:
    """Run a graph on an emulated machine; `marks` must stand in its source: the kernels that are to be proven."""
    if inputs is None:
        inputs = all_codes(graph.quant(graph.input).format, graph.shape(graph.input), 3, 5)
    outputs = run(lower(graph), inputs)[graph.output]
    assert len(np.unique(outputs)) > 2
    assert len({image.tobytes() for image in outputs}) == len(outputs)
    assert len({int(image.argmax()) for image in outputs}) > 1 or outputs[0].size < 4
    folders = tempfile.TemporaryDirectory()
    with folders as folder, closing(opened(machine, folder, graph, inputs, outputs)) as session:
        source = (Path(folder) / "op.c").read_text()
        assert all(mark in source for mark in marks)
        made = session.run(inputs)
    assert np.array_equal(made, outputs)


def narrow(graph: Graph, least: int = -127) -> Graph:
    """The same graph with weights no smaller than `least`."""
    return dataclasses.replace(graph, weights={**graph.weights, "w": np.maximum(graph.weights["w"], np.int8(least))})


@pytest.mark.parametrize(("machine", "guard"), MACHINES)
@pytest.mark.parametrize(("size", "out", "kernel", "op"), CONVOLUTIONS)
def test_convolution(machine, guard, size, out, kernel, op):
    graph = conv_graph(
        x=quant(INT8, 0.02, -3), weight=INT8, y=INT8, size=size, out=out, kernel=kernel, op=op, seed=3, y_zero=7
    )
    prove(machine, narrow(graph), (guard, "defined(VECTOR)", "conv_byte("))


@pytest.mark.parametrize(("machine", "guard"), MACHINES)
@pytest.mark.parametrize(("size", "kernel", "op"), DEPTHWISE)
def test_depthwise(machine, guard, size, kernel, op):
    graph = conv_graph(
        x=quant(INT8, 0.02, 127), weight=INT8, y=INT8, size=size, out=size[0], kernel=kernel, op=op, seed=3, y_zero=-9
    )
    prove(machine, narrow(graph), ("depthwise_row(", "defined(VECTOR)"))


@pytest.mark.parametrize(("machine", "guard"), MACHINES)
@pytest.mark.parametrize("groups", [1, 16])
def test_narrow_output_range(machine, guard, groups):
    x, op = quant(INT8, 0.02, -128), ops.Conv(pads=(1, 1, 1, 1), groups=groups)
    given = {"x": x, "weight": INT8, "y": INT8, "size": (16, 5, 5), "out": 16, "kernel": (3, 3), "op": op}
    graph = narrow(conv_graph(**given, y_zero=-100, clip=(0.0, np.inf)))
    scale = graph.quant("y").scale[0]
    prove(machine, narrow(conv_graph(**given, y_zero=-100, clip=(0.0, 150 * scale))), ("clamp_bytes(",))


def ranged(graph: Graph, low: int, high: int) -> Graph:
    """The same graph with other weights, which fill low..high, and an output scale for them."""
    weight = np.random.default_rng(1).integers(low, high + 1, graph.weights["w"].shape)
    weight.ravel()[:2] = low, high
    coarse = Tensor(graph.shape("y"), Quant(INT8, (4 * graph.quant("y").scale[0],), 5))
    weights = {**graph.weights, "w": weight.astype(graph.weights["w"].dtype)}
    return check(dataclasses.replace(graph, weights=weights, tensors={**graph.tensors, "y": coarse}))


@pytest.mark.parametrize(("machine", "guard"), MACHINES)
@pytest.mark.parametrize("groups", [1, 16])
@pytest.mark.parametrize("weights", [(-128, 100), (-254, 0), (0, 254)])
def test_weights_that_are_bytes_and_an_offset(machine, guard, groups, weights):
    """Two products with -128 would not fit 16 bits, and more than a byte no byte: one offset per layer is taken off."""
    op = ops.Conv(pads=(1, 1, 1, 1), groups=groups)
    wide = find_format("int9")
    out = 16 if groups > 1 else 21
    x = quant(INT8, 0.02, -3)
    graph = conv_graph(x=x, weight=wide, y=INT8, size=(16, 5, 5), out=out, kernel=(3, 3), op=op)
    inputs = all_codes(INT8, graph.shape("x"), 3, 1)
    inputs[0, :, :3] = -128
    prove(machine, ranged(graph, *weights), ("_byte(", guard if groups == 1 else "depthwise_row("), inputs)


@pytest.mark.parametrize(("machine", "guard"), MACHINES)
@pytest.mark.parametrize("size", [(5, 4, 5), (8, 3, 5), (70, 1, 1)])
def test_offset_of_copied_windows(machine, guard, size):
    given = {"x": quant(INT8, 0.02, -3), "weight": find_format("int9"), "y": INT8, "size": size, "out": 6}
    graph = conv_graph(**given, kernel=(1, 1), op=ops.Conv())
    prove(machine, ranged(graph, 0, 254), (guard, "conv_byte("))


@pytest.mark.parametrize(("machine", "guard"), MACHINES)
@pytest.mark.parametrize("weight", ["int4", "e2m1"])
def test_narrow_weights(machine, guard, weight):
    op = ops.Conv(pads=(1, 1, 1, 1))
    graph = conv_graph(
        x=quant(INT8, 0.02, -3), weight=find_format(weight), y=INT8, size=(9, 5, 5), out=10, kernel=(3, 3), op=op
    )
    prove(machine, graph, ())


@pytest.mark.parametrize(("machine", "guard"), MACHINES)
@pytest.mark.parametrize("formats", [("int16", "int8"), ("int8", "int16"), ("e4m3", "int8"), ("int8", "e4m3")])
def test_other_activations_fall_back(machine, guard, formats):
    x, y = (find_format(name) for name in formats)
    op = ops.Conv(pads=(1, 1, 1, 1))
    graph = conv_graph(x=quant(x, 0.02, 3), weight=INT8, y=y, size=(6, 5, 5), out=6, kernel=(3, 3), op=op)
    prove(machine, narrow(graph), ())


def add_graph(a: float, b: float, zeros: tuple[int, int], y: Quant) -> Graph:
    """The input requantised to scale `b`, plus the input itself, of scale `a`; 7 channels, so that elements remain."""
    shape = (1, 7, 5, 5)
    given = (Quant(INT8, (a,), zeros[0]), Quant(INT8, (b,), zeros[1]))
    tensors = {"x": Tensor(shape, given[0]), "b": Tensor(shape, given[1]), "y": Tensor(shape, y)}
    nodes = (Node("other", ops.Requantize(), ("x",), "b"), Node("add", ops.Add(), ("x", "b"), "y"))
    return check(Graph("sum", "x", "y", nodes, tensors))


@pytest.mark.parametrize(("machine", "guard"), MACHINES)
@pytest.mark.parametrize("scales", [(0.05, 0.02), (0.03, 0.0501), (0.04, 0.04), (0.05, 0.025), (0.05, 0.0001)])
def test_sum(machine, guard, scales):
    graph = add_graph(*scales, (-3, 11), Quant(INT8, (0.063,), -128))
    prove(machine, graph, ("add_vector(",))
    clipped = dataclasses.replace(graph.nodes[1], clip=(0.0, 5.0))
    prove(machine, dataclasses.replace(graph, nodes=(graph.nodes[0], clipped)), ("add_vector(",))


@pytest.mark.parametrize(("machine", "guard"), MACHINES)
@pytest.mark.parametrize("shape", [(1, 24, 17, 31), (1, 21, 3, 2), (1, 8, 1, 255), (1, 5, 16, 16)])
def test_mean(machine, guard, shape):
    x, y = Quant(INT8, (0.05,), -128), Quant(INT8, (0.02,), 3)
    graph = unary_graph(ops.Mean(keep_dims=False), x, shape, y, shape[:2])
    rng = np.random.default_rng(1)
    level = rng.integers(-128, -90, (4, shape[1], 1, 1))
    inputs = np.clip(level + rng.integers(-9, 9, (4, *shape[1:])), -128, 127).astype(np.int8)
    inputs[3] = 127
    prove(machine, graph, ("mean_byte(",), inputs)


def ties_graph(groups: int) -> tuple[Graph, IntArray]:
    """A layer whose accumulators are a bias plus one input code, and those biases: halves lie within reach of a code.

    Channels have multipliers from just below 1/2 to 2^-22, powers of two (whose halves are exact) and others.
    """
    exponents, fractions = range(1, 22), (0.5, 0.5000001, 0.71, 0.9999999)
    real = np.array([np.float32(f * 2.0**-e) for e in exponents for f in fractions] + [np.float32(2.0**-22)] * 4)
    channels = len(real)
    codes = np.arange(channels) * 37 % 180 - 90
    bias = np.rint((codes + 0.5) / real).astype(np.int64) + np.arange(channels) % 5 - 2
    weight = np.zeros((channels, channels // groups if groups > 1 else 4, 3, 3), np.int8)
    weight[:, 0, 1, 1] = 1
    inputs = channels if groups > 1 else 4
    tensors = {
        "x": Tensor((1, inputs, 16, 16), Quant(INT8, (1.0,), 0)),
        "w": Tensor(weight.shape, Quant(INT8, tuple(float(r) for r in real), 0, 0)),
        "b": Tensor((channels,)),
        "y": Tensor((1, channels, 16, 16), Quant(INT8, (1.0,), 0)),
    }
    op = ops.Conv(pads=(1, 1, 1, 1), groups=groups)
    weights = {"w": weight, "b": bias.astype(np.int32)}
    return check(Graph("ties", "x", "y", (Node("conv", op, ("x", "w", "b"), "y"),), tensors, weights)), bias


@pytest.mark.parametrize(("machine", "guard"), MACHINES)
@pytest.mark.parametrize("depthwise", [False, True], ids=["convolution", "depthwise"])
def test_every_accumulator_around_halves(machine, guard, depthwise):
    """Double rounding is told from single rounding, and halves of both signs go away from zero."""
    graph, bias = ties_graph(88 if depthwise else 1)
    (step,) = lower(graph).steps
    assert isinstance(step, ConvStep)
    ramp = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16)
    inputs = np.stack([np.broadcast_to(np.roll(ramp, shift), graph.shape("x")[1:]) for shift in (0, 77)])
    acc = bias[:, None] + np.arange(-128, 128)
    products = acc * np.array([m.mantissa for m in step.requant.multipliers])[:, None]
    bits = 31 - np.array([m.exponent for m in step.requant.multipliers])[:, None]
    halves = (products & ((1 << bits) - 1)) == 1 << (bits - 1)
    single = np.clip((products + (1 << (bits - 1))) >> bits, -128, 127)
    double = run(lower(graph), inputs)[graph.output][0].reshape(len(bias), -1)
    assert (halves & (acc < 0)).sum() > 50 and (halves & (acc > 0)).sum() > 50
    assert (single != double).sum() > 100
    prove(machine, graph, ("depthwise_row(" if depthwise else guard,), inputs)


def test_ties_have_the_multipliers_they_claim():
    graph, _ = ties_graph(1)
    (step,) = lower(graph).steps
    assert isinstance(step, ConvStep)
    scales = graph.quant("w").scale
    assert [q31_multiplier(s) for s in scales] == list(step.requant.multipliers)
    assert {m.exponent for m in step.requant.multipliers} >= set(range(-21, 0))


@pytest.mark.parametrize(
    ("machine", "most"),
    [
        pytest.param(qemu_system.M55, 0.60, id="m55"),
        pytest.param(qemu_user.A72, 0.55, id="a72"),
        pytest.param(qemu_user.A76, 0.16, id="a76"),
    ],
)
def test_instructions_of_a_pointwise_layer(machine, most):
    """64 positions, 32 channels to 32 channels; 0.62 instructions per product are known from CMSIS-NN on the M55."""
    graph = narrow(
        conv_graph(
            x=quant(INT8, 0.02, -3), weight=INT8, y=INT8, size=(32, 8, 8), out=32, kernel=(1, 1), op=ops.Conv(), seed=3
        )
    )
    inputs = all_codes(INT8, graph.shape("x"), 1, 3)
    outputs, folders = run(lower(graph), inputs)["y"], tempfile.TemporaryDirectory()
    with folders as folder, closing(opened(machine, folder, graph, inputs, outputs)) as session:
        reason = cannot_count(machine)
        if reason is not None:
            pytest.skip(reason)
        (count,) = session.instructions(inputs)
    assert count / (64 * 32 * 32) <= most
