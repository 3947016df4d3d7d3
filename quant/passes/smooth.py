"""SmoothQuant: channels with large activations made smaller, at the expense of the next layer's weights."""

from __future__ import annotations

import numpy as np

from quant.formats import Array, FloatArray
from quant.graph import Graph
from quant.passes.scaling import bounded, find_pairs, rescale, sink_ranges

#: Share of the difficulty that moves from activations to weights.
ALPHA = 0.5
#: Images the activation maxima are taken from.
IMAGES = 64


def smooth(graph: Graph, inputs: Array, alpha: float = ALPHA) -> Graph:
    """Scale the channels between layers by c = r_sink^(1-alpha) / a^alpha, a the largest |activation| (2211.10438).

    Exact, as `equalise` is: across ReLU6 every channel gets its own limit, a Minimum behind the layer.

    Args:
        graph: a prepared float graph.
        inputs: calibration inputs, float32 [N, ...].
        alpha: between 0 (weights only) and 1 (activations only).
    """
    pairs = find_pairs(graph)
    largest = _channel_maxima(graph, [pair.tensor for pair in pairs], inputs[:IMAGES])
    for pair in pairs:
        top, sink = largest[pair.tensor], sink_ranges(graph, pair)
        dead = (top == 0) | (sink == 0)
        if dead.all():
            continue
        raw = np.divide(sink ** (1 - alpha), top**alpha, out=np.ones_like(sink), where=~dead)
        graph = rescale(graph, pair, bounded(raw / np.exp(np.log(raw[~dead]).mean()), dead))
    return graph


def _channel_maxima(graph: Graph, names: list[str], inputs: Array) -> dict[str, FloatArray]:
    """Return the largest |value| of every channel of the named activations, each [C]."""
    from quant.simulate import batches, forward, simulator

    sim = simulator(graph)
    found: dict[str, FloatArray] = {}
    for part in batches(inputs):
        values = forward(sim, part, names)
        for name in names:
            top = values[name].abs().transpose(0, 1).flatten(1).amax(1).double().numpy()
            found[name] = np.maximum(found[name], top) if name in found else top
    return found
