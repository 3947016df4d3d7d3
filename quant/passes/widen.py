"""Store activations of fewer bits in a wider integer format, for targets that have no narrow one: the codes stay."""

from __future__ import annotations

from dataclasses import replace

from quant.errors import QuantError
from quant.formats import INT8, Format
from quant.graph import Graph, Node, Quant, Tensor, check, with_nodes
from quant.operators import MOVES, Clip, Requantize
from quant.passes.fuse_clip import meet


def widen(graph: Graph, fmt: Format = INT8) -> Graph:
    """Give every signed integer activation of fewer bits than `fmt` that format, and clips where it saturated.

    Scales, zero points, weights and codes are unchanged, so that the result computes the very same codes.

    Raises:
        QuantError: the graph is not quantised, or `fmt` is no signed integer format.
    """
    if fmt.is_minifloat or not fmt.signed:
        raise QuantError(f"activations are widened to a signed integer format, not to {fmt.name}.")
    tensors, nodes = dict(graph.tensors), []
    for name in graph.activations():
        quant = graph.quant(name)
        if _is_narrow(quant, fmt):
            tensors[name] = Tensor(graph.shape(name), replace(quant, format=fmt))
    for node in graph.nodes:
        quant = graph.quant(node.output)
        nodes.append(_clipped(node, quant) if _is_narrow(quant, fmt) and not isinstance(node.op, MOVES) else node)
    first = graph.quant(graph.input)
    if _is_narrow(first, fmt):
        nodes = _clip_input(graph, tensors, nodes, first)
    return check(with_nodes(graph, tuple(nodes), tensors=tensors))


def _is_narrow(quant: Quant, fmt: Format) -> bool:
    return quant.format.signed and not quant.format.is_minifloat and quant.format.bits < fmt.bits


def _limits(quant: Quant) -> tuple[float, float]:
    """Return the real values of a format's first and last code."""
    low, high = ((code - quant.zero) * quant.scale[0] for code in (quant.format.min_ordinal, quant.format.max_ordinal))
    return low, high


def _clipped(node: Node, quant: Quant) -> Node:
    if isinstance(node.op, Requantize | Clip):
        before = (node.op.low, node.op.high) if isinstance(node.op, Clip) else None
        low, high = meet(before, _limits(quant))
        return replace(node, op=Clip(low=low, high=high))
    return replace(node, clip=meet(node.clip, _limits(quant)))


def _clip_input(graph: Graph, tensors: dict[str, Tensor], nodes: list[Node], quant: Quant) -> list[Node]:
    """Put the clip of the network's input in front of everything that reads it."""
    name = f"{graph.input}.clipped"
    while name in tensors:
        name += "_"
    tensors[name] = tensors[graph.input]
    low, high = _limits(quant)
    renamed = [replace(n, inputs=tuple(name if x == graph.input else x for x in n.inputs)) for n in nodes]
    return [Node(name, Clip(low=low, high=high), (graph.input,), name), *renamed]
