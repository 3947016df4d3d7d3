"""One-operator int8 graphs for the tests of the `.tflite` exporter, and their inputs."""

from __future__ import annotations

import numpy as np

from quant import operators as ops
from quant.formats import INT8, Array, Format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.program import lower
from quant.reference import fast_dot, run

Clip = tuple[float, float] | None


def quant(scale: float, zero: int = 0, fmt: Format = INT8) -> Quant:
    return Quant(fmt, (float(np.float32(scale)),), zero)


def tiny_graph() -> Graph:
    tensors = {"x": Tensor((1, 1), quant(0.5)), "y": Tensor((1, 1), quant(0.25))}
    return check(Graph("tiny", "x", "y", (Node("q", ops.Requantize(), ("x",), "y"),), tensors))


def one(op: ops.Operator, x: Tensor, y: Tensor, clip: Clip = None, **weights: tuple[Tensor, Array]) -> Graph:
    """A graph of one node with one activation input; `weights` by tensor name, in input order."""
    node = Node("node", op, ("x", *weights), "y", clip)
    tensors = {"x": x, "y": y, **{name: tensor for name, (tensor, _) in weights.items()}}
    return check(Graph("one", "x", "y", (node,), tensors, {name: codes for name, (_, codes) in weights.items()}))


def window_out(size: int, kernel: int, stride: int, pads: tuple[int, int] = (0, 0), dilation: int = 1) -> int:
    return (size + sum(pads) - (kernel - 1) * dilation - 1) // stride + 1


def conv(
    rng: np.random.Generator,
    op: ops.Conv,
    x: Tensor,
    shape: tuple[int, int, int],
    *,
    clip: Clip = None,
    weight: Format = INT8,
    fmt: Format = INT8,
) -> Graph:
    """A convolution, `shape` [O, kh, kw], with random weights and an output that uses about the whole range."""
    out, *kernel = shape
    shape = (out, x.shape[1] // op.groups, *kernel)
    scales = tuple(float(np.float32(s)) for s in rng.uniform(0.002, 0.02, out))
    codes = rng.integers(-weight.max_ordinal, weight.max_ordinal + 1, shape).astype(np.int8)
    bias = rng.integers(-3000, 3000, out).astype(np.int32)
    assert x.quant is not None
    spread = x.quant.scale[0] * 0.011 * weight.max_ordinal * 0.58 * 74 * np.sqrt(np.prod(shape[1:]))
    y = quant(spread / rng.uniform(30, 90), int(rng.integers(fmt.min_ordinal, fmt.max_ordinal + 1)), fmt)
    size = [
        window_out(x.shape[2 + i], kernel[i], op.strides[i], (op.pads[i], op.pads[2 + i]), op.dilations[i])
        for i in (0, 1)
    ]
    weights = {"w": (Tensor(shape, Quant(weight, scales, 0, 0)), codes), "b": (Tensor((out,)), bias)}
    return one(op, x, Tensor((1, out, *size), y), clip, **weights)


def gemm(rng: np.random.Generator, x: Tensor, out: int, clip: Clip = None, *, per_tensor: bool = False) -> Graph:
    """A fully connected layer with random weights, one scale per channel or one for all."""
    shape = (out, x.shape[1])
    scales = tuple(float(np.float32(s)) for s in rng.uniform(0.002, 0.02, 1 if per_tensor else out))
    codes = rng.integers(-127, 128, shape).astype(np.int8)
    bias = rng.integers(-3000, 3000, out).astype(np.int32)
    assert x.quant is not None
    y = quant(
        x.quant.scale[0] * 0.011 * 74 * 74 * np.sqrt(shape[1]) / rng.uniform(30, 90), int(rng.integers(-128, 128))
    )
    weights = {
        "w": (Tensor(shape, Quant(INT8, scales, 0, None if per_tensor else 0)), codes),
        "b": (Tensor((out,)), bias),
    }
    return one(ops.Gemm(), x, Tensor((1, out), y), clip, **weights)


def add(x: Quant, other: Quant, y: Quant, clip: Clip = None, shape: tuple[int, ...] = (1, 1, 256, 256)) -> Graph:
    """x + pad(x): the second addend is a requantised and mirrored copy, so that both vary."""
    halves = (shape[0], 2 * shape[1], *shape[2:])
    starts, rank = [(0,) * len(shape), (0, shape[1], *(0,) * (len(shape) - 2))], len(shape)
    parts = [
        ops.Slice(starts=s, ends=tuple(a + b for a, b in zip(s, shape, strict=True)), steps=(1,) * rank) for s in starts
    ]
    nodes = (
        Node("first", parts[0], ("x",), "a"),
        Node("second", parts[1], ("x",), "c"),
        Node("other", ops.Requantize(), ("c",), "b"),
        Node("add", ops.Add(), ("a", "b"), "y", clip),
    )
    tensors = {"x": Tensor(halves, x), "a": Tensor(shape, x), "c": Tensor(shape, x), "b": Tensor(shape, other)}
    return check(Graph("add", "x", "y", nodes, {**tensors, "y": Tensor(shape, y)}))


def random_input(graph: Graph, count: int, seed: int = 0) -> Array:
    """Uniform codes over the whole range of the input's format."""
    fmt = graph.quant(graph.input).format
    shape = (count, *graph.shape(graph.input)[1:])
    codes = np.random.default_rng(seed).integers(fmt.min_ordinal, fmt.max_ordinal + 1, shape)
    return fmt.from_ordinals(codes)


def expected(graph: Graph, codes: Array) -> dict[str, Array]:
    return run(lower(graph), codes, fast_dot)
