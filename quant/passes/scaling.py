"""Pairs of layers whose channels between them can be scaled without changing the function.

Multiply channel c of a layer's output by f_c and divide the next layer's weights for that channel by it: between the
two stand only operators with g(f x) = f g(x) for f > 0 (Relu, pooling, means), and upper limits (ReLU6), which are
scaled too: a limit that was one number for all channels becomes a Minimum with one per channel behind the layer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quant.formats import Array, FloatArray
from quant.graph import Graph, Node, with_nodes
from quant.operators import AveragePool, Conv, Gemm, MaxPool, Mean, Minimum

#: Operators that let a positive factor through, channel by channel.
HOMOGENEOUS = (MaxPool, AveragePool, Mean)
#: The limit of an activation that has none.
NO_LIMIT = float("inf")
#: Factors are kept within this range of 1: beyond it a dead channel would be blown up to noise.
LIMIT = 256.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two layers joined by tensors nothing else reads.

    `between` are the operators from one to the other; `limit` is the largest upper limit in between, infinite for Relu.
    """

    source: Node
    sink: Node
    between: tuple[Node, ...]
    limit: float

    @property
    def tensor(self) -> str:
        """The first layer's output behind its activation, limits included."""
        behind = self.between[:1]
        return behind[0].output if behind and isinstance(behind[0].op, Minimum) else self.source.output


def find_pairs(graph: Graph) -> tuple[Pair, ...]:
    """Return every pair of a float graph, in execution order."""
    layers = (node for node in graph.nodes if isinstance(node.op, Conv | Gemm) and _scalable_clip(node))
    chains = ((node, _chain(graph, node.output)) for node in layers)
    return tuple(Pair(node, chain[-1], chain[:-1], _limit(node, chain)) for node, chain in chains if chain)


def _limit(source: Node, chain: tuple[Node, ...]) -> float:
    limits = [max(node.op.limits) for node in chain if isinstance(node.op, Minimum)]
    return min([NO_LIMIT if source.clip is None else source.clip[1], *limits])


def _scalable_clip(node: Node) -> bool:
    return node.clip is None or (node.clip[0] == 0.0 and node.clip[1] > 0.0)


def _chain(graph: Graph, tensor: str) -> tuple[Node, ...]:
    """Return the operators that let factors through and the layer behind them; empty where something else follows."""
    readers = graph.consumers(tensor)
    if tensor == graph.output or len(readers) != 1:
        return ()
    if isinstance(readers[0].op, Conv | Gemm):
        return readers
    behind = _chain(graph, readers[0].output) if isinstance(readers[0].op, (*HOMOGENEOUS, Minimum)) else ()
    return (*readers, *behind) if behind else ()


def source_ranges(graph: Graph, pair: Pair) -> FloatArray:
    """Return the largest |weight| of each output channel of a pair's first layer, [C]."""
    weight = np.abs(graph.weights[pair.source.inputs[1]].astype(np.float64))
    ranges: FloatArray = weight.reshape(len(weight), -1).max(axis=1)
    return ranges


def sink_ranges(graph: Graph, pair: Pair) -> FloatArray:
    """Return the largest |weight| for each input channel of a pair's second layer, [C]."""
    weight = np.abs(graph.weights[pair.sink.inputs[1]].astype(np.float64))
    groups = pair.sink.op.groups if isinstance(pair.sink.op, Conv) else 1
    by_group = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
    ranges: FloatArray = by_group.max(axis=(1, 3)).reshape(-1)
    return ranges


def rescale(graph: Graph, pair: Pair, factors: FloatArray) -> Graph:
    """Multiply the channels between a pair by `factors` [C], limits included; the function stays."""
    weights: dict[str, Array] = dict(graph.weights)
    _, source, bias = pair.source.inputs
    sink = pair.sink.inputs[1]
    groups = pair.sink.op.groups if isinstance(pair.sink.op, Conv) else 1
    shape = (-1, *(1 for _ in weights[source].shape[1:]))
    weights[source] = (weights[source] * factors.reshape(shape)).astype(np.float32)
    weights[bias] = (weights[bias] * factors).astype(np.float32)
    divisor = factors.reshape(groups, 1, -1, 1)
    by_group = weights[sink].reshape(groups, len(weights[sink]) // groups, weights[sink].shape[1], -1)
    weights[sink] = (by_group / divisor).reshape(weights[sink].shape).astype(np.float32)
    return _with_scaled_limits(replace(graph, weights=weights), pair, factors)


def _with_scaled_limits(graph: Graph, pair: Pair, factors: FloatArray) -> Graph:
    """Scale the limits between a pair; the layer's own clip becomes a Minimum, so that each channel has its own."""
    scaled = {node.name for node in pair.between if isinstance(node.op, Minimum)}
    nodes: list[Node] = []
    tensors = dict(graph.tensors)
    for node in graph.nodes:
        if node.name in scaled and isinstance(node.op, Minimum):
            nodes.append(replace(node, op=_scaled(np.array(node.op.limits), factors)))
        elif node.name == pair.source.name and node.clip is not None and np.isfinite(node.clip[1]):
            inner = _fresh(f"{node.output}.unlimited", graph)
            tensors[inner] = tensors[node.output]
            minimum = _scaled(np.full(len(factors), node.clip[1]), factors)
            nodes.append(replace(node, clip=(node.clip[0], NO_LIMIT), output=inner))
            nodes.append(Node(_fresh(f"{node.name}.limits", graph), minimum, (inner,), node.output))
        else:
            nodes.append(node)
    return with_nodes(graph, tuple(nodes), tensors=tensors)


def _scaled(limits: FloatArray, factors: FloatArray) -> Minimum:
    return Minimum(limits=tuple(float(limit) for limit in (limits * factors).astype(np.float32)))


def _fresh(name: str, graph: Graph) -> str:
    """Return a name that no tensor and no node has."""
    taken = {*graph.tensors, *(node.name for node in graph.nodes)}
    while name in taken:
        name += "_"
    return name


def bounded(factors: FloatArray, dead: Array) -> FloatArray:
    """Return factors within LIMIT; 1 where a channel is dead on either side."""
    limited: FloatArray = np.where(dead, 1.0, np.clip(factors, 1 / LIMIT, LIMIT))
    return limited
