"""Pairs of layers whose channels between them can be scaled without changing the function.

Multiply channel c of a layer's output by f_c and divide the next layer's weights for that channel by it: between the
two stand only operators with g(f x) = f g(x) for f > 0 (Relu, pooling, means).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quant.formats import Array, FloatArray
from quant.graph import Graph, Node
from quant.operators import AveragePool, Conv, Gemm, MaxPool, Mean

#: Operators that let a positive factor through, channel by channel.
HOMOGENEOUS = (MaxPool, AveragePool, Mean)
#: Factors are kept within this range of 1: beyond it a dead channel would be blown up to noise.
LIMIT = 256.0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two layers joined by a tensor nothing else reads; `limit` is the upper clip in between, infinite for Relu."""

    source: Node
    sink: Node
    limit: float


def find_pairs(graph: Graph) -> tuple[Pair, ...]:
    """Return every pair of a float graph, in execution order."""
    return tuple(
        Pair(node, sink, np.inf if node.clip is None else node.clip[1])
        for node in graph.nodes
        if isinstance(node.op, Conv | Gemm) and _scalable_clip(node) and (sink := _sink(graph, node.output)) is not None
    )


def _scalable_clip(node: Node) -> bool:
    return node.clip is None or (node.clip[0] == 0.0 and node.clip[1] > 0.0)


def _sink(graph: Graph, tensor: str) -> Node | None:
    readers = graph.consumers(tensor)
    if tensor == graph.output or len(readers) != 1:
        return None
    if isinstance(readers[0].op, HOMOGENEOUS):
        return _sink(graph, readers[0].output)
    return readers[0] if isinstance(readers[0].op, Conv | Gemm) else None


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
    """Multiply the channels between a pair by `factors` [C]; the function stays."""
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
    return replace(graph, weights=weights)


def bounded(factors: FloatArray, dead: Array) -> FloatArray:
    """Return factors within LIMIT; 1 where a channel is dead on either side."""
    limited: FloatArray = np.where(dead, 1.0, np.clip(factors, 1 / LIMIT, LIMIT))
    return limited
