"""Layers with weights of random networks: convolutions of every kind and fully connected layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.choices import Pick, between, one_of
from benchmarks.growth import Clip, Growth, fitted, largest_weight
from quant.formats import Array, FloatArray, Format
from quant.graph import Quant, Tensor
from quant.operators import Conv, Gemm, Operator

INF = float("inf")
CHANNELS = (4, 1, 2, 3, 5, 6, 7, 8, 9, 12, 13, 16, 17, 20, 24, 31, 32, 33, 40)
KINDS = ("pointwise", "depthwise", "dense", "multiplier", "grouped", "dense")
#: Bounds of a random layer, so that a network takes seconds on every emulator and in every simulator.
MAX_VALUES, MAX_MACS = 4000, 150_000
#: How much of the range that really comes out an output format covers; below 1 some values saturate.
COVERS = (1.0, 1.0, 0.8, 1.5, 0.5)


@dataclass(frozen=True, slots=True)
class Space:
    """What random networks are made of: operators, formats (the plainest first), whether zero points must be 0."""

    operators: tuple[type[Operator], ...]
    activations: tuple[Format, ...]
    weights: tuple[Format, ...]
    symmetric: bool = False


@dataclass(frozen=True, eq=False)
class Draw:
    """What a layer draws from: choices, numbers for weights, and what is allowed."""

    pick: Pick
    rng: np.random.Generator
    space: Space

    def output(self, values: FloatArray, near: Quant | None = None) -> Quant:
        """Return a number format for real values; `near` is the format it most often keeps."""
        keep = near is not None and self.pick(4) < 3
        fmt = near.format if keep and near is not None else one_of(self.pick, self.space.activations)
        return fitted(fmt, values, self.space.symmetric or self.pick(4) == 3, one_of(self.pick, COVERS))

    def clip(self, values: FloatArray) -> Clip:
        """Return a clip behind a node: none, Relu, one with an upper limit that values reach, or both limits."""
        top = float(np.quantile(np.abs(values), 0.8)) or 1.0
        clips: tuple[Clip, ...] = (None, (0.0, INF), (0.0, top), (-top, top), (-0.5 * top, INF), (-INF, 0.7 * top))
        return one_of(self.pick, clips)


def window_count(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Return the number of window positions along an axis; `padding` is that of both ends."""
    return (size + padding - (kernel - 1) * dilation - 1) // stride + 1


def windows(x: FloatArray, kernel: tuple[int, int], op: Conv) -> FloatArray:
    """Return every window of [N,C,H,W] as [N,C,h,w,kh,kw], zeros outside."""
    top, left, bottom, right = op.pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel, op.dilations, strict=True))
    view: FloatArray = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))  # type: ignore[call-overload]
    return view[:, :, :: op.strides[0], :: op.strides[1], :: op.dilations[0], :: op.dilations[1]]


def conv(
    net: Growth,
    draw: Draw,
    kinds: Sequence[str] = KINDS,
    out: int = 0,
    keep_size: bool = False,
    clip: bool = True,
) -> bool:
    """Add a convolution of one of some kinds with `out` channels, 0 for any; `keep_size` keeps height and width."""
    if len(net.shape()) != 4:
        return False
    pick, (_, channels, height, width) = draw.pick, net.shape()
    kind = one_of(pick, kinds)
    op, kernel = (Conv(), (1, 1)) if kind == "pointwise" else _window(net, draw, keep_size)
    if kind == "pointwise" and not keep_size and pick(4) == 3:
        op = Conv(strides=(between(pick, 1, 3), between(pick, 1, 3)))
    groups = {"depthwise": channels, "multiplier": channels, "grouped": _divisor(pick, channels)}.get(kind, 1)
    if kind == "multiplier" and not out:
        out = channels * between(pick, 1, 3)
    out = channels if kind == "depthwise" else out or one_of(pick, CHANNELS)
    out = -(-out // groups) * groups
    op = Conv(strides=op.strides, pads=op.pads, dilations=op.dilations, groups=groups)
    rows = window_count(height, kernel[0], op.strides[0], op.pads[0] + op.pads[2], op.dilations[0])
    columns = window_count(width, kernel[1], op.strides[1], op.pads[1] + op.pads[3], op.dilations[1])
    shape = (1, out, rows, columns)
    if min(shape) < 1:
        return False
    return _weighted(net, draw, op, (out, channels // groups, *kernel), shape, clip)


def gemm(net: Growth, draw: Draw, out: int, clip: bool = True) -> bool:
    """Add a fully connected layer."""
    if len(net.shape()) != 2:
        return False
    return _weighted(net, draw, Gemm(), (out, net.shape()[1]), (1, out), clip)


def _window(net: Growth, draw: Draw, keep_size: bool) -> tuple[Conv, tuple[int, int]]:
    """Return strides, pads and dilations, and a kernel, each axis on its own; an axis of one value mostly gets 1."""
    axes = [_axis(size, draw.pick, keep_size) for size in net.shape()[2:]]
    (kernel, stride, dilation, before, after), across = axes
    pads = (before, across[3], after, across[4])
    return Conv(strides=(stride, across[1]), dilations=(dilation, across[2]), pads=pads), (kernel, across[0])


def _axis(size: int, pick: Pick, keep_size: bool) -> tuple[int, int, int, int, int]:
    """Return kernel, stride, dilation, and padding before and after, along one axis."""
    if size == 1 and pick(4) < 3:
        return 1, 1, 1, 0, 0
    kernel = one_of(pick, (3, 1, 2, 4, 5, 7))
    dilation = one_of(pick, (1, 1, 1, 2, 3)) if kernel > 1 else 1
    reach = (kernel - 1) * dilation
    if keep_size:
        before = min(reach, (0, reach // 2, reach)[(pick(3) + 1) % 3])
        return kernel, 1, dilation, before, reach - before
    return kernel, one_of(pick, (1, 2, 1, 3)), dilation, pick(min(reach, 3) + 1), pick(min(reach, 3) + 1)


def _divisor(pick: Pick, channels: int) -> int:
    return one_of(pick, [n for n in range(1, channels + 1) if channels % n == 0])


def _weighted(
    net: Growth, draw: Draw, op: Conv | Gemm, shape: tuple[int, ...], out: tuple[int, ...], clip: bool
) -> bool:
    """Add a layer with weights of `shape`, codes and scales drawn, biases that centre its output or nearly."""
    terms = int(np.prod(shape[1:]))
    if int(np.prod(out)) > MAX_VALUES or terms * int(np.prod(out)) > MAX_MACS:
        return False
    fmt, x = one_of(draw.pick, draw.space.weights), net.quant()
    # The output's format is not known yet: an integer one has the narrower accumulator.
    wide = draw.pick(2) == 1 and x.format.is_minifloat
    codes = _codes(fmt, largest_weight(fmt, x, x.format if wide else _INTEGER, terms), shape, draw)
    weight = Quant(fmt, _scales(draw, shape[0]))
    weight = Quant(fmt, weight.scale, 0, 0 if len(weight.scale) > 1 else None)
    sums = _sums(net.real(), codes, weight, op)
    bias = _bias(sums, weight, x, draw)
    units = np.array(weight.scale) * (fmt.unit * x.format.unit * x.scale[0])
    values = sums + (bias * units).reshape(1, -1, *(1,) * (sums.ndim - 2))
    limits = draw.clip(values) if clip else None
    clipped = np.clip(values, *limits) if limits else values
    name = f"n{len(net.nodes)}"
    parameters = {f"{name}_w": (Tensor(shape, weight), codes), f"{name}_b": (Tensor((shape[0],)), bias)}
    return net.grow(op, (net.top,), out, draw.output(clipped, x), limits, parameters)


_INTEGER = Format(name="int8", bits=8)


def _codes(fmt: Format, top: int, shape: tuple[int, ...], draw: Draw) -> Array:
    """Return random weights up to ordinal `top`: uniform, bell-shaped, or with the lowest code there is."""
    style = draw.pick(3)
    if style == 1:
        drawn = np.rint(draw.rng.normal(0, top / 3, shape))
    else:
        drawn = draw.rng.integers(-top if fmt.signed else 0, top + 1, shape)
    low = -top if fmt.signed else 0
    if style == 2 and top == fmt.max_ordinal:
        low = fmt.min_ordinal
        drawn = np.where(draw.rng.random(shape) < 0.1, low, drawn)
    return fmt.from_ordinals(np.clip(drawn, low, top).astype(np.int64))


def _scales(draw: Draw, channels: int) -> tuple[float, ...]:
    """Return one scale, or one per channel, alike or up to 16 times apart."""
    octaves = one_of(draw.pick, (0.5, 0.0, 2.0))
    count = channels if octaves else 1
    return tuple(float(np.float32(0.01 * s)) for s in np.exp2(draw.rng.uniform(-octaves, octaves, count)))


def _sums(x: FloatArray, codes: Array, weight: Quant, op: Conv | Gemm) -> FloatArray:
    """Return the real values of a layer without its bias."""
    scale = np.array(weight.scale).reshape(-1, *(1,) * (codes.ndim - 1))
    w = weight.format.decode(codes) * scale
    if isinstance(op, Gemm):
        product: FloatArray = x @ w.T
        return product
    view = windows(x, (w.shape[2], w.shape[3]), op)
    n, channels, height, width = view.shape[:4]
    grouped = view.reshape(n, op.groups, channels // op.groups, height, width, *w.shape[2:])
    split = w.reshape(op.groups, -1, *w.shape[1:])
    sums: FloatArray = np.einsum("ngchwkl,gockl->ngohw", grouped, split, optimize=True)
    return sums.reshape(n, -1, height, width)


def _bias(sums: FloatArray, weight: Quant, x: Quant, draw: Draw) -> Array:
    """Return biases on the accumulator's grid: they move each channel's mean near 0, and by a part of its spread."""
    axes = (0, *range(2, sums.ndim))
    wanted = draw.rng.normal(0, 0.3, sums.shape[1]) * sums.std(axis=axes) - sums.mean(axis=axes)
    units = np.array(weight.scale) * (weight.format.unit * x.format.unit * x.scale[0])
    wide = x.format.is_minifloat or weight.format.is_minifloat
    limit = 1 << (44 if wide else 28)
    bias: Array = np.rint(np.clip(wanted / units, -limit, limit)).astype(np.int64 if wide else np.int32)
    return bias
