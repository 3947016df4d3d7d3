"""Fold an explicit zero Pad into the convolution behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from quant.graph import Graph, Node, with_nodes
from quant.operators import Conv, Pad


def fold_pad(graph: Graph) -> Graph:
    """Turn Pad + Conv into a Conv with (possibly asymmetric) pads, when only height and width are padded.

    The function is unchanged: a padded tap adds nothing. A Pad that something else reads too stays for that reader.
    """
    pads = {node.output: node for node in graph.nodes if isinstance(node.op, Pad) and _spatial(node.op)}
    nodes = [_absorb(node, pads) for node in graph.nodes]
    read, kept = {graph.output}, []
    for node in reversed(nodes):
        if node.output in read or node.output not in pads:
            read.update(node.inputs)
            kept.append(node)
    return with_nodes(graph, tuple(reversed(kept)))


def _spatial(pad: Pad) -> bool:
    return len(pad.before) == 4 and not any((*pad.before[:2], *pad.after[:2]))


def _absorb(node: Node, pads: Mapping[str, Node]) -> Node:
    while isinstance(node.op, Conv) and node.inputs[0] in pads:
        before = pads[node.inputs[0]]
        assert isinstance(before.op, Pad)
        top, left, bottom, right = node.op.pads
        _, _, up, west = before.op.before
        _, _, down, east = before.op.after
        op = replace(node.op, pads=(top + up, left + west, bottom + down, right + east))
        node = replace(node, op=op, inputs=(before.inputs[0], *node.inputs[1:]))
    return node
