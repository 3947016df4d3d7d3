"""Logits moved by one constant, so that those which decide lie where a minifloat is finest."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant.formats import Array, IntArray
from quant.graph import Graph, Node
from quant.operators import Conv, Gemm

#: Share of the images, those with the least margin, that say where decisions fall.
CLOSE_SHARE = 0.1


def centre(graph: Graph, inputs: Array) -> Graph:
    """Take a constant off the last layer's bias, the same for every class.

    Neither the label nor softmax's probabilities change. The steps of a minifloat grow with the value, so logits near
    zero are told apart best; those of the two leading classes of close decisions are brought there.

    Args:
        graph: a float graph. One whose output is no layer [1, classes] without a clip comes back as it is.
        inputs: calibration inputs, float32 [N, ...].
    """
    layer = deciding_layer(graph)
    if layer is None:
        return graph
    from quant.simulate import simulate

    bias = layer.inputs[2]
    moved = (graph.weights[bias] - deciding_level(simulate(graph, inputs))).astype(np.float32)
    return replace(graph, weights={**graph.weights, bias: moved})


def deciding_layer(graph: Graph) -> Node | None:
    """Return the layer that makes the logits, when nothing is fused behind it and nothing else uses its bias."""
    layer = graph.producer(graph.output)
    if layer is None or not isinstance(layer.op, Conv | Gemm) or layer.clip is not None:
        return None
    alone = len(graph.consumers(layer.inputs[2])) == 1
    return layer if alone and len(graph.shape(graph.output)) == 2 and graph.shape(graph.output)[1] > 1 else None


def deciding_level(logits: Array) -> float:
    """Return the median of the two largest logits [N, C] of close decisions."""
    return float(np.median(np.sort(logits, axis=1)[close_images(logits), -2:]))


def close_images(logits: Array) -> IntArray:
    """Return the indices of the images whose two largest logits [N, C] differ least: a tenth of them, at least one."""
    leading = np.sort(logits, axis=1)[:, -2:]
    order: IntArray = np.argsort(leading[:, 1] - leading[:, 0], kind="stable")
    return order[: max(1, round(len(logits) * CLOSE_SHARE))]
