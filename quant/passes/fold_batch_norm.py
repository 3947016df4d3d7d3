"""Fold batch norm into the layer before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph, Node, Tensor, with_nodes
from quant.operators import BatchNorm, Conv, Gemm


def fold_batch_norm(graph: Graph) -> Graph:
    """Replace every BatchNorm.

    y = (x - mean) / sqrt(variance + epsilon) * gamma + beta is an affine map per channel: behind a Conv or Gemm that
    nothing else reads it goes into weights and bias, elsewhere it becomes a depthwise 1x1 convolution (for vectors, a
    diagonal fully connected layer). The function is unchanged up to float rounding (computed in float64).

    Raises:
        QuantError: a variance is negative.
    """
    nodes: list[Node] = []
    weights, tensors = dict(graph.weights), dict(graph.tensors)
    for node in graph.nodes:
        if not isinstance(node.op, BatchNorm):
            nodes.append(node)
            continue
        scale, offset = _affine(node, node.op, weights)
        before = next((n for n in nodes if n.output == node.inputs[0]), None)
        if before is not None and _foldable(graph, before):
            _scale_layer(weights, before, scale, offset)
            nodes[nodes.index(before)] = replace(before, output=node.output)
        else:
            nodes.append(_alone(node, weights, tensors, scale, offset))
    return with_nodes(graph, tuple(nodes), tensors=tensors, weights=weights)


def _affine(node: Node, op: BatchNorm, weights: dict[str, Array]) -> tuple[Array, Array]:
    gamma, beta, mean, variance = (weights[name].astype(np.float64) for name in node.inputs[1:])
    if (variance + op.epsilon <= 0).any():
        raise QuantError(f"node '{node.name}' (BatchNorm): variance plus epsilon must be positive; train again.")
    scale = gamma / np.sqrt(variance + op.epsilon)
    return scale, beta - mean * scale


def _foldable(graph: Graph, node: Node) -> bool:
    alone = len(graph.consumers(node.output)) == 1 and node.output != graph.output
    return isinstance(node.op, Conv | Gemm) and node.clip is None and alone


def _scale_layer(weights: dict[str, Array], layer: Node, scale: Array, offset: Array) -> None:
    weight, bias = weights[layer.inputs[1]].astype(np.float64), weights[layer.inputs[2]].astype(np.float64)
    shape = (-1, *(1 for _ in weight.shape[1:]))
    weights[layer.inputs[1]] = (weight * scale.reshape(shape)).astype(np.float32)
    weights[layer.inputs[2]] = (bias * scale + offset).astype(np.float32)


def _alone(node: Node, weights: dict[str, Array], tensors: dict[str, Tensor], scale: Array, offset: Array) -> Node:
    image = len(tensors[node.inputs[0]].shape) == 4
    names = (f"{node.name}.weight", f"{node.name}.bias")
    weights[names[0]] = (scale.reshape(-1, 1, 1, 1) if image else np.diag(scale)).astype(np.float32)
    weights[names[1]] = offset.astype(np.float32)
    for name in names:
        tensors[name] = Tensor(weights[name].shape)
    return Node(node.name, Conv(groups=scale.size) if image else Gemm(), (node.inputs[0], *names), node.output)
