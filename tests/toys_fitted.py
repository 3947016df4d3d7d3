"""A toy graph with every operator that has an integer meaning, its scales fitted to any pair of formats."""

from __future__ import annotations

import numpy as np

from quant import operators as ops
from quant.formats import Format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.rounding import encode

#: Every activation is fitted to real values of about this magnitude.
REACH = 2.5


class Fitted:
    """Collects tensors and weights whose real values have magnitude REACH in whatever format."""

    def __init__(self, act: Format, weight: Format, seed: int):
        self.act, self.weight = act, weight
        self.rng = np.random.default_rng(seed)
        self.graph = Graph("fitted", "x", "y", (), {}, {})
        self.tensors: dict[str, Tensor] = {}
        self.weights: dict[str, np.ndarray] = {}

    def activation(self, name: str, shape: tuple[int, ...], reach: float = REACH, *, positive: bool = False) -> str:
        """Add an activation; `positive` ones use the whole range of an integer format for [0, reach]."""
        if self.act.is_minifloat:
            quant = Quant(self.act, (float(np.float32(reach / self.act.max)),))
        else:
            zero = self.act.min_ordinal if positive else (self.act.min_ordinal + self.act.max_ordinal + 1) // 2
            quant = Quant(self.act, (float(np.float32(reach / (self.act.max_ordinal - zero))),), zero)
        self.tensors[name] = Tensor(shape, quant)
        return name

    def same(self, name: str, shape: tuple[int, ...], like: str) -> str:
        """Add an activation with the format of another one."""
        self.tensors[name] = Tensor(shape, self.tensors[like].quant)
        return name

    def parameters(self, name: str, shape: tuple[int, ...], x: str, bias: float = 0.3) -> tuple[str, str]:
        """Add per-channel weights and a bias on the accumulator's grid; returns both names."""
        real = self.rng.uniform(-1, 1, shape) * 1.5 / np.sqrt(np.prod(shape[1:]))
        peak = np.abs(real).reshape(shape[0], -1).max(axis=1)
        scale = tuple(float(np.float32(p / self.weight.max)) for p in peak)
        columns = np.array(scale).reshape(-1, *(1 for _ in shape[1:]))
        self.tensors[f"{name}_w"] = Tensor(shape, Quant(self.weight, scale, 0, 0))
        self.weights[f"{name}_w"] = encode(self.weight, real / columns)
        quant = self.tensors[x].quant
        assert quant is not None
        grid = np.array(scale) * quant.scale[0] * quant.format.unit * self.weight.unit
        wide = self.act.is_minifloat or self.weight.is_minifloat
        steps = np.rint(self.rng.uniform(-bias, bias, shape[0]) / grid)
        self.tensors[f"{name}_b"] = Tensor((shape[0],))
        self.weights[f"{name}_b"] = steps.astype(np.int64 if wide else np.int32)
        return f"{name}_w", f"{name}_b"


def fitted_graph(act: Format, weight: Format, seed: int = 3) -> Graph:
    """Convolutions, both pools, pad, slice, concat, add, requantise, clip, mean, reshape, fully connected."""
    b = Fitted(act, weight, seed)
    b.activation("x", (1, 3, 6, 6))
    b.activation("a", (1, 4, 6, 6), positive=True)
    b.same("p", (1, 4, 3, 3), "a")
    b.same("q", (1, 4, 3, 3), "a")
    b.same("j", (1, 8, 3, 3), "a")
    b.activation("d", (1, 8, 3, 3))
    b.activation("r", (1, 8, 3, 3), REACH / 2)
    b.activation("s", (1, 8, 3, 3), 2 * REACH)
    b.activation("k", (1, 8, 3, 3), REACH / 2)
    b.same("o", (1, 8, 5, 4), "k")
    b.same("t", (1, 4, 3, 4), "k")
    b.activation("m", (1, 4, 1, 1), REACH / 3)
    b.same("f", (1, 4), "m")
    b.activation("y", (1, 5), REACH / 6)
    conv = ops.Conv(strides=(1, 1), pads=(1, 1, 1, 1))
    grouped = ops.Conv(pads=(2, 0, 2, 0), dilations=(2, 1), groups=4)
    nodes = (
        Node("conv", conv, ("x", *b.parameters("conv", (4, 3, 3, 3), "x")), "a", (0.0, float("inf"))),
        Node("maxpool", ops.MaxPool(kernel=(3, 3), strides=(2, 2), pads=(0, 0, 1, 1)), ("a",), "p"),
        Node("avgpool", ops.AveragePool(kernel=(3, 3), strides=(2, 2), pads=(0, 1, 1, 0)), ("a",), "q"),
        Node("concat", ops.Concat(axis=1), ("p", "q"), "j"),
        Node("grouped", grouped, ("j", *b.parameters("grouped", (8, 2, 3, 1), "j")), "d"),
        Node("requantise", ops.Requantize(), ("j",), "r"),
        Node("add", ops.Add(), ("d", "r"), "s", (-2.0, 6.0)),
        Node("clip", ops.Clip(low=-1.0, high=1.2), ("s",), "k"),
        Node("pad", ops.Pad(before=(0, 0, 1, 0), after=(0, 0, 1, 1)), ("k",), "o"),
        Node("slice", ops.Slice(starts=(0, 1, 0, 0), ends=(1, 8, 5, 4), steps=(1, 2, 2, 1)), ("o",), "t"),
        Node("mean", ops.Mean(keep_dims=True), ("t",), "m"),
        Node("reshape", ops.Reshape(shape=(1, 4)), ("m",), "f"),
        Node("fc", ops.Gemm(), ("f", *b.parameters("fc", (5, 4), "f", 0.02)), "y"),
    )
    return check(Graph("fitted", "x", "y", nodes, b.tensors, b.weights))


def real_inputs(graph: Graph, count: int, seed: int = 1) -> np.ndarray:
    """Real inputs [count, ...] in the range the graph is fitted to; each image has its own mean per channel."""
    rng, shape = np.random.default_rng(seed), graph.shape(graph.input)[1:]
    centre = rng.uniform(-0.7, 0.7, (count, shape[0], *(1 for _ in shape[1:])))
    return (centre + rng.uniform(-0.3, 0.3, (count, *shape))) * REACH
