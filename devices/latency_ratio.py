"""Is a latency the same, faster or slower? A ratio with a bootstrap interval, from the medians of windows.

Windows are the unit: samples within a window are correlated. Two runs are not interleaved, so that a drift of the
machine between them looks like a change; the tolerance absorbs small drifts, and doubts about either run are listed.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from devices.measurement import Measurement
from quant.formats import FloatArray

#: Latencies closer than this share count as the same.
TOLERANCE = 0.05
CONFIDENCE = 0.95
RESAMPLES = 2000
SEED = 0
#: With fewer windows not even the least and the most of them hold the true median with 93 % confidence: 1 - 2 / 2^n.
LEAST_WINDOWS = 5


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median latency of the other run by that of the base, and the bounds of its interval."""

    value: float
    low: float
    high: float


def window_medians(measurement: Measurement) -> tuple[float, ...]:
    """Return the median latency of every window in seconds for each inference of a query."""
    size = measurement.samples_per_query
    return tuple(statistics.median(window) / size for window in measurement.latency_s or ())


def latency_ratio(base: tuple[float, ...], other: tuple[float, ...]) -> Ratio:
    """Return median(other) / median(base) with a percentile bootstrap interval.

    Args:
        base: window medians of the base run in seconds, all positive.
        other: those of the other run.
    """
    draw = np.random.default_rng(SEED)
    ratios = _resampled(draw, other) / _resampled(draw, base)
    outside = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(ratios, (outside, 100 - outside))
    return Ratio(statistics.median(other) / statistics.median(base), float(low), float(high))


def _resampled(draw: np.random.Generator, medians: tuple[float, ...]) -> FloatArray:
    picked = draw.integers(len(medians), size=(RESAMPLES, len(medians)))
    found: FloatArray = np.median(np.asarray(medians)[picked], axis=1)
    return found


def verdict(ratio: Ratio, windows: int) -> str:
    """Return `same`, `faster`, `slower` or `inconclusive`.

    Args:
        ratio: other by base.
        windows: of the run that has fewer.
    """
    least, most = 1 / (1 + TOLERANCE), 1 + TOLERANCE
    if windows < LEAST_WINDOWS:
        return "inconclusive"
    if ratio.low > most:
        return "slower"
    if ratio.high < least:
        return "faster"
    return "same" if least <= ratio.low and ratio.high <= most else "inconclusive"
