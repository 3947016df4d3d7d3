"""Quantised graphs of one operator with random weights, scaled so that outputs use their whole format."""

from __future__ import annotations

import numpy as np

from quant import operators as ops
from quant.formats import Array, Format
from quant.graph import Graph, Node, Quant, Tensor, check

Clip = tuple[float, float] | None


def rms(fmt: Format, zero: int = 0) -> float:
    """Root mean square of the values of uniformly random codes minus the zero point."""
    values = fmt.decode(fmt.from_ordinals(np.array(fmt.ordinals(), dtype=np.int64))) - zero
    return float(np.sqrt(np.mean(values**2)))


def quant(fmt: Format, scale: float, zero: int = 0, channels: int = 0) -> Quant:
    """Scales as float32; `channels` of them, all different, when given."""
    spread = np.linspace(0.8, 1.25, channels) if channels else np.ones(1)
    scales = tuple(float(np.float32(s)) for s in scale * spread)
    return Quant(fmt, scales, 0 if fmt.is_minifloat else zero, 0 if channels else None)


def all_codes(fmt: Format, shape: tuple[int, ...], count: int, seed: int) -> Array:
    """Uniformly random codes, [count, *shape[1:]], the negative zero of a minifloat among them."""
    rng = np.random.default_rng(seed)
    codes = fmt.from_ordinals(rng.integers(fmt.min_ordinal, fmt.max_ordinal + 1, (count, *shape[1:])))
    if fmt.is_minifloat:
        codes[rng.random(codes.shape) < 0.05] = 1 << (fmt.bits - 1)
    return codes


def windows(size: int, kernel: int, stride: int, before: int, after: int, *, dilation: int = 1) -> int:
    """Number of window positions along an axis."""
    return (size + before + after - (kernel - 1) * dilation - 1) // stride + 1


def conv_graph(
    *,
    x: Quant,
    weight: Format,
    y: Format,
    size: tuple[int, int, int],
    out: int,
    kernel: tuple[int, int],
    op: ops.Conv,
    clip: Clip = None,
    seed: int = 0,
    y_zero: int = 0,
) -> Graph:
    """One convolution with per-channel weights; `size` is channels, height, width."""
    rng = np.random.default_rng(seed)
    channels, height, width = size
    shape = (out, channels // op.groups, *kernel)
    codes = weight.from_ordinals(rng.integers(weight.min_ordinal, weight.max_ordinal + 1, shape))
    taps = int(np.prod(shape[1:]))
    spread = rms(x.format, x.zero) * x.scale[0] * rms(weight) * 0.01 * np.sqrt(taps)
    top, left, bottom, right = op.pads
    rows = windows(height, kernel[0], op.strides[0], top, bottom, dilation=op.dilations[0])
    columns = windows(width, kernel[1], op.strides[1], left, right, dilation=op.dilations[1])
    tensors = {
        "x": Tensor((1, *size), x),
        "w": Tensor(shape, quant(weight, 0.01, channels=out)),
        "b": Tensor((out,)),
        "y": Tensor((1, out, rows, columns), quant(y, float(2 * spread / y.max), y_zero)),
    }
    weights = {"w": codes, "b": rng.integers(-99, 100, out)}
    return check(Graph("conv", "x", "y", (Node("conv", op, ("x", "w", "b"), "y", clip),), tensors, weights))


def unary_graph(op: ops.Operator, x: Quant, shape: tuple[int, ...], y: Quant, out: tuple[int, ...]) -> Graph:
    """One operator with one input and no weights."""
    tensors = {"x": Tensor(shape, x), "y": Tensor(out, y)}
    return check(Graph("unary", "x", "y", (Node("node", op, ("x",), "y"),), tensors))


def add_graph(a: Quant, b: Quant, y: Quant, shape: tuple[int, ...]) -> Graph:
    """The input requantised to `b`, plus the input itself."""
    tensors = {"x": Tensor(shape, a), "b": Tensor(shape, b), "y": Tensor(shape, y)}
    nodes = (Node("other", ops.Requantize(), ("x",), "b"), Node("add", ops.Add(), ("x", "b"), "y"))
    return check(Graph("sum", "x", "y", nodes, tensors))
