"""Where a network can be cut into a head and a tail, and the cut itself.

A cut point is a single tensor that every path from input to output goes through. Running the tail on the head's codes
is then the same computation as running the whole: same steps, same constants, same codes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge.errors import EdgeError
from quant.graph import Graph, Node, check, macs, with_nodes
from quant.names import suggestion

FLOAT_BITS = 32


@dataclass(frozen=True, slots=True)
class CutPoint:
    """A tensor where the network can be divided.

    `size_bytes` is what crosses the cut per inference, codes packed at the tensor's format (float32 in a float graph).
    `macs_before` and `macs_after` are multiply-accumulates per inference of head and tail.
    """

    tensor: str
    shape: tuple[int, ...]
    format: str
    size_bytes: int
    macs_before: int
    macs_after: int


def cut_points(graph: Graph) -> tuple[CutPoint, ...]:
    """Return every cut point in execution order; the graph's input and output are not among them."""
    live = _live_nodes(graph)
    return tuple(
        _cut_point(graph, node.output, live[: index + 1], live[index + 1 :])
        for index, node in enumerate(live[:-1])
        if _crossing(graph, live, index) == {node.output}
    )


def cut(graph: Graph, tensor: str) -> tuple[Graph, Graph]:
    """Divide a graph after `tensor`.

    Args:
        graph: float or quantised.
        tensor: one of `cut_points`.

    Returns:
        Head (same input, output `tensor`) and tail (input `tensor`, same output), both well formed.

    Raises:
        EdgeError: no such tensor, or it is not a cut point; names the nearest ones that are.
    """
    points = [point.tensor for point in cut_points(graph)]
    if tensor not in points:
        raise EdgeError(_refusal(graph, tensor, points))
    live = _live_nodes(graph)
    place = next(index for index, node in enumerate(live) if node.output == tensor) + 1
    head = with_nodes(replace(graph, name=f"{graph.name}_head", output=tensor), tuple(live[:place]))
    tail = with_nodes(replace(graph, name=f"{graph.name}_tail", input=tensor), tuple(live[place:]))
    return check(head), check(tail)


def _live_nodes(graph: Graph) -> list[Node]:
    """Return the nodes the output depends on, in execution order."""
    needed, live = {graph.output}, []
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
            live.append(node)
    return live[::-1]


def _crossing(graph: Graph, live: list[Node], index: int) -> set[str]:
    """Return the activations made up to node `index` and read after it (the output counts as read at the end)."""
    made = {graph.input, *(node.output for node in live[: index + 1])}
    read = {graph.output, *(name for node in live[index + 1 :] for name in node.inputs)}
    return made & read


def _cut_point(graph: Graph, tensor: str, before: list[Node], after: list[Node]) -> CutPoint:
    shape, quant, counts = graph.shape(tensor), graph.tensors[tensor].quant, macs(graph)
    bits = FLOAT_BITS if quant is None else quant.format.bits
    return CutPoint(
        tensor,
        shape,
        "float32" if quant is None else quant.format.name,
        -(-int(np.prod(shape, dtype=np.int64)) * bits // 8),
        sum(counts.get(node.name, 0) for node in before),
        sum(counts.get(node.name, 0) for node in after),
    )


def _refusal(graph: Graph, tensor: str, points: list[str]) -> str:
    known = ", ".join(points) or "none"
    if tensor in {graph.input, graph.output}:
        end = "input" if tensor == graph.input else "output"
        return f"'{tensor}' is the {end} of graph '{graph.name}': nothing to cut."
    if tensor not in graph.activations():
        what = "a weight" if tensor in graph.weights else "no tensor"
        return f"'{tensor}' is {what} of graph '{graph.name}'.{suggestion(tensor, points)} Cut points: {known}."
    order = graph.activations()
    place = order.index(tensor)
    before = [name for name in points if order.index(name) < place][-1:]
    after = [name for name in points if order.index(name) > place][:1]
    near = " or ".join(f"'{name}'" for name in before + after) or "none"
    return (
        f"graph '{graph.name}' cannot be cut at '{tensor}': it lies inside a branch, so other tensors would have to "
        f"cross as well. Nearest cut points: {near}."
    )
