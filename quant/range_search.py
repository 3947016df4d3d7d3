"""Activation ranges that fit a format: clip the tails where the finer grid inside gains more than they cost.

A histogram of each activation is taken once; then any number of formats and criteria are tried on it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from quant.formats import Array, FloatArray, Format
from quant.graph import Graph
from quant.ranges import Ranges, minima_and_maxima, with_zero
from quant.rounding import quantise

BINS = 2048
#: Shares of the full range that are tried as its ends.
RATIOS = tuple(float(r) for r in np.geomspace(1.0, 0.05, 60))
Criterion = Callable[[FloatArray, FloatArray, FloatArray], float]


@dataclass(frozen=True, eq=False)
class Histogram:
    """Counts of an activation's values in equal bins from `low` to `high`; values of exactly 0 are left out.

    Zero is on every grid, so it costs nothing; after a Relu it would hide everything else.
    """

    low: float
    high: float
    counts: FloatArray

    @property
    def centres(self) -> FloatArray:
        """The middle of each bin."""
        edges = np.linspace(self.low, self.high, len(self.counts) + 1)
        middle: FloatArray = (edges[:-1] + edges[1:]) / 2
        return middle


def collect_histograms(graph: Graph, inputs: Array) -> dict[str, Histogram]:
    """Return the histogram of every activation of a prepared float graph.

    Args:
        graph: a float graph.
        inputs: checked calibration inputs, float32 [N, ...].
    """
    import torch

    from quant.simulate import batches, forward, simulator

    limits = {name: with_zero(*limit) for name, limit in minima_and_maxima(graph, inputs).items()}
    sim, names = simulator(graph), graph.activations()
    counts = {name: torch.zeros(BINS, dtype=torch.float64) for name in names}
    for part in batches(inputs):
        for name, value in forward(sim, part, names).items():
            low, high = limits[name]
            # The limits come from another runtime, whose last digits differ: without clamping the ends would be lost.
            counts[name] += torch.histc(value.clamp(low, high), BINS, low, high)
            zero = min(int(-low / (high - low) * BINS), BINS - 1)
            counts[name][zero] -= float((value == 0).sum())
    return {name: Histogram(*limits[name], counts[name].clamp_min(0).numpy()) for name in names}


def fitted_ranges(
    histograms: Mapping[str, Histogram], formats: Mapping[str, Format], criterion: str, *, symmetric: bool
) -> Ranges:
    """Return the range of every activation that loses least on its own format's grid.

    Args:
        histograms: from `collect_histograms`.
        formats: of every activation.
        criterion: `mse` (mean squared error) or `kl` (divergence of the rounded from the real distribution).
        symmetric: whether integer scales are symmetric around 0.
    """
    loss = _squared_error if criterion == "mse" else _divergence
    return {name: _fit(found, formats[name], loss, symmetric) for name, found in histograms.items()}


def _fit(found: Histogram, fmt: Format, loss: Criterion, symmetric: bool) -> tuple[float, float]:
    """Shrink both ends together, then each end alone."""
    if not found.counts.any():
        return found.low, found.high

    def cost(low: float, high: float) -> float:
        return loss(found.centres, _rounded(found.centres, fmt, low, high, symmetric), found.counts)

    _, both = min((cost(found.low * r, found.high * r), -r) for r in RATIOS)
    low, high = found.low * -both, found.high * -both
    if low < 0 < high and not (symmetric or fmt.is_minifloat):
        _, high = min((cost(low, found.high * r), found.high * r) for r in RATIOS)
        _, low = min((cost(found.low * r, high), found.low * r) for r in RATIOS)
    return low, high


def _rounded(values: FloatArray, fmt: Format, low: float, high: float, symmetric: bool) -> FloatArray:
    """Return values as a format whose scale covers [low, high] represents them."""
    if fmt.is_minifloat or symmetric:
        scale = max(-low, high) / fmt.max
        return quantise(fmt, values / scale) * scale
    scale = (high - low) / (fmt.max_ordinal - fmt.min_ordinal)
    zero = np.rint(fmt.min_ordinal - low / scale)
    codes: FloatArray = np.clip(np.rint(values / scale) + zero, fmt.min_ordinal, fmt.max_ordinal)
    rounded: FloatArray = (codes - zero) * scale
    return rounded


def _squared_error(values: FloatArray, rounded: FloatArray, counts: FloatArray) -> float:
    return float((np.square(values - rounded) * counts).sum())


def _divergence(values: FloatArray, rounded: FloatArray, counts: FloatArray) -> float:
    """Kullback-Leibler divergence of what rounding leaves from what the range holds.

    The reference distribution is the part inside the range, with what lies outside added to its outermost bins; the
    candidate spreads each level's probability evenly over its bins, without what lies outside. So clipping costs as
    much as it piles up at the ends (the calibration of TensorRT, on any grid).
    """
    low, high = rounded.min(), rounded.max()
    inside = np.flatnonzero((values >= low) & (values <= high))
    if inside.size == 0:
        return np.inf
    held = counts[inside]
    wanted = held.copy()
    wanted[0] += counts[: inside[0]].sum()
    wanted[-1] += counts[inside[-1] + 1 :].sum()
    _, level = np.unique(rounded[inside], return_inverse=True)
    used = held > 0
    bins = np.bincount(level[used], minlength=level.max() + 1)
    total = np.bincount(level, weights=held)
    spread = np.where(used, (total / np.maximum(bins, 1))[level], 0.0)
    # A bin that only what was clipped fills has no counterpart: a thousandth of an event keeps the logarithm finite.
    p, q = wanted / wanted.sum(), np.maximum(spread, 1e-3) / max(spread.sum(), 1e-3)
    kept = p > 0
    return float((p[kept] * np.log(p[kept] / q[kept])).sum())
