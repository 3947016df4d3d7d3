"""Fuse Relu, ReLU6 and other clips into the layer before them, so that one rounding serves both."""

from __future__ import annotations

from dataclasses import replace

from quant.graph import Graph, Node, with_nodes
from quant.operators import Add, Clip, Conv, Function, Gemm, Mul

_FUSES = (Conv, Gemm, Add, Mul, Function)


def fuse_clip(graph: Graph) -> Graph:
    """Move each Clip behind a Conv, Gemm, Add, Mul or Function that nothing else reads into that node's `clip`.

    The function is unchanged. A layer whose output already has a number format of its own keeps its Clip: there the
    two roundings are part of the meaning.
    """
    nodes: list[Node] = []
    for node in graph.nodes:
        before = next((n for n in nodes if n.output == node.inputs[0]), None)
        if isinstance(node.op, Clip) and before is not None and _fusable(graph, before):
            fused = replace(before, output=node.output, clip=meet(before.clip, (node.op.low, node.op.high)))
            nodes[nodes.index(before)] = fused
        else:
            nodes.append(node)
    return with_nodes(graph, tuple(nodes))


def _fusable(graph: Graph, node: Node) -> bool:
    alone = len(graph.consumers(node.output)) == 1 and node.output != graph.output
    return isinstance(node.op, _FUSES) and alone and graph.tensors[node.output].quant is None


def meet(first: tuple[float, float] | None, second: tuple[float, float]) -> tuple[float, float]:
    """Return the one clip that two in a row are; limits that do not overlap give a constant."""
    if first is None:
        return second
    low, high = (min(max(limit, second[0]), second[1]) for limit in first)
    return low, high
