"""A prepared float graph as an fx `GraphModule` of plain torch layers, for tools that quantise torch modules."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
import torch
from torch import nn

from quant import operators as ops
from quant.graph import Graph, Node


class Take(nn.Module):  # type: ignore[misc]
    """A strided slice."""

    def __init__(self, op: ops.Slice):
        super().__init__()
        parts = zip(op.starts[1:], op.ends[1:], op.steps[1:], strict=True)
        self.index = (slice(None), *(slice(start, end, step) for start, end, step in parts))

    def forward(self, x: Any) -> torch.Tensor:
        """Return the slice as a plain tensor, also of a quantised one."""
        taken: torch.Tensor = getattr(x, "value", x)[self.index]
        return taken


class Zeros(nn.Module):  # type: ignore[misc]
    """Zero padding of any axes."""

    def __init__(self, before: tuple[int, ...], after: tuple[int, ...]):
        super().__init__()
        pairs = zip(reversed(before), reversed(after), strict=True)
        self.widths = [width for pair in pairs for width in pair]

    def forward(self, x: Any) -> torch.Tensor:
        """Return the padded plain tensor, also of a quantised one."""
        return nn.functional.pad(getattr(x, "value", x), self.widths)


def to_fx(graph: Graph, fx: Any = torch.fx) -> Any:
    """Build the module; it maps float32 [N, C, H, W] to logits [N, classes].

    Args:
        graph: a float graph from `quant.ptq.prepare`.
        fx: what `Graph` and `GraphModule` are taken from; Brevitas rewrites only its own, `brevitas.fx`.

    Raises:
        ValueError: an operator or activation that has no plain torch layer here.
    """
    if graph.is_quantised:
        raise ValueError(f"graph '{graph.name}' is quantised; a float one is needed.")
    builder = _Builder(fx)
    values = {graph.input: builder.graph.placeholder("x")}
    for index, node in enumerate(graph.nodes):
        inputs = [values[name] for name in node.inputs if name in values]
        values[node.output] = builder.add(f"n{index}", graph, node, inputs)
    builder.graph.output(values[graph.output])
    return fx.GraphModule(builder.root, builder.graph).eval()


class _Builder:
    """Collects layers and the calls of them."""

    def __init__(self, fx: Any) -> None:
        self.root, self.graph = nn.Module(), fx.Graph()

    def add(self, name: str, graph: Graph, node: Node, inputs: list[Any]) -> Any:
        y = self._operation(name, graph, node, inputs)
        clip = (node.op.low, node.op.high) if isinstance(node.op, ops.Clip) else node.clip
        return y if clip is None else self._layer(f"{name}_act", _activation(node, clip), y)

    def _layer(self, name: str, layer: nn.Module, x: Any) -> Any:
        self.root.add_module(name, layer)
        return self.graph.call_module(name, (x,))

    def _operation(self, name: str, graph: Graph, node: Node, inputs: list[Any]) -> Any:
        match node.op:
            case ops.Conv():
                return self._conv(name, graph, node, inputs[0])
            case ops.Gemm():
                return self._layer(name, _linear(graph, node), inputs[0])
            case ops.Add():
                return self.graph.call_function(operator.add, tuple(inputs))
            case ops.Clip():
                return inputs[0]
            case ops.Slice():
                return self._layer(name, Take(node.op), inputs[0])
            case ops.Pad(before=before, after=after):
                return self._layer(name, Zeros(before, after), inputs[0])
            case ops.Mean(keep_dims=keep):
                pooled = self._layer(name, nn.AdaptiveAvgPool2d(1), inputs[0])
                return pooled if keep else self.graph.call_function(torch.flatten, (pooled, 1))
            case ops.Reshape(shape=shape) if len(shape) == 2:
                return self.graph.call_function(torch.flatten, (inputs[0], 1))
        raise ValueError(f"node '{node.name}' ({node.kind}) has no plain torch layer here.")

    def _conv(self, name: str, graph: Graph, node: Node, x: Any) -> Any:
        """Add a convolution; padding that differs between the sides goes into a layer of its own."""
        assert isinstance(node.op, ops.Conv)
        top, left, bottom, right = node.op.pads
        even = (top, left) == (bottom, right)
        if not even:
            x = self._layer(f"{name}_pad", Zeros((0, 0, top, left), (0, 0, bottom, right)), x)
        weight = graph.weights[node.inputs[1]]
        layer = nn.Conv2d(
            weight.shape[1] * node.op.groups,
            weight.shape[0],
            weight.shape[2:],
            node.op.strides,
            (top, left) if even else (0, 0),
            node.op.dilations,
            node.op.groups,
        )
        return self._layer(name, _filled(layer, graph, node), x)


def _linear(graph: Graph, node: Node) -> nn.Module:
    out, inside = graph.weights[node.inputs[1]].shape
    return _filled(nn.Linear(inside, out), graph, node)


def _filled(layer: Any, graph: Graph, node: Node) -> nn.Module:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(graph.weights[node.inputs[1]]))
        layer.bias.copy_(torch.from_numpy(graph.weights[node.inputs[2]]))
    filled: nn.Module = layer
    return filled


def _activation(node: Node, clip: tuple[float, float]) -> nn.Module:
    if clip == (0.0, np.inf):
        return nn.ReLU()
    if clip == (0.0, 6.0):
        return nn.ReLU6()
    raise ValueError(f"node '{node.name}' is clipped to {clip}; only ReLU and ReLU6 have a plain torch layer here.")
