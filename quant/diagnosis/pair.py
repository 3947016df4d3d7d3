"""Match the nodes of a quantised graph with those of its float form: by topology, weights and names, then by order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from quant import operators as ops
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph, Node
from quant.onnx_quant import bias_units

#: Nodes that move or re-round a tensor: whether a graph has them says nothing about which layer is which.
TRANSPARENT = (ops.Requantize, ops.Reshape, ops.Pad)
#: Two layers whose weights point this far in the same direction are the same layer, quantised.
SAME_WEIGHTS = 0.5


@dataclass(frozen=True, slots=True)
class Match:
    """One float node and what computes it in the quantised graph: a node, then the clips and roundings behind it.

    `how` is `topology`, `name` or `order`: what the match rests on.
    """

    node: Node
    chain: tuple[Node, ...]
    how: str

    @property
    def main(self) -> Node:
        """The quantised node that does the float node's work."""
        return self.chain[0]

    @property
    def output(self) -> str:
        """The quantised tensor that stands for the float node's output."""
        return self.chain[-1].output


@dataclass(frozen=True, eq=False)
class Pair:
    """A prepared float graph and a quantised graph of one network. `unmatched` names float nodes without a match."""

    floating: Graph
    quantised: Graph
    matches: tuple[Match, ...]
    unmatched: tuple[str, ...] = ()

    def find(self, node: str) -> Match | None:
        """Return the match of a float node by its name."""
        return next((match for match in self.matches if match.node.name == node), None)


def match_graphs(floating: Graph, quantised: Graph) -> Pair:
    """Match two graphs of one network.

    Args:
        floating: a float graph after `quant.ptq.prepare`.
        quantised: a quantised graph, made by whatever tool.

    Raises:
        QuantError: the inputs or outputs have different shapes, or no layer at all matches.
    """
    _check_ends(floating, quantised)
    sources = {floating.input: quantised.input}
    taken: set[str] = set()
    matches, unmatched = [], []
    for node in floating.nodes:
        if isinstance(node.op, TRANSPARENT):
            continue
        found, how = _counterpart(floating, quantised, node, sources, taken)
        if found is None:
            unmatched.append(node.name)
            continue
        chain = (found, *_behind(floating, quantised, node, found))
        taken.update(step.name for step in chain)
        sources[node.output] = chain[-1].output
        matches.append(Match(node, chain, how))
    _check_found(floating, quantised, matches)
    return Pair(floating, quantised, tuple(matches), tuple(unmatched))


def _check_ends(floating: Graph, quantised: Graph) -> None:
    if not quantised.is_quantised:
        raise QuantError(f"graph '{quantised.name}' is a float model; to diagnose it give a scheme such as w4a8.")
    for what, first, second in (
        ("input", floating.input, quantised.input),
        ("output", floating.output, quantised.output),
    ):
        shapes = floating.shape(first), quantised.shape(second)
        if np.prod(shapes[0]) != np.prod(shapes[1]) or (what == "input" and shapes[0] != shapes[1]):
            raise QuantError(
                f"the {what} of float model '{floating.name}' has shape {list(shapes[0])}, that of quantised model "
                f"'{quantised.name}' {list(shapes[1])}: they are not the same network."
            )


def _check_found(floating: Graph, quantised: Graph, matches: list[Match]) -> None:
    if not any(isinstance(match.node.op, ops.Conv | ops.Gemm) for match in matches):
        layers = [node.name for node in floating.nodes if isinstance(node.op, ops.Conv | ops.Gemm)]
        raise QuantError(
            f"no layer of float model '{floating.name}' matches one of quantised model '{quantised.name}' (looked for "
            f"{', '.join(layers[:5])}): give the float model that this file was quantised from."
        )


def source(graph: Graph, tensor: str) -> str:
    """Return the tensor behind roundings, reshapes and padding."""
    moves = path(graph, tensor)
    return moves[0].inputs[0] if moves else tensor


def path(graph: Graph, tensor: str) -> tuple[Node, ...]:
    """Return the roundings, reshapes and paddings from a tensor's source to the tensor, in order."""
    moves: list[Node] = []
    maker = graph.producer(tensor)
    while maker is not None and isinstance(maker.op, TRANSPARENT):
        moves.insert(0, maker)
        maker = graph.producer(maker.inputs[0])
    return tuple(moves)


def _counterpart(
    floating: Graph, quantised: Graph, node: Node, sources: dict[str, str], taken: set[str]
) -> tuple[Node | None, str]:
    """Return the quantised node of a float node, and what the match rests on."""
    alike = [n for n in quantised.nodes if n.name not in taken and _same_kind(floating, quantised, node, n)]
    wanted = [sources.get(source(floating, name)) for name in _activations(floating, node)]
    if None not in wanted:
        want = sorted(str(source(quantised, str(name))) for name in wanted)
        same = [n for n in alike if sorted(source(quantised, x) for x in _activations(quantised, n)) == want]
        if same:
            return max(same, key=lambda n: _likeness(floating, quantised, node, n)), "topology"
    named = [n for n in alike if n.output == node.output or n.name == node.name]
    if named:
        return named[0], "name"
    near = [n for n in alike if _likeness(floating, quantised, node, n)[1] >= SAME_WEIGHTS]
    return (near[0], "order") if near else (None, "")


def _same_kind(floating: Graph, quantised: Graph, node: Node, other: Node) -> bool:
    if isinstance(node.op, ops.AveragePool) and isinstance(other.op, ops.Conv):
        # An average between two grids is imported as the depthwise convolution it is.
        same = floating.shape(node.output) == quantised.shape(other.output)
        return same and other.op.groups == floating.shape(node.output)[1]
    if type(node.op) is not type(other.op):
        return False
    if isinstance(node.op, ops.Conv | ops.Gemm):
        return floating.shape(node.inputs[1]) == quantised.shape(other.inputs[1])
    return bool(np.prod(floating.shape(node.output)) == np.prod(quantised.shape(other.output)))


def _activations(graph: Graph, node: Node) -> Iterator[str]:
    return (name for name in node.inputs if name not in graph.weights)


def _likeness(floating: Graph, quantised: Graph, node: Node, other: Node) -> tuple[bool, float]:
    """Return whether names agree, and the cosine between the weights (0 where there are none)."""
    named = other.output == node.output or other.name == node.name
    if not isinstance(node.op, ops.Conv | ops.Gemm):
        return named, 0.0
    first, second = floating.weights[node.inputs[1]], decoded_weight(quantised, other)
    return named, cosine(first, second)


def cosine(first: Array, second: Array) -> float:
    """Return the cosine between two arrays of one shape; 0 when one of them is all zero."""
    a, b = first.astype(np.float64).ravel(), second.astype(np.float64).ravel()
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms > 0 else 0.0


def decoded_weight(graph: Graph, node: Node) -> Array:
    """Return the real weights of a quantised layer, float64 [O, ...]."""
    quant = graph.quant(node.inputs[1])
    codes = quant.format.decode(graph.weights[node.inputs[1]])
    values: Array = codes * np.array(quant.scale).reshape(-1, *(1 for _ in codes.shape[1:]))
    return values


def decoded_bias(graph: Graph, node: Node) -> Array:
    """Return the real bias of a quantised layer, float64 [O]."""
    units = bias_units(graph.quant(node.inputs[0]), graph.quant(node.inputs[1]))
    values: Array = graph.weights[node.inputs[2]].astype(np.float64) * units
    return values


def _behind(floating: Graph, quantised: Graph, node: Node, found: Node) -> tuple[Node, ...]:
    """Return the roundings, and the clip that is fused in the float graph, which stand alone in the quantised one.

    A Minimum is the clip of channels that were scaled; the float graph may have it too.
    """
    if any(isinstance(reader.op, ops.Minimum) for reader in floating.consumers(node.output)):
        return ()
    chain: list[Node] = []
    clipped = found.clip is not None or node.clip is None
    tensor = found.output
    while True:
        readers = quantised.consumers(tensor)
        if len(readers) != 1 or tensor == quantised.output:
            return tuple(chain)
        reader = readers[0]
        if isinstance(reader.op, ops.Clip) and not clipped:
            clipped = True
        elif not isinstance(reader.op, ops.Requantize | ops.Minimum):
            return tuple(chain)
        chain.append(reader)
        tensor = reader.output
