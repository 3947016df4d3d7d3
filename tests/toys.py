"""Small quantised graphs with random weights, for tests that need a graph but no training."""

from __future__ import annotations

import numpy as np

from quant import operators as ops
from quant.formats import INT8, Array, Format
from quant.graph import Graph, Node, Quant, Tensor, check

INF = float("inf")


def _f32(value: float) -> float:
    return float(np.float32(value))


class Builder:
    """Collects tensors and weights of one toy graph."""

    def __init__(self, act: Format, weight: Format, seed: int):
        self.act, self.weight = act, weight
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {}
        self.weights: dict[str, Array] = {}

    def activation(self, name: str, shape: tuple[int, ...], scale: float, zero: int = 0) -> str:
        """Add an activation; minifloats ignore the zero point."""
        zero = 0 if self.act.is_minifloat else zero
        self.tensors[name] = Tensor(shape, Quant(self.act, (_f32(scale),), zero))
        return name

    def parameters(self, name: str, shape: tuple[int, ...]) -> tuple[str, str]:
        """Add per-channel weights and a bias; returns both names."""
        fmt, out = self.weight, shape[0]
        top = fmt.max_ordinal // 2 if fmt.is_minifloat else fmt.max_ordinal
        scale = tuple(_f32(s) for s in self.rng.uniform(0.001, 0.01, out))
        self.tensors[f"{name}_w"] = Tensor(shape, Quant(fmt, scale, 0, 0))
        self.weights[f"{name}_w"] = fmt.from_ordinals(self.rng.integers(-top, top + 1, shape))
        self.tensors[f"{name}_b"] = Tensor((out,))
        wide = self.act.is_minifloat or fmt.is_minifloat
        self.weights[f"{name}_b"] = self.rng.integers(-50, 50, out).astype(np.int64 if wide else np.int32)
        return f"{name}_w", f"{name}_b"


def toy_graph(act: Format = INT8, weight: Format = INT8, seed: int = 0) -> Graph:
    """Strided conv with asymmetric pads and relu, depthwise conv, residual add with relu6, mean, fully connected."""
    b = Builder(act, weight, seed)
    b.activation("x", (1, 3, 8, 8), 0.02, -3)
    b.activation("a", (1, 8, 4, 4), 0.05, -128)
    b.activation("b", (1, 8, 4, 4), 0.04, 5)
    b.activation("c", (1, 8, 4, 4), 0.06, -10)
    b.activation("m", (1, 8), 0.03, -7)
    b.activation("y", (1, 10), 0.01 if act.is_minifloat else 0.1, 3)
    nodes = (
        Node(
            "conv",
            ops.Conv(strides=(2, 2), pads=(0, 0, 1, 1)),
            ("x", *b.parameters("conv", (8, 3, 3, 3))),
            "a",
            (0.0, INF),
        ),
        Node("dw", ops.Conv(pads=(1, 1, 1, 1), groups=8), ("a", *b.parameters("dw", (8, 1, 3, 3))), "b"),
        Node("add", ops.Add(), ("a", "b"), "c", (0.0, 6.0)),
        Node("mean", ops.Mean(keep_dims=False), ("c",), "m"),
        Node("fc", ops.Gemm(), ("m", *b.parameters("fc", (10, 8))), "y"),
    )
    return check(Graph("toy", "x", "y", nodes, b.tensors, b.weights))


def random_codes(graph: Graph, count: int, seed: int = 1) -> Array:
    """Random input codes for a quantised graph, [count, ...]; each image has its own mean per channel."""
    fmt, rng = graph.quant(graph.input).format, np.random.default_rng(seed)
    shape = graph.shape(graph.input)[1:]
    centre = rng.uniform(fmt.min_ordinal, fmt.max_ordinal, (count, shape[0], *(1 for _ in shape[1:])))
    spread = rng.uniform(-0.2, 0.2, (count, *shape)) * fmt.max_ordinal
    return fmt.from_ordinals(np.clip(np.rint(centre + spread), fmt.min_ordinal, fmt.max_ordinal).astype(np.int64))
