"""SmoothQuant: channels with large activations made smaller, at the expense of the next layer's weights."""

from __future__ import annotations

import numpy as np

from quant.formats import Array, FloatArray
from quant.graph import Graph
from quant.passes.scaling import Pair, bounded, find_pairs, rescale, sink_ranges

#: Share of the difficulty that moves from activations to weights.
ALPHA = 0.5
#: How far beyond its calibration maximum a channel may go before an upper clip would act on it.
HEADROOM = 2.0
#: Images the activation maxima are taken from.
IMAGES = 64


def smooth(graph: Graph, inputs: Array, alpha: float = ALPHA) -> Graph:
    """Scale the channels between layers by c = r_sink^(1-alpha) / a^alpha, a the largest |activation| (2211.10438).

    Exact across Relu or no activation. Across an upper clip (ReLU6), which is one number for all channels, a channel is
    scaled only when its maximum a stays below clip / HEADROOM on `inputs`, and only so far that c a does. Then the
    function is the same for every input that takes such a channel to no more than HEADROOM times its maximum here;
    all other channels keep their clip as it is.

    Args:
        graph: a prepared float graph.
        inputs: calibration inputs, float32 [N, ...].
        alpha: between 0 (weights only) and 1 (activations only).
    """
    pairs = find_pairs(graph)
    largest = _channel_maxima(graph, [pair.source.output for pair in pairs], inputs[:IMAGES])
    for pair in pairs:
        top, sink = largest[pair.source.output], sink_ranges(graph, pair)
        dead = (top == 0) | (sink == 0)
        raw = np.divide(sink ** (1 - alpha), top**alpha, out=np.ones_like(sink), where=~dead)
        graph = rescale(graph, pair, _allowed(pair, bounded(raw / np.exp(np.log(raw[~dead]).mean()), dead), top))
    return graph


def _allowed(pair: Pair, factors: FloatArray, top: FloatArray) -> FloatArray:
    """Keep an upper clip out of the way of scaled channels, and as it is for channels that reach it."""
    if not np.isfinite(pair.limit):
        return factors
    room = pair.limit / HEADROOM
    below: FloatArray = np.where(top >= room, 1.0, np.minimum(factors, room / np.maximum(top, 1e-12)))
    return below


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
