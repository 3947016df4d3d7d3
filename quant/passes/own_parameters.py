"""Give every layer its own weights: layers that share them are scaled, folded and quantised apart."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from quant.graph import Graph, Node, with_nodes


def own_parameters(graph: Graph) -> Graph:
    """Copy each weight that several nodes read, or one node reads twice. The function is unchanged."""
    seen: set[str] = set()
    nodes: list[Node] = []
    weights, tensors = dict(graph.weights), dict(graph.tensors)
    for node in graph.nodes:
        inputs = list(node.inputs)
        for index, name in enumerate(inputs):
            if name in seen:
                inputs[index] = _free_name(f"{node.name}.{index}.own", tensors)
                weights[inputs[index]], tensors[inputs[index]] = weights[name], tensors[name]
            elif name in graph.weights:
                seen.add(name)
        nodes.append(replace(node, inputs=tuple(inputs)))
    return with_nodes(graph, tuple(nodes), weights=weights, tensors=tensors)


def _free_name(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name
