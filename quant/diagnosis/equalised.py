"""Channels that were scaled between layers before quantisation: the float graph is scaled alike, so that both compare.

Equalisation and smoothing multiply a layer's output channels by factors and divide the next layer's weights by them.
The function stays, but weights and activations of the quantised file are no longer those of the float model.
"""

from __future__ import annotations

import numpy as np

from quant.diagnosis.pair import Pair, decoded_weight, match_graphs
from quant.formats import FloatArray
from quant.passes.scaling import find_pairs, rescale

#: Scaling is believed when a channel moved by this factor, and undoing it takes away most of the weights' difference.
MOVED, EXPLAINED = 1.25, 0.25


def scaled_alike(pair: Pair) -> tuple[Pair, tuple[str, ...]]:
    """Return the pair with its float graph scaled as the quantised one, and the layers behind which that was done."""
    graph, layers = pair.floating, []
    for between in find_pairs(graph):
        first = pair.find(between.source.name)
        if first is None or pair.find(between.sink.name) is None:
            continue
        weight = decoded_weight(pair.quantised, first.main)
        factors = _factors(graph.weights[between.source.inputs[1]], weight)
        if factors is not None:
            graph = rescale(graph, between, factors)
            layers.append(between.source.name)
    # Scaled limits are nodes of their own (Minimum), so nodes are matched anew.
    return (match_graphs(graph, pair.quantised), tuple(layers)) if layers else (pair, ())


def _factors(real: FloatArray, found: FloatArray) -> FloatArray | None:
    """Return one factor per output channel that explains how weights differ; None when nothing was scaled."""
    a, b = (w.reshape(len(w), -1).astype(np.float64) for w in (real, found))
    energy = np.square(a).sum(axis=1)
    factors = np.divide((a * b).sum(axis=1), energy, out=np.ones(len(a)), where=energy > 0)
    factors = np.where(factors > 0, factors, 1.0)
    if np.abs(np.log(factors)).max() < np.log(MOVED):
        return None
    relative = np.where(energy > 0, energy, 1.0)
    before, after = ((np.square(b - f[:, None] * a).sum(axis=1) / relative).sum() for f in (np.ones(len(a)), factors))
    return factors if after < EXPLAINED * before else None
