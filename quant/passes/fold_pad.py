"""Fold an explicit zero Pad into the convolution behind it."""

from __future__ import annotations

from dataclasses import replace

from quant.graph import Graph, Node, with_nodes
from quant.operators import Conv, Pad


def fold_pad(graph: Graph) -> Graph:
    """Turn Pad + Conv into a Conv with (possibly asymmetric) pads, when only height and width are padded.

    The function is unchanged: a padded tap adds nothing. A Pad that something else reads too stays for that reader.
    """
    pads = {node.output: node for node in graph.nodes if isinstance(node.op, Pad) and _spatial(node.op)}
    nodes = [_absorb(node, pads.get(node.inputs[0])) for node in graph.nodes]
    read = {name for node in nodes for name in node.inputs} | {graph.output}
    kept = tuple(node for node in nodes if not (node.output in pads and node.output not in read))
    return with_nodes(graph, kept)


def _spatial(pad: Pad) -> bool:
    return len(pad.before) == 4 and not any((*pad.before[:2], *pad.after[:2]))


def _absorb(node: Node, before: Node | None) -> Node:
    if before is None or not isinstance(node.op, Conv) or not isinstance(before.op, Pad):
        return node
    top, left, bottom, right = node.op.pads
    _, _, up, west = before.op.before
    _, _, down, east = before.op.after
    op = replace(node.op, pads=(top + up, left + west, bottom + down, right + east))
    return replace(node, op=op, inputs=(before.inputs[0], *node.inputs[1:]))
