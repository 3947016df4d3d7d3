"""A network with early exits as one graph, and the networks of its own that every stage and every exit is.

The graph's output is the last exit; the other exits are further tensors that the graph makes, though its output needs
none of them. An exit reads one tensor that all of the network goes through: there the network is cut.
"""

from __future__ import annotations

from dataclasses import replace

from edge.errors import EdgeError
from edge.split import cut, cut_points
from quant.graph import Graph, Node, check, with_nodes
from quant.names import suggestion
from quant.operators import Concat


def split_exits(graph: Graph) -> tuple[Graph, tuple[str, ...]]:
    """Take apart a float graph whose output joins the logits of all exits.

    Args:
        graph: its output is a Concat of logits [1, classes], the last exit's last.

    Returns:
        The graph whose output is the last exit's logits, and the tensors of the early exits' logits in order.

    Raises:
        EdgeError: the output is no such Concat.
    """
    last = graph.producer(graph.output)
    shapes = {graph.shape(name) for name in last.inputs} if last is not None else set()
    if last is None or not isinstance(last.op, Concat) or len(shapes) != 1 or len(last.inputs) < 2:
        raise EdgeError(
            f"graph '{graph.name}' ends in {last.kind if last else 'its input'} '{graph.output}'; a network with exits "
            "ends in a Concat of the exits' logits [1, classes], the last exit's last."
        )
    *early, end = last.inputs
    nodes = tuple(node for node in graph.nodes if node is not last)
    return check(with_nodes(replace(graph, output=end), nodes)), tuple(early)


def exit_sources(graph: Graph, exits: tuple[str, ...]) -> tuple[str, ...]:
    """Return the tensor that each early exit reads.

    Raises:
        EdgeError: there is no such exit, it reads several tensors or one that is no cut point, or two exits do not
            follow each other.
    """
    points = [point.tensor for point in cut_points(graph)]
    found = tuple(_source(graph, name, points) for name in exits)
    places = [points.index(name) for name in found]
    if places != sorted(set(places)):
        raise EdgeError(
            f"the exits of graph '{graph.name}' read {', '.join(found)}; give them in the order in which the network "
            "makes these tensors, and one exit a tensor."
        )
    return found


def stage_graphs(graph: Graph, exits: tuple[str, ...]) -> tuple[tuple[Graph, ...], tuple[Graph, ...]]:
    """Divide a graph, float or quantised, into stages (one more than early exits) and the networks of early exits.

    Every graph has one input and one output; stage k + 1 and exit k read the output of stage k.

    Raises:
        EdgeError: see `exit_sources`.
    """
    stages, left = [], graph
    sources = exit_sources(graph, exits)
    for place, source in enumerate(sources):
        stage, left = cut(left, source)
        stages.append(replace(stage, name=f"{graph.name}_stage{place + 1}"))
    stages.append(replace(left, name=f"{graph.name}_stage{len(exits) + 1}"))
    leaves = [
        check(
            with_nodes(
                replace(graph, name=f"{graph.name}_exit{place + 1}", input=source, output=name), _own(graph, name)
            )
        )
        for place, (source, name) in enumerate(zip(sources, exits, strict=True))
    ]
    return tuple(stages), tuple(leaves)


def last_only(graph: Graph) -> Graph:
    """Return a graph without what only early exits need."""
    needed = _needed(graph, graph.output)
    return check(with_nodes(graph, tuple(node for node in graph.nodes if node.output in needed)))


def _own(graph: Graph, name: str) -> tuple[Node, ...]:
    """Return the nodes that an exit needs and the graph's output does not, in order."""
    mine, main = _needed(graph, name), _needed(graph, graph.output)
    return tuple(node for node in graph.nodes if node.output in mine - main)


def _needed(graph: Graph, name: str) -> set[str]:
    needed = {name}
    for node in reversed(graph.nodes):
        if node.output in needed:
            needed.update(node.inputs)
    return needed


def _source(graph: Graph, name: str, points: list[str]) -> str:
    if name not in graph.activations():
        raise EdgeError(
            f"graph '{graph.name}' has no tensor '{name}' for an exit.{suggestion(name, graph.activations())}"
        )
    own = _own(graph, name)
    made = {node.output for node in own}
    read = {tensor for node in own for tensor in node.inputs} - made - set(graph.weights)
    if len(read) == 1 and read <= set(points):
        return read.pop()
    what = f"reads {' and '.join(repr(tensor) for tensor in sorted(read))}" if own else "has no layer of its own"
    raise EdgeError(
        f"exit '{name}' of graph '{graph.name}' {what}; an exit reads one tensor that all of the network goes through: "
        f"{', '.join(points) or 'there is none'}."
    )
