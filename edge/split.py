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


def cut(graph: Graph, tensor: str, exits: tuple[str, ...] = ()) -> tuple[Graph, Graph]:
    """Divide a graph after `tensor`.

    Args:
        graph: float or quantised.
        tensor: one of `cut_points`.
        exits: further tensors that must be made, though the output needs none of them: ends of early exits.

    Returns:
        Head (same input, output `tensor`) and tail (input `tensor`, same output), both well formed. What only `exits`
        need is in the head where that has all of its inputs, else in the tail; what nothing needs is in neither.

    Raises:
        EdgeError: no such tensor, or it is not a cut point (names the nearest ones that are), or an exit needs tensors
            of both sides.
    """
    points = [point.tensor for point in cut_points(graph)]
    if tensor not in points:
        raise EdgeError(_refusal(graph, tensor, points))
    live = _live_nodes(graph)
    place = next(index for index, node in enumerate(live) if node.output == tensor) + 1
    first, second = _sides(graph, live[:place], live[place:], exits)
    head = with_nodes(replace(graph, name=f"{graph.name}_head", output=tensor), first)
    tail = with_nodes(replace(graph, name=f"{graph.name}_tail", input=tensor), second)
    return check(head), check(tail)


def _sides(
    graph: Graph, before: list[Node], after: list[Node], exits: tuple[str, ...]
) -> tuple[tuple[Node, ...], tuple[Node, ...]]:
    """Return the nodes of both sides, in the graph's order, with those that only the exits need."""
    constants = set(graph.weights)
    made = {graph.input, *(node.output for node in before)}, {node.output for node in (before[-1], *after)}
    known = {node.name for node in (*before, *after)}
    for node in _live_nodes(graph, exits):
        if node.name in known:
            continue
        side = next((side for side in made if constants | side >= set(node.inputs)), None)
        if side is None:
            raise EdgeError(
                f"graph '{graph.name}' cannot be cut at '{before[-1].output}': node '{node.name}' of an exit reads "
                f"{' and '.join(repr(name) for name in node.inputs if name not in constants)} from both sides. Cut "
                "elsewhere, or leave that exit out."
            )
        side.add(node.output)
    ends = made[0], made[1] - {before[-1].output}
    first, second = (tuple(node for node in graph.nodes if node.output in side) for side in ends)
    return first, second


def _live_nodes(graph: Graph, exits: tuple[str, ...] = ()) -> list[Node]:
    """Return the nodes the output (and the exits) depend on, in execution order."""
    needed, live = {graph.output, *exits}, []
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
