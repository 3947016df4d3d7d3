"""Statistics of raw samples, computed when asked: median, spread, and percentiles that carry a confidence bound.

The bound is that of MLPerf LoadGen's early stopping. Of n independent latencies, the number above the true p-quantile
is Bin(n, 1 - p). With t* the largest t for which P[Bin(n, 1 - p) <= t] <= 1 - c, the t*-th largest latency is an
upper bound of the p-quantile with confidence c. It is optimistic where samples are correlated (`autocorrelation`).
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from devices.errors import DeviceError

CONFIDENCE = 0.99
#: Terms of the binomial sum below this part of it cannot change the comparison.
_NEGLIGIBLE = 1e-18


@dataclass(frozen=True, slots=True)
class Percentile:
    """The `p`-quantile of `n` samples and its upper bound, both None when `n` is below `n_min`."""

    p: float
    n: int
    n_min: int
    value: float | None
    bound: float | None

    def text(self, unit: str = "", factor: float = 1.0) -> str:
        """Say the percentile with its bound, or that there are not enough samples; `factor` converts to `unit`."""
        if self.value is None or self.bound is None:
            return f"not enough samples: {self.n} of {self.n_min}"
        return f"{self.value * factor:.4g} (at most {self.bound * factor:.4g}) {unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Summary:
    """Plain statistics of samples in the samples' unit; `mad` is the median absolute deviation."""

    n: int
    median: float
    mean: float
    least: float
    most: float
    mad: float


def summarise(samples: Sequence[float]) -> Summary:
    """Return the statistics of at least one sample.

    Raises:
        DeviceError: there is no sample.
    """
    if not samples:
        raise DeviceError("there are no samples to summarise.")
    middle = statistics.median(samples)
    mad = statistics.median(abs(s - middle) for s in samples)
    return Summary(len(samples), middle, math.fsum(samples) / len(samples), min(samples), max(samples), mad)


def percentile(samples: Sequence[float], p: float, confidence: float = CONFIDENCE) -> Percentile:
    """Return a percentile as LoadGen defines it (the sample at index floor(n * p)) with its bound.

    Args:
        samples: values in any order and unit.
        p: the quantile, 0 < p < 1.
        confidence: with which the bound holds.

    Raises:
        DeviceError: `p` or `confidence` is not between 0 and 1.
    """
    _check_open("percentile", p)
    _check_open("confidence", confidence)
    n, n_min = len(samples), least_count(p, confidence)
    if n < n_min:
        return Percentile(p, n, n_min, None, None)
    ordered = sorted(samples)
    return Percentile(p, n, n_min, ordered[int(n * p)], ordered[n - discardable(n, p, confidence)])


def least_count(p: float, confidence: float = CONFIDENCE, t: int = 1) -> int:
    """Return the smallest n that allows a bound: P[Bin(n, 1 - p) <= t] <= 1 - confidence. LoadGen needs t = 1."""
    low, high = t, t + 1
    while _at_most(high, p, t) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if _at_most(middle, p, t) <= 1 - confidence:
            high = middle
        else:
            low = middle
    return high


def discardable(n: int, p: float, confidence: float = CONFIDENCE) -> int:
    """Return t*, the largest t with P[Bin(n, 1 - p) <= t] <= 1 - confidence; -1 when there is none."""
    low, high = -1, int(n * (1 - p)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if _at_most(n, p, middle) <= 1 - confidence:
            low = middle
        else:
            high = middle
    return low


def _at_most(n: int, p: float, t: int) -> float:
    """P[Bin(n, 1 - p) <= t], summed downwards from t."""
    if t >= n:
        return 1.0
    log_p, log_q = math.log(p), math.log1p(-p)
    total = 0.0
    for k in range(t, -1, -1):
        choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
        term = math.exp(choose + k * log_q + (n - k) * log_p)
        total += term
        if term < _NEGLIGIBLE * total:
            break
    return total


def autocorrelation(samples: Sequence[float]) -> float:
    """Return the lag-1 autocorrelation, 0 for fewer than three samples or constant ones."""
    if len(samples) < 3:
        return 0.0
    mean = math.fsum(samples) / len(samples)
    centred = [s - mean for s in samples]
    variance = math.fsum(c * c for c in centred)
    if variance == 0.0:
        return 0.0
    return math.fsum(a * b for a, b in itertools.pairwise(centred)) / variance


def _check_open(what: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise DeviceError(f"a {what} lies between 0 and 1, not at {value}.")
