"""Take a trailing Softmax off: quantised graphs end at the logits, the Softmax becomes post-processing."""

from __future__ import annotations

from dataclasses import replace

from quant.graph import Graph, with_nodes
from quant.operators import Softmax


def ends_in_softmax(graph: Graph) -> bool:
    """Whether the output is made by a Softmax."""
    last = graph.producer(graph.output)
    return last is not None and isinstance(last.op, Softmax)


def drop_softmax(graph: Graph) -> Graph:
    """Remove a Softmax that makes the output. Labels (the arg max) are unchanged; bundles record it."""
    last = graph.producer(graph.output)
    if last is None or not isinstance(last.op, Softmax):
        return graph
    nodes = tuple(node for node in graph.nodes if node is not last)
    return with_nodes(replace(graph, output=last.inputs[0]), nodes)
