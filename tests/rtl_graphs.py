"""Quantised graphs for the RTL tests: random weights, and output scales that fill whatever format comes out."""

from __future__ import annotations

import math

import numpy as np

from quant import operators as ops
from quant.formats import Array, Format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.operators import Operator

INF = float("inf")
Clip = tuple[float, float] | None


class Net:
    """Builds one graph node by node.

    `spread` estimates the standard deviation of a tensor's real values; a clip counts in spreads of the output.
    """

    def __init__(self, shape: tuple[int, ...], fmt: Format, zero: int = 0, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.weights: dict[str, Array] = {}
        self.nodes: list[Node] = []
        self.spread: dict[str, float] = {}
        self.input = self._tensor("x", shape, fmt, 1.0, zero)

    def _tensor(self, name: str, shape: tuple[int, ...], fmt: Format, spread: float, zero: int = 0) -> str:
        scale = float(np.float32(3 * spread / fmt.max))
        if not fmt.signed:  # zero points count from the top, or lie in the middle
            scale, zero = 2 * scale, zero % fmt.max_ordinal or fmt.max_ordinal // 2
        self.tensors[name] = Tensor(shape, Quant(fmt, (scale,), 0 if fmt.is_minifloat else zero))
        self.spread[name] = spread
        return name

    def _format(self, name: str) -> Format:
        quant = self.tensors[name].quant
        assert quant is not None
        return quant.format

    def _node(self, op: Operator, inputs: tuple[str, ...], output: str, clip: Clip = None) -> str:
        limits = clip and (clip[0] * self.spread[output], clip[1] * self.spread[output])
        self.nodes.append(Node(f"n{len(self.nodes)}", op, inputs, output, limits))
        return output

    def _like(self, x: str, shape: tuple[int, ...]) -> str:
        """A tensor with the number format of another, for operators that only move codes."""
        name = f"t{len(self.nodes)}"
        self.tensors[name] = Tensor(shape, self.tensors[x].quant)
        self.spread[name] = self.spread[x]
        return name

    def _parameters(self, shape: tuple[int, ...], fmt: Format, x: str) -> tuple[str, str, float]:
        name, quant = f"w{len(self.nodes)}", self.tensors[x].quant
        assert quant is not None
        top = fmt.max_ordinal
        scale = [float(np.float32(s / fmt.max)) for s in self.rng.uniform(0.5, 1.5, shape[0])]
        self.tensors[name] = Tensor(shape, Quant(fmt, tuple(scale), 0, 0))
        self.weights[name] = fmt.from_ordinals(self.rng.integers(-top, top + 1, shape))
        self.tensors[f"{name}_b"] = Tensor(shape[:1])
        terms = int(np.prod(shape[1:]))
        spread = 0.5 * self.spread[x] * math.sqrt(terms)
        units = [0.3 * spread / (s * fmt.unit * quant.scale[0] * quant.format.unit) for s in scale]
        self.weights[f"{name}_b"] = np.rint(self.rng.normal(0, 1, shape[0]) * units).astype(np.int64)
        return name, f"{name}_b", spread

    def conv(
        self,
        x: str,
        out: int,
        kernel: tuple[int, int],
        fmt: Format,
        weight: Format,
        zero: int = 0,
        clip: Clip = None,
        **op: object,
    ) -> str:
        conv = ops.Conv(**op)  # type: ignore[arg-type]
        shape = self.tensors[x].shape
        w, b, spread = self._parameters((out, shape[1] // conv.groups, *kernel), weight, x)
        size = [
            (shape[2 + i] + conv.pads[i] + conv.pads[2 + i] - (kernel[i] - 1) * conv.dilations[i] - 1)
            // conv.strides[i] + 1
            for i in (0, 1)
        ]  # fmt: skip
        y = self._tensor(f"t{len(self.nodes)}", (1, out, *size), fmt, spread, zero)
        return self._node(conv, (x, w, b), y, clip)

    def gemm(self, x: str, out: int, fmt: Format, weight: Format, zero: int = 0) -> str:
        w, b, spread = self._parameters((out, self.tensors[x].shape[1]), weight, x)
        return self._node(ops.Gemm(), (x, w, b), self._tensor(f"t{len(self.nodes)}", (1, out), fmt, spread, zero))

    def add(self, a: str, b: str, fmt: Format, zero: int = 0, clip: Clip = None) -> str:
        spread = math.hypot(self.spread[a], self.spread[b])
        y = self._tensor(f"t{len(self.nodes)}", self.tensors[a].shape, fmt, spread, zero)
        return self._node(ops.Add(), (a, b), y, clip)

    def mul(self, a: str, b: str, fmt: Format, zero: int = 0) -> str:
        y = self._tensor(f"t{len(self.nodes)}", self.tensors[a].shape, fmt, self.spread[a] * self.spread[b], zero)
        return self._node(ops.Mul(), (a, b), y)

    def function(self, x: str, name: str, fmt: Format, spread: float = 0.33) -> str:
        y = self._tensor(f"t{len(self.nodes)}", self.tensors[x].shape, fmt, spread)
        return self._node(ops.Function(name=name), (x,), y)

    def minimum(self, x: str) -> str:
        shape = self.tensors[x].shape
        limits = tuple(float(v) for v in self.rng.uniform(0.2, 1.5, shape[1]) * self.spread[x])
        return self._node(ops.Minimum(limits=limits), (x,), self._like(x, shape))

    def mean(self, x: str, fmt: Format, zero: int = 0, keep_dims: bool = False) -> str:
        shape = self.tensors[x].shape[:2] + ((1, 1) if keep_dims else ())
        y = self._tensor(f"t{len(self.nodes)}", shape, fmt, self.spread[x] / 2, zero)
        return self._node(ops.Mean(keep_dims=keep_dims), (x,), y)

    def requantize(self, x: str, fmt: Format, zero: int = 0, clip: Clip = None) -> str:
        y = self._tensor(f"t{len(self.nodes)}", self.tensors[x].shape, fmt, 0.7 * self.spread[x], zero)
        spread = self.spread[y]
        op = ops.Clip(low=clip[0] * spread, high=clip[1] * spread) if clip else ops.Requantize()
        return self._node(op, (x,), y)

    def pool(self, x: str, op: ops.MaxPool | ops.AveragePool) -> str:
        shape = self.tensors[x].shape
        size = [(shape[2 + i] + op.pads[i] + op.pads[2 + i] - op.kernel[i]) // op.strides[i] + 1 for i in (0, 1)]
        return self._node(op, (x,), self._like(x, (*shape[:2], *size)))

    def pad(self, x: str, before: tuple[int, ...], after: tuple[int, ...]) -> str:
        shape = tuple(n + b + a for n, b, a in zip(self.tensors[x].shape, before, after, strict=True))
        return self._node(ops.Pad(before=before, after=after), (x,), self._like(x, shape))

    def slice(self, x: str, starts: tuple[int, ...], ends: tuple[int, ...], steps: tuple[int, ...]) -> str:
        sizes = zip(starts, ends, steps, self.tensors[x].shape, strict=True)
        shape = tuple(len(range(*slice(a, b, c).indices(n))) for a, b, c, n in sizes)
        return self._node(ops.Slice(starts=starts, ends=ends, steps=steps), (x,), self._like(x, shape))

    def concat(self, xs: tuple[str, ...], axis: int) -> str:
        shape = list(self.tensors[xs[0]].shape)
        shape[axis] = sum(self.tensors[x].shape[axis] for x in xs)
        return self._node(ops.Concat(axis=axis), xs, self._like(xs[0], tuple(shape)))

    def reshape(self, x: str, shape: tuple[int, ...]) -> str:
        return self._node(ops.Reshape(shape=shape), (x,), self._like(x, shape))

    def graph(self, name: str = "net") -> Graph:
        return check(Graph(name, self.input, self.nodes[-1].output, tuple(self.nodes), self.tensors, self.weights))


def residual_net(act: Format, weight: Format, zero: int = 0, seed: int = 0) -> Graph:
    """Strided conv with asymmetric pads, depthwise conv, residual add, global mean, fully connected."""
    net = Net((1, 3, 7, 6), act, zero, seed)
    a = net.conv("x", 6, (3, 3), act, weight, -zero, (0.0, INF), strides=(2, 2), pads=(0, 0, 1, 1))
    b = net.conv(a, 6, (3, 3), act, weight, zero, groups=6, pads=(1, 1, 1, 1))
    c = net.add(a, b, act, zero // 2, (-1.0, 2.5))
    net.gemm(net.mean(c, act, zero), 7, act, weight, -zero)
    return net.graph()


def window_net(act: Format, weight: Format, zero: int = 0, seed: int = 0) -> Graph:
    """Grouped dilated conv, both pools with pads and without, another scale, fully connected."""
    net = Net((1, 4, 9, 8), act, zero, seed)
    a = net.conv("x", 6, (2, 3), act, weight, zero, groups=2, dilations=(2, 1), pads=(2, 1, 0, 1))
    b = net.pool(a, ops.MaxPool(kernel=(3, 2), strides=(2, 1), pads=(1, 0, 1, 1)))
    c = net.requantize(b, act, -zero)
    d = net.pool(c, ops.AveragePool(kernel=(3, 3), strides=(1, 2), pads=(1, 1, 1, 2)))
    e = net.pool(d, ops.AveragePool(kernel=(2, 2), strides=(2, 2)))
    f = net.requantize(e, act, zero, (-0.5, 0.7))
    g = net.pool(f, ops.MaxPool(kernel=(2, 1), strides=(1, 1)))
    size = math.prod(net.tensors[g].shape)
    net.gemm(net.reshape(g, (1, size)), 5, act, weight)
    return net.graph()


def move_net(act: Format, weight: Format, zero: int = 0, seed: int = 0) -> Graph:
    """Pad on all three axes, strided Slice, Concat on each axis, Reshape to more axes and back, 1x1 conv."""
    net = Net((1, 3, 5, 4), act, zero, seed)
    a = net.pad("x", (0, 1, 2, 0), (0, 2, 0, 3))
    b = net.slice(a, (0, 1, -6, 1), (1, 6, 100, 7), (1, 2, 2, 3))
    c = net.slice(a, (0, 0, 0, 2), (1, 6, 7, 4), (1, 2, 3, 1))
    d = net.concat((b, c, b), 1)
    e = net.concat((d, d), 3)
    f = net.concat((e, net.pad(e, (0, 0, 1, 0), (0, 0, 0, 0))), 2)
    shape = net.tensors[f].shape
    g = net.reshape(net.reshape(f, (1, 3, shape[1] // 3, *shape[2:])), shape)
    net.conv(g, 4, (1, 1), act, weight, zero)
    return net.graph()


def mixed_net(first: Format, second: Format, weights: tuple[Format, Format], seed: int = 0) -> Graph:
    """Two activation formats and two weight formats in one network; `second` is a minifloat."""
    net = Net((1, 2, 5, 5), first, 0 if first.is_minifloat else 9, seed)
    a = net.conv("x", 4, (3, 3), first, weights[0], 3, pads=(1, 1, 1, 1))
    b = net.requantize(a, second)
    c = net.conv(b, 4, (3, 3), second, weights[1], pads=(1, 1, 1, 1), clip=(0.0, INF))
    d = net.add(a, c, second)
    e = net.conv(d, 5, (2, 2), first, weights[0], -2, strides=(2, 2))
    net.mean(e, second, keep_dims=True)
    return net.graph()
