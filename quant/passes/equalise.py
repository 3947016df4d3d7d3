"""Cross-layer equalisation: weights of neighbouring layers brought to like ranges, channel by channel."""

from __future__ import annotations

import numpy as np

from quant.graph import Graph
from quant.passes.scaling import bounded, find_pairs, rescale, sink_ranges, source_ranges

ITERATIONS = 20
#: Factors closer to 1 than this end the iteration.
TOLERANCE = 1e-3


def equalise(graph: Graph) -> Graph:
    """Scale the channels between layers by c = sqrt(r_sink / r_source), r the largest |weight| (arXiv 1906.04721).

    Repeated over all pairs until nothing moves. Exact, also across ReLU6: its limit becomes one per channel, a Minimum
    behind the layer, which every channel's factor scales too.
    """
    for _ in range(ITERATIONS):
        moved = 0.0
        for pair in find_pairs(graph):
            source, sink = source_ranges(graph, pair), sink_ranges(graph, pair)
            dead = (source == 0) | (sink == 0)
            factors = bounded(np.sqrt(np.divide(sink, source, out=np.ones_like(sink), where=~dead)), dead)
            graph = rescale(graph, pair, factors)
            moved = max(moved, float(np.abs(np.log(factors)).max()))
        if moved < TOLERANCE:
            break
    return graph
