"""Whether calibration inputs look like what the float network was trained on: its batch norms remember it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from quant import operators as ops
from quant.diagnosis.damage import batch_size
from quant.formats import Array
from quant.graph import Graph, Node
from quant.simulate import batches, forward, simulator


def drift_of(raw: Graph, inputs: Array) -> dict[str, float]:
    """Return how far the first batch norm's input is from its training statistics; empty without a batch norm.

    `shift` is the root mean square over channels of (measured mean - mean) / deviation, `gain` the median over
    channels of measured / trained standard deviation.

    Args:
        raw: the float graph before its batch norms are folded.
        inputs: float32 [N, ...].
    """
    norm = next((node for node in raw.nodes if isinstance(node.op, ops.BatchNorm)), None)
    if norm is None:
        return {}
    mean, deviation = statistics(raw, norm, inputs)
    trained, variance = (raw.weights[name].astype(np.float64) for name in norm.inputs[3:])
    assert isinstance(norm.op, ops.BatchNorm)
    spread = np.sqrt(np.maximum(variance, 0) + norm.op.epsilon)
    return {
        "shift": float(np.sqrt(np.mean(((mean - trained) / spread) ** 2))),
        "gain": float(np.median(deviation / spread)),
    }


def statistics(raw: Graph, norm: Node, inputs: Array) -> tuple[Array, Array]:
    """Return mean and standard deviation [C] of what a batch norm reads."""
    head = raw.nodes[: raw.nodes.index(norm)]
    short = Graph(raw.name, raw.input, norm.inputs[0], head, raw.tensors, raw.weights)
    counts, firsts, seconds = zip(*(_sums(values) for values in _outputs(short, inputs)), strict=True)
    mean: Array = np.sum(firsts, axis=0) / sum(counts)
    return mean, np.sqrt(np.maximum(np.sum(seconds, axis=0) / sum(counts) - mean**2, 0))


def _outputs(graph: Graph, inputs: Array) -> Iterator[torch.Tensor]:
    sim = simulator(graph)
    return (forward(sim, x)[graph.output] for x in batches(inputs, batch_size(graph)))


def _sums(values: torch.Tensor) -> tuple[int, Array, Array]:
    """Return the number of values a channel, their sums and sums of squares [C]."""
    wide = values.double().reshape(len(values), values.shape[1], -1)
    return wide.shape[0] * wide.shape[2], wide.sum((0, 2)).numpy(), wide.square().sum((0, 2)).numpy()
