"""Take the weights of dead channels out of a float graph."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import torch

from quant.diagnosis.damage import batch_size
from quant.formats import Array
from quant.graph import Graph, Node
from quant.operators import Conv, Gemm
from quant.simulate import batches, forward, simulator


def without_dead_weights(graph: Graph, layers: Collection[str], inputs: Array) -> Graph:
    """Set the weights of channels that are constant on these inputs to 0, and their bias to that constant.

    Args:
        graph: a float graph.
        layers: names of the Conv and Gemm nodes to look at.
        inputs: calibration inputs, float32 [N, ...].

    Returns:
        A graph that gives the same outputs for these inputs; the graph itself when there is nothing to do.
    """
    chosen = [node for node in graph.nodes if node.name in layers and isinstance(node.op, Conv | Gemm)]
    constants = _constants(graph, chosen, inputs)
    weights = dict(graph.weights)
    for node in chosen:
        low, high = constants[node.output]
        dead = low == high
        weight, bias = (weights[name].copy() for name in node.inputs[1:])
        if not (dead & (np.abs(weight.reshape(len(weight), -1)).max(axis=1) > 0)).any():
            continue
        weight[dead], bias[dead] = 0.0, low[dead]
        weights[node.inputs[1]], weights[node.inputs[2]] = weight, bias
    return graph if all(weights[name] is graph.weights[name] for name in weights) else replace(graph, weights=weights)


def _constants(graph: Graph, nodes: list[Node], inputs: Array) -> dict[str, tuple[Array, Array]]:
    """Return smallest and largest value per channel of what nodes make."""
    sim, names = simulator(graph), [node.output for node in nodes]
    found: dict[str, list[torch.Tensor]] = {name: [] for name in names}
    for x in batches(inputs, batch_size(graph)):
        values = forward(sim, x, keep=names)
        for name in names:
            flat = values[name].reshape(len(x), values[name].shape[1], -1)
            found[name].append(torch.stack([flat.amin((0, 2)), flat.amax((0, 2))]))
    stacked = {name: torch.stack(parts) for name, parts in found.items()}
    return {name: (p[:, 0].amin(0).numpy(), p[:, 1].amax(0).numpy()) for name, p in stacked.items()}
