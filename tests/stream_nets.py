"""Small quantised networks, each with another kind of layer or connection that a streaming core must get right."""

from __future__ import annotations

import math

from quant import operators as ops
from quant.formats import INT8, Format
from quant.graph import Graph
from tests.rtl_graphs import INF, Net


def window_kinds() -> Graph:
    """Convs with strides, dilations and pads of one side, grouped, depthwise with multiplier, pointwise of stride 2."""
    net = Net((1, 4, 9, 8), INT8, 7, seed=2)
    a = net.conv("x", 6, (3, 2), INT8, INT8, 5, strides=(2, 1), pads=(2, 0, 1, 1), dilations=(1, 2))
    b = net.conv(a, 8, (2, 3), INT8, INT8, -9, (0.0, INF), groups=2, pads=(0, 2, 1, 0))
    c = net.conv(b, 16, (3, 3), INT8, INT8, 3, groups=8, pads=(1, 1, 1, 1))
    d = net.conv(c, 6, (1, 1), INT8, INT8, 0, strides=(2, 2))
    net.gemm(net.mean(d, INT8, -4), 5, INT8, INT8)
    return net.graph()


def sequence(down: bool = False) -> Graph:
    """1-D: length along one axis, dense, depthwise and pool, flattened."""
    turn = (lambda a, b: (b, a)) if down else (lambda a, b: (a, b))
    net = Net((1, 4, *turn(1, 18)), INT8, -5, seed=3)
    a = net.conv("x", 6, turn(1, 5), INT8, INT8, 3, strides=turn(1, 2), pads=(*turn(0, 2), *turn(0, 1)))
    b = net.conv(a, 6, turn(1, 3), INT8, INT8, -7, (0.0, INF), groups=6)
    c = net.pool(b, ops.MaxPool(kernel=turn(1, 3), strides=turn(1, 2), pads=(*turn(0, 1), *turn(0, 1))))
    net.gemm(_flat(net, c), 4, INT8, INT8)
    return net.graph()


def large_kernel() -> Graph:
    """A kernel larger than its image, on both sides of it."""
    net = Net((1, 2, 3, 4), INT8, 11, seed=4)
    a = net.conv("x", 4, (5, 7), INT8, INT8, -6, pads=(2, 3, 2, 3))
    net.gemm(_flat(net, a), 5, INT8, INT8)
    return net.graph()


def pools(fmt: Format = INT8) -> Graph:
    """Pools with pads on one side and both, overlapping and not, and a mean that keeps its axes."""
    net = Net((1, 4, 9, 8), fmt, 9, seed=5)
    a = net.pool("x", ops.MaxPool(kernel=(3, 2), strides=(2, 1), pads=(1, 0, 1, 1)))
    b = net.pool(a, ops.AveragePool(kernel=(3, 3), strides=(1, 2), pads=(1, 1, 1, 2)))
    c = net.pool(b, ops.AveragePool(kernel=(2, 2), strides=(2, 2)))
    net.mean(c, fmt, -3, keep_dims=True)
    return net.graph()


def flattened() -> Graph:
    """A flattened image that two fully connected layers read, each permuting its weights."""
    net = Net((1, 3, 5, 4), INT8, 6, seed=6)
    a = net.conv("x", 4, (2, 2), INT8, INT8, 3)
    flat = _flat(net, a)
    b, c = net.gemm(flat, 6, INT8, INT8, 2), net.gemm(flat, 6, INT8, INT8, -3)
    net.add(b, c, INT8, 1)
    return net.graph()


def squeeze_and_excite(fmt: Format = INT8, weight: Format = INT8) -> Graph:
    """An image multiplied by one value a channel, tables, limits by channel, a product of images."""
    net = Net((1, 4, 5, 4), fmt, 4, seed=7)
    a = net.conv("x", 6, (3, 3), fmt, weight, 5, pads=(1, 1, 1, 1))
    gate = net.function(net.conv(net.mean(a, fmt, keep_dims=True), 6, (1, 1), fmt, weight, 2), "sigmoid", fmt)
    b = net.mul(a, gate, fmt, -3)
    c = net.minimum(net.function(b, "hard_swish", fmt, net.spread[b]))
    net.gemm(net.mean(net.mul(c, b, fmt, 2), fmt), 5, fmt, weight)
    return net.graph()


def forks() -> Graph:
    """The input read twice, a tensor added to itself, and one read by a convolution, a pool and a sum."""
    net = Net((1, 4, 6, 5), INT8, -8, seed=8)
    a = net.conv("x", 4, (3, 3), INT8, INT8, 4, pads=(1, 1, 1, 1))
    b = net.add(a, "x", INT8, 3)
    c = net.add(b, b, INT8, 5)
    d = net.pool(c, ops.MaxPool(kernel=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1)))
    e = net.conv(c, 4, (3, 1), INT8, INT8, -2, pads=(1, 0, 1, 0))
    f = net.add(net.add(d, e, INT8), c, INT8, 7)
    net.gemm(net.mean(f, INT8), 5, INT8, INT8)
    return net.graph()


def head() -> Graph:
    """A network that ends in an image: the head of a split one."""
    net = Net((1, 3, 8, 6), INT8, 10, seed=9)
    a = net.conv("x", 6, (3, 3), INT8, INT8, -128, (0.0, INF), strides=(2, 2), pads=(1, 1, 0, 0))
    net.conv(a, 4, (1, 1), INT8, INT8, 3)
    return net.graph()


def one_code() -> Graph:
    """One number a frame: the label is always the same, the code is not."""
    net = Net((1, 6), INT8, -20, seed=10)
    net.gemm(net.gemm("x", 8, INT8, INT8, 5), 1, INT8, INT8)
    return net.graph()


def one_beat() -> Graph:
    """Frames of one beat in and one code out: many of them are under way at once."""
    net = Net((1, 4), INT8, -20, seed=13)
    net.gemm("x", 1, INT8, INT8)
    return net.graph()


def early_exits(end: bool = False) -> Graph:
    """The head of a split network: ends in an image, and has an exit whose logits nothing else reads; its tail, too."""
    net = Net((1, 3, 8, 6), INT8, 10, seed=14)
    a = net.conv("x", 6, (3, 3), INT8, INT8, -128, (0.0, INF), strides=(2, 2), pads=(1, 1, 0, 0))
    b = net.conv(a, 6, (3, 3), INT8, INT8, 5, groups=6, pads=(1, 1, 1, 1))
    net.gemm(net.mean(a, INT8, -4), 5, INT8, INT8, 2)
    c = net.conv(b, 6, (1, 1), INT8, INT8, -3)
    d = net.add(a, c, INT8, 7)
    image = net.conv(d, 4, (1, 1), INT8, INT8, 3)
    if end:
        net.gemm(net.mean(image, INT8), 5, INT8, INT8)
    return net.graph()


def wide_pixels() -> Graph:
    """Pointwise layers of many channels: beats of more than 64 bits, in and out."""
    net = Net((1, 12, 6, 5), INT8, 10, seed=15)
    a = net.conv("x", 16, (1, 1), INT8, INT8, -128, (0.0, INF))
    b = net.conv(a, 4, (1, 1), INT8, INT8, 3)
    net.gemm(net.mean(b, INT8, -4), 5, INT8, INT8, 2)
    return net.graph()


def wide_sum(fmt: Format, weight: Format) -> Graph:
    """A sum of minifloats, and a head in an integer."""
    net = Net((1, 2, 5, 4), fmt, seed=11)
    a = net.conv("x", 4, (3, 3), fmt, weight, pads=(1, 1, 1, 1))
    b = net.conv(a, 4, (1, 1), fmt, weight, clip=(0.0, INF))
    net.gemm(net.mean(net.add(a, b, fmt), fmt), 5, INT8, INT8)
    return net.graph()


def single_conv(fmt: Format = INT8, weight: Format = INT8) -> Graph:
    """One convolution of 8 by 8 channels and a mean, to be folded in many ways."""
    net = Net((1, 8, 5, 4), fmt, 0 if fmt.is_minifloat else min(13, fmt.max_ordinal // 2), seed=12)
    net.mean(net.conv("x", 8, (3, 2), fmt, weight, 3, pads=(1, 0, 1, 1)), fmt)
    return net.graph()


def _flat(net: Net, x: str) -> str:
    return net.reshape(x, (1, math.prod(net.tensors[x].shape)))
