"""The network as plain data: the one thing every pass rewrites and every exporter reads.

A *float* graph has float32 weights and no `Quant` on any tensor. A *quantised* graph has a `Quant` on its input, on
every node output and on every weight; weights hold codes, and biases hold integers on the accumulator's grid
(scale s_x * s_w[channel], times the units of both formats), so they need no `Quant` of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from quant.errors import QuantError
from quant.formats import Array, Format
from quant.operators import FUNCTIONS, MOVES, Conv, Function, Gemm, Minimum, Mul, Operator


@dataclass(frozen=True, slots=True)
class Quant:
    """How codes stand for real values: real = scale * (decoded - zero).

    `scale` has one float32 value, or one per index of `axis`. `zero` is 0 for minifloats and weights.
    """

    format: Format
    scale: tuple[float, ...]
    zero: int = 0
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class Tensor:
    """Shape (batch axis 1) and, in a quantised graph, the number format of a tensor."""

    shape: tuple[int, ...]
    quant: Quant | None = None


@dataclass(frozen=True, slots=True)
class Node:
    """One operation; `clip` is an activation fused behind it (Relu is (0, inf)), applied before rounding saturates."""

    name: str
    op: Operator
    inputs: tuple[str, ...]
    output: str
    clip: tuple[float, float] | None = None

    @property
    def kind(self) -> str:
        """The operator's name, for messages and reports."""
        return type(self.op).__name__


@dataclass(frozen=True, eq=False)
class Graph:
    """A network with one input and one output, nodes in execution order."""

    name: str
    input: str
    output: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    weights: Mapping[str, Array] = field(default_factory=dict)

    @property
    def is_quantised(self) -> bool:
        """Whether the graph has a quantised input (see `check`)."""
        return self.tensors[self.input].quant is not None

    def quant(self, tensor: str) -> Quant:
        """Return the number format of a tensor, or raise QuantError when it has none."""
        found = self.tensors[tensor].quant
        if found is None:
            raise QuantError(f"tensor '{tensor}' of graph '{self.name}' is not quantised.")
        return found

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Return the shape of a tensor, batch axis included."""
        return self.tensors[tensor].shape

    def producer(self, tensor: str) -> Node | None:
        """Return the node that makes a tensor; None for the input and for weights."""
        return next((node for node in self.nodes if node.output == tensor), None)

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """Return the nodes that read a tensor."""
        return tuple(node for node in self.nodes if tensor in node.inputs)

    def activations(self) -> tuple[str, ...]:
        """Return the input and every node output, in execution order."""
        return (self.input, *(node.output for node in self.nodes))


def with_nodes(graph: Graph, nodes: tuple[Node, ...], **changes: Mapping[str, Tensor] | Mapping[str, Array]) -> Graph:
    """Return the graph with other nodes (and tensors or weights), without the tensors nothing uses any more."""
    changed = replace(graph, nodes=nodes, **changes)  # type: ignore[arg-type]
    used = {changed.input, changed.output} | {t for n in nodes for t in (*n.inputs, n.output)}
    return replace(
        changed,
        tensors={name: t for name, t in changed.tensors.items() if name in used},
        weights={name: w for name, w in changed.weights.items() if name in used},
    )


def joined_by(graph: Graph, kinds: tuple[type[Operator], ...]) -> tuple[tuple[str, ...], ...]:
    """Return the activations in groups: operators of some kinds join their inputs with their output."""
    root = {name: name for name in graph.activations()}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for node in graph.nodes:
        if isinstance(node.op, kinds):
            for name in node.inputs:
                root[find(name)] = find(node.output)
    groups: dict[str, list[str]] = {}
    for name in graph.activations():
        groups.setdefault(find(name), []).append(name)
    return tuple(tuple(names) for names in groups.values())


def macs(graph: Graph) -> dict[str, int]:
    """Return multiply-accumulates per inference of each Conv and Gemm node, by node name."""
    counts = {}
    for node in graph.nodes:
        if isinstance(node.op, Conv | Gemm):
            out_positions = int(np.prod(graph.shape(node.output)[2:], dtype=np.int64))
            counts[node.name] = int(np.prod(graph.shape(node.inputs[1]), dtype=np.int64)) * out_positions
    return counts


def check(graph: Graph) -> Graph:
    """Return the graph when it is well formed.

    Raises:
        QuantError: a tensor is unknown, read before it is made, made twice, a weight's shape differs from its
            tensor's, a Minimum has not one limit a channel, factors do not fit each other, a Function is unknown, or
            an operator that only moves codes changes their scale.
    """
    made = {graph.input, *graph.weights}
    for name, weight in graph.weights.items():
        if tuple(weight.shape) != graph.tensors[name].shape:
            raise QuantError(f"weight '{name}' has shape {weight.shape}, its tensor says {graph.tensors[name].shape}.")
    for node in graph.nodes:
        missing = [name for name in node.inputs if name not in made]
        if missing:
            raise QuantError(f"node '{node.name}' ({node.kind}) reads '{missing[0]}' before anything makes it.")
        if node.output in made:
            raise QuantError(f"node '{node.name}' ({node.kind}) makes '{node.output}', which exists already.")
        made.add(node.output)
        if isinstance(node.op, Minimum):
            _check_limits(graph, node, node.op)
        elif isinstance(node.op, Function):
            _check_function(node, node.op)
        elif isinstance(node.op, Mul):
            _check_product(graph, node)
        if graph.is_quantised:
            _check_quantised(graph, node)
    if graph.output not in made:
        raise QuantError(f"nothing makes the output '{graph.output}' of graph '{graph.name}'.")
    return graph


def _check_limits(graph: Graph, node: Node, op: Minimum) -> None:
    shape = graph.shape(node.output)
    channels = shape[1] if len(shape) > 1 else 0
    if len(op.limits) != channels:
        raise QuantError(
            f"node '{node.name}' (Minimum) has {len(op.limits)} limits for the {channels} channels of "
            f"'{node.output}' {list(shape)}; give one limit per channel."
        )
    if any(np.isnan(limit) for limit in op.limits):
        raise QuantError(f"node '{node.name}' (Minimum) has a limit that is not a number; give one per channel.")


def _check_function(node: Node, op: Function) -> None:
    known = {"hard_sigmoid": op.alpha > 0, "leaky_relu": 0 < op.alpha < 1}
    if op.name not in FUNCTIONS:
        raise QuantError(f"node '{node.name}' is the function '{op.name}'; known are {', '.join(FUNCTIONS)}.")
    if not known.get(op.name, True) or not np.isfinite((op.alpha, op.beta)).all():
        raise QuantError(
            f"node '{node.name}' ({op.name}) has alpha {op.alpha} and beta {op.beta}; alpha must be above 0, of "
            "leaky_relu below 1, and both finite."
        )


def _check_product(graph: Graph, node: Node) -> None:
    """Check that the second factor has the first one's shape, or one value per channel of images."""
    shapes = [graph.shape(name) for name in node.inputs]
    whole = graph.shape(node.output)
    if len(shapes) == 2 and shapes[0] == whole and shapes[1] in (whole, (*whole[:2], 1, 1)):
        return
    raise QuantError(
        f"node '{node.name}' (Mul) multiplies {' and '.join(str(list(s)) for s in shapes)} into {list(whole)}; the "
        "second factor must have the first one's shape, or [1, C, 1, 1]."
    )


def _check_quantised(graph: Graph, node: Node) -> None:
    out = graph.quant(node.output)
    if isinstance(node.op, MOVES):
        for name in node.inputs:
            if graph.quant(name) != out:
                raise QuantError(
                    f"node '{node.name}' ({node.kind}) only moves codes, but '{name}' and '{node.output}' have "
                    "different number formats; put a Requantize before it."
                )
    if out.format.is_minifloat and out.zero:
        raise QuantError(f"tensor '{node.output}' is a minifloat with zero point {out.zero}; it must be 0.")
