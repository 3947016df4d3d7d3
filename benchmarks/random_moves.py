"""Layers without weights of random networks: elementwise, pools, means, and everything that only moves codes."""

from __future__ import annotations

import math

import numpy as np

from benchmarks.choices import Pick, between, one_of
from benchmarks.growth import Growth, fitted
from benchmarks.random_layers import CHANNELS, INF, KINDS, MAX_VALUES, Draw, conv, window_count
from quant import functions
from quant import operators as ops
from quant.formats import FloatArray
from quant.functions import fixed_range
from quant.operators import FUNCTIONS


def peers(net: Growth) -> list[str]:
    """Return the activations of the top's shape, the newest other one first, the top last."""
    names = [name for name in net.values if net.shape(name) == net.shape()]
    return [*[name for name in reversed(names) if name != net.top], net.top]


def add(net: Growth, draw: Draw) -> bool:
    """Add another tensor of the same shape, or the top to itself."""
    other = one_of(draw.pick, peers(net))
    pair = (net.top, other) if draw.pick(2) else (other, net.top)
    return _elementwise(net, draw, ops.Add(), pair, net.real() + net.real(other))


def mul(net: Growth, draw: Draw) -> bool:
    """Multiply by another tensor of the same shape, or by one value per channel."""
    other = one_of(draw.pick, peers(net))
    if len(net.shape()) == 4:
        gates = [name for name in net.values if net.shape(name) == (1, net.shape()[1], 1, 1)]
        other = one_of(draw.pick, [*gates, other])
    return _elementwise(net, draw, ops.Mul(), (net.top, other), net.real() * net.real(other))


def squeeze_and_excite(net: Growth, draw: Draw) -> bool:
    """Multiply by what a mean, a pointwise convolution and a function make of the top."""
    before = net.top
    if len(net.shape()) != 4 or not {ops.Mean, ops.Mul, ops.Function} <= set(draw.space.operators):
        return False
    if not mean(net, draw, keep=True):
        return False
    if conv(net, draw, out=net.shape()[1], keep_size=True, clip=False):
        function(net, draw)
    gate, net.top = net.top, before
    return _elementwise(net, draw, ops.Mul(), (before, gate), net.real() * net.real(gate))


def residual(net: Growth, draw: Draw) -> bool:
    """Add what one or two convolutions make of the top to it."""
    before = net.top
    for _ in range(between(draw.pick, 1, 2)):
        conv(net, draw, KINDS, net.shape()[1], keep_size=True)
    return _sum_with(net, draw, before) or net.top != before


def separable(net: Growth, draw: Draw) -> bool:
    """Widen by a dense convolution, filter every channel, often make it narrow again and add it: MobileNets do so."""
    before, channels = net.top, net.shape()[1]
    if len(net.shape()) != 4:
        return False
    conv(net, draw, ("pointwise", "dense"), channels * between(draw.pick, 1, 6), keep_size=True)
    conv(net, draw, ("depthwise",), keep_size=draw.pick(2) == 0)
    if draw.pick(3) < 2:
        conv(net, draw, ("pointwise",), channels, keep_size=True)
        _sum_with(net, draw, before)
    return net.top != before


def _sum_with(net: Growth, draw: Draw, before: str) -> bool:
    """Add an earlier tensor to the top where shapes allow it."""
    if net.shape() != net.shape(before) or net.top == before or ops.Add not in draw.space.operators:
        return False
    pair = (before, net.top) if draw.pick(2) else (net.top, before)
    return _elementwise(net, draw, ops.Add(), pair, net.real() + net.real(before))


def _elementwise(net: Growth, draw: Draw, op: ops.Operator, pair: tuple[str, str], values: FloatArray) -> bool:
    """Add an elementwise node; two minifloats make a minifloat, as integers have no sum or product of them."""
    limits = draw.clip(values)
    clipped = np.clip(values, *limits) if limits else values
    quants = [net.quant(name) for name in pair]
    near = next((q for q in quants if q.format.is_minifloat), quants[0])
    return net.grow(op, pair, net.shape(pair[0]), draw.output(clipped, near), limits)


def function(net: Growth, draw: Draw) -> bool:
    """Apply a function of one value; results that TFLite fixes the range of get it most often."""
    name = one_of(draw.pick, FUNCTIONS)
    alpha, beta = {"hard_sigmoid": (0.2, 0.5), "leaky_relu": (0.1, 0.0)}.get(name, (0.0, 0.0))
    op = ops.Function(name=name, alpha=alpha, beta=beta)
    values, near = functions.real(op, net.real()), net.quant()
    fixed = fixed_range(op)
    quant = draw.output(values, near)
    if fixed and quant.format.name in ("int8", "uint8") and draw.pick(3) < 2 and not draw.space.symmetric:
        quant = fitted(quant.format, np.array(fixed), False)
    limits = draw.clip(values) if draw.pick(4) == 3 else None
    return net.grow(op, (net.top,), net.shape(), quant, limits)


def clip(net: Growth, draw: Draw) -> bool:
    """Clamp, with another number format or the same."""
    low, high = draw.clip(net.real()) or (0.0, INF)
    values = np.clip(net.real(), low, high)
    return net.grow(ops.Clip(low=low, high=high), (net.top,), net.shape(), draw.output(values, net.quant()))


def requantize(net: Growth, draw: Draw) -> bool:
    """Change scale, zero point or format."""
    return net.grow(ops.Requantize(), (net.top,), net.shape(), draw.output(net.real()), draw.clip(net.real()))


def minimum(net: Growth, draw: Draw) -> bool:
    """Limit every channel where its largest values lie; some channels have no limit."""
    values = net.real()
    highest = np.quantile(values, 0.8, axis=(0, *range(2, values.ndim)))
    free = draw.rng.random(highest.shape) < 0.2
    limits = tuple(INF if none else float(v) for v, none in zip(highest, free, strict=True))
    return net.grow(ops.Minimum(limits=limits), (net.top,), net.shape(), net.quant())


def max_pool(net: Growth, draw: Draw) -> bool:
    """Take the largest value of each window."""
    return _pool(net, draw.pick, ops.MaxPool)


def average_pool(net: Growth, draw: Draw) -> bool:
    """Average the values of each window."""
    return _pool(net, draw.pick, ops.AveragePool)


def _pool(net: Growth, pick: Pick, kind: type[ops.MaxPool] | type[ops.AveragePool]) -> bool:
    if len(net.shape()) != 4:
        return False
    kernel = (one_of(pick, (2, 3, 1, 4)), one_of(pick, (2, 3, 1, 4)))
    if net.shape()[3] == 1:
        kernel = (kernel[0], 1)
    strides = (between(pick, 1, 3), between(pick, 1, 3))
    pads = (pick(kernel[0]), pick(kernel[1]), pick(kernel[0]), pick(kernel[1]))
    rows, columns = (
        window_count(net.shape()[axis + 2], kernel[axis], strides[axis], pads[axis] + pads[axis + 2]) for axis in (0, 1)
    )
    if min(rows, columns) < 1 or rows * columns * net.shape()[1] > MAX_VALUES:
        return False
    op = kind(kernel=kernel, strides=strides, pads=pads)
    return net.grow(op, (net.top,), (1, net.shape()[1], rows, columns), net.quant())


def mean(net: Growth, draw: Draw, keep: bool | None = None) -> bool:
    """Average over height and width."""
    if len(net.shape()) != 4 or ops.Mean not in draw.space.operators:
        return False
    keep = draw.pick(2) == 1 if keep is None else keep
    values = net.real().mean(axis=(2, 3))
    shape = (1, net.shape()[1], 1, 1) if keep else (1, net.shape()[1])
    limits = draw.clip(values)
    clipped = np.clip(values, *limits) if limits else values
    return net.grow(ops.Mean(keep_dims=keep), (net.top,), shape, draw.output(clipped, net.quant()), limits)


def pad(net: Growth, draw: Draw) -> bool:
    """Pad any axis but the batch."""
    rank = len(net.shape())
    before = (0, *(max(0, draw.pick(4) - 1) for _ in range(rank - 1)))
    after = (0, *(max(0, draw.pick(4) - 1) for _ in range(rank - 1)))
    shape = tuple(n + a + b for n, a, b in zip(net.shape(), before, after, strict=True))
    if math.prod(shape) > MAX_VALUES:
        return False
    return net.grow(ops.Pad(before=before, after=after), (net.top,), shape, net.quant())


def slice_(net: Growth, draw: Draw) -> bool:
    """Take a part of every axis but the batch, often with steps; ends as ONNX files have them."""
    cuts = [(0, 1, 1)]
    for size in net.shape()[1:]:
        start = draw.pick(1 + min(2, size - 1))
        end = one_of(draw.pick, (size, 2**31, max(start + 1, size - 1), -1 if size - start > 1 else size))
        cuts.append((start, end, between(draw.pick, 1, 2)))
    shape = tuple(len(range(*slice(*cut).indices(n))) for cut, n in zip(cuts, net.shape(), strict=True))
    starts, ends, steps = (tuple(values) for values in zip(*cuts, strict=True))
    if min(shape) < 1:
        return False
    return net.grow(ops.Slice(starts=starts, ends=ends, steps=steps), (net.top,), shape, net.quant())


def concat(net: Growth, draw: Draw) -> bool:
    """Join the top, brought to another tensor's number format, with that tensor and maybe itself, along any axis."""
    rank, top = len(net.shape()), net.top
    axis = between(draw.pick, 1, rank - 1)
    others = [name for name in net.values if _joins(net.shape(name), net.shape(), axis)]
    other = one_of(draw.pick, [name for name in reversed(others) if name != top] or [top])
    if net.quant(other) != net.quant():
        if ops.Requantize not in draw.space.operators:
            return False
        if not net.grow(ops.Requantize(), (top,), net.shape(), net.quant(other)):
            return False
    inputs = one_of(draw.pick, ((net.top, other), (other, net.top), (net.top, other, net.top)))
    shape = list(net.shape())
    shape[axis] = sum(net.shape(name)[axis] for name in inputs)
    if math.prod(shape) > MAX_VALUES:
        return net.top != top
    written = axis - rank if draw.pick(4) == 3 else axis
    return net.grow(ops.Concat(axis=written), inputs, tuple(shape), net.quant()) or net.top != top


def _joins(a: tuple[int, ...], b: tuple[int, ...], axis: int) -> bool:
    return len(a) == len(b) and all(m == n or i == axis for i, (m, n) in enumerate(zip(a, b, strict=True)))


def reshape(net: Growth, draw: Draw) -> bool:
    """Give the same values another shape of four axes, or flatten them."""
    total = math.prod(net.shape())
    channels = one_of(draw.pick, [n for n in CHANNELS if total % n == 0])
    rows = one_of(draw.pick, [n for n in range(1, 15) if total // channels % n == 0])
    images = (1, channels, rows, total // channels // rows)
    shape = (1, total) if len(net.shape()) == 4 and draw.pick(3) == 2 else images
    return net.grow(ops.Reshape(shape=shape), (net.top,), shape, net.quant())
