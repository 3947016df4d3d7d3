"""Random small float graphs with every operator, for tests of passes, ranges and quantisation."""

from __future__ import annotations

import numpy as np

from quant import operators as ops
from quant.formats import Array
from quant.graph import Graph, Node, Tensor, check

INF = float("inf")
#: Operators a random body is made of.
KINDS = ("conv", "depthwise", "norm", "clip", "pad", "maxpool", "avgpool", "add", "concat", "slice", "gap")


class Net:
    """Collects the nodes of one float graph; `top` is the tensor the next operator reads."""

    def __init__(self, seed: int, shape: tuple[int, ...] = (1, 3, 9, 8)):
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Node] = []
        self.tensors = {"x": Tensor(shape)}
        self.weights: dict[str, Array] = {}
        self.top = "x"

    def shape(self, name: str | None = None) -> tuple[int, ...]:
        """Return the shape of a tensor, or of the top."""
        return self.tensors[name or self.top].shape

    def weight(self, values: Array) -> str:
        """Add a weight; returns its name."""
        name = f"w{len(self.weights)}"
        self.weights[name], self.tensors[name] = values.astype(np.float32), Tensor(values.shape)
        return name

    def node(self, op: ops.Operator, shape: tuple[int, ...], inputs: tuple[str, ...] = ()) -> str:
        """Put a node on the top (unless `inputs` begin with other tensors)."""
        name = f"n{len(self.nodes)}"
        first = () if inputs and inputs[0] in self.tensors and inputs[0] not in self.weights else (self.top,)
        self.nodes.append(Node(name, op, (*first, *inputs), f"{name}.out"))
        self.top = f"{name}.out"
        self.tensors[self.top] = Tensor(shape)
        return self.top

    def conv(
        self, out: int, kernel: int = 3, stride: int = 1, pads: tuple[int, ...] = (1, 1, 1, 1), groups: int = 1
    ) -> str:
        """A convolution with random weights and bias."""
        _, channels, height, width = self.shape()
        fan = channels // groups * kernel * kernel
        weight = self.rng.normal(size=(out, channels // groups, kernel, kernel)) / np.sqrt(fan)
        size = [
            (n + a + b - kernel) // stride + 1 for n, a, b in ((height, pads[0], pads[2]), (width, pads[1], pads[3]))
        ]
        names = self.weight(weight), self.weight(self.rng.normal(size=out) * 0.2)
        top, left, bottom, right = pads
        op = ops.Conv(strides=(stride, stride), pads=(top, left, bottom, right), groups=groups)
        return self.node(op, (1, out, *size), names)

    def gemm(self, out: int) -> str:
        """A fully connected layer."""
        features = self.shape()[1]
        weight = self.rng.normal(size=(out, features)) / np.sqrt(features)
        return self.node(ops.Gemm(), (1, out), (self.weight(weight), self.weight(self.rng.normal(size=out) * 0.2)))

    def norm(self) -> str:
        """A batch norm."""
        channels = self.shape()[1]
        parts = [self.rng.uniform(0.5, 1.5, channels), *self.rng.normal(size=(2, channels)) * 0.3]
        names = tuple(self.weight(v) for v in (*parts, self.rng.uniform(0.3, 2.0, channels)))
        return self.node(ops.BatchNorm(epsilon=1e-3), self.shape(), names)

    def clip(self, low: float = 0.0, high: float = INF) -> str:
        """A clip, by default a Relu."""
        return self.node(ops.Clip(low=low, high=high), self.shape())

    def pool(self, kind: type[ops.MaxPool] | type[ops.AveragePool]) -> str:
        """A 2x2 pool with stride 1 and a pad at the bottom."""
        _, channels, height, width = self.shape()
        return self.node(kind(kernel=(2, 2), strides=(1, 1), pads=(0, 0, 1, 0)), (1, channels, height, width - 1))

    def pad(self) -> str:
        """Padding of height and width by random counts."""
        a, b, c, d = (int(v) for v in self.rng.integers(0, 3, 4))
        _, channels, height, width = self.shape()
        op = ops.Pad(before=(0, 0, a, b), after=(0, 0, c, d))
        return self.node(op, (1, channels, height + a + c, width + b + d))

    def slice(self) -> str:
        """All but the first row, and every second column."""
        _, channels, height, width = self.shape()
        op = ops.Slice(starts=(0, 0, 1, 0), ends=(1, channels, height, width), steps=(1, 1, 1, 2))
        return self.node(op, (1, channels, height - 1, (width + 1) // 2))

    def concat(self, other: str) -> str:
        """Join the top and another tensor along channels."""
        channels = self.shape()[1] + self.shape(other)[1]
        return self.node(ops.Concat(axis=1), (1, channels, *self.shape()[2:]), (self.top, other))

    def add(self, other: str) -> str:
        """Add the top and another tensor."""
        return self.node(ops.Add(), self.shape(), (self.top, other))

    def mean(self, *, keep: bool = False) -> str:
        """Mean over height and width."""
        return self.node(ops.Mean(keep_dims=keep), (1, self.shape()[1], *([1, 1] if keep else [])))

    def graph(self) -> Graph:
        """Return the checked graph."""
        return check(Graph("net", "x", self.top, tuple(self.nodes), self.tensors, self.weights))


def random_net(seed: int, depth: int = 8, kinds: tuple[str, ...] = KINDS, classes: int = 5) -> Graph:
    """A random body of `depth` operators, a mean, and a fully connected layer."""
    net = Net(seed)
    net.conv(4)
    for kind in net.rng.choice(kinds, depth):
        _grow(net, str(kind))
    if len(net.shape()) == 4:
        net.mean()
    net.gemm(classes)
    return net.graph()


def _grow(net: Net, kind: str) -> None:
    small = min(net.shape()[2:]) < 4
    peers = [name for name, t in net.tensors.items() if t.shape == net.shape() and name not in net.weights]
    match kind:
        case "conv":
            net.conv(int(net.rng.integers(2, 7)), 3, int(net.rng.integers(1, 3)) if not small else 1)
        case "depthwise":
            net.conv(net.shape()[1], 3, 1, (0, 2, 1, 0) if not small else (1, 1, 1, 1), net.shape()[1])
        case "norm":
            net.norm()
        case "clip":
            net.clip(*((0.0, INF), (0.0, 1.5), (-0.7, 0.9), (-INF, 0.5))[int(net.rng.integers(4))])
        case "pad":
            net.pad()
        case "maxpool" | "avgpool" if not small:
            net.pool(ops.MaxPool if kind == "maxpool" else ops.AveragePool)
        case "add":
            net.add(str(net.rng.choice(peers)))
        case "concat" if net.shape()[1] < 12:
            net.concat(str(net.rng.choice(peers)))
        case "slice" if not small:
            net.slice()
        case "gap":
            _shortcut(net)


def _shortcut(net: Net) -> None:
    """A mean that keeps its axes, and a 1x1 convolution behind it that is added back to itself."""
    if min(net.shape()[2:]) == 1:
        return
    kept = net.mean(keep=True)
    net.conv(net.shape()[1], 1, 1, (0, 0, 0, 0))
    net.add(kept)


def inputs(count: int, seed: int = 0, shape: tuple[int, ...] = (1, 3, 9, 8)) -> Array:
    """Random float32 inputs, each with its own mean per channel."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *shape[1:])) + rng.normal(size=(count, shape[1], *(1 for _ in shape[2:])))
    return x.astype(np.float32)
