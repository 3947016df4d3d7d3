"""Did it get slower? A verdict with a stated tolerance: pass, fail, or inconclusive with what would settle it.

Latencies: windows of baseline and candidate that took turns on one device make pairs. One figure per window, the log of
its ratio for each pair, and a bootstrap of the median of these logs. A window has two figures: its minimum, which other
programs disturb least, and its median, which sees what only some inferences suffer. When one of them fails the gate
fails; else the minimum decides. How often this rule is wrong is measured: `benchmarks/results/gate.md`.

fail          the one-sided 95 % lower bound of the median ratio is above 1 + tolerance
pass          its upper bound is not
inconclusive  neither

Counts of instructions and cycles repeat, so they are compared as they are: above 1 + tolerance fails.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from devices.errors import DeviceError
from devices.latency_ratio import CONFIDENCE, SEED, Ratio
from quant.formats import FloatArray

PASS, FAIL, INCONCLUSIVE = "pass", "fail", "inconclusive"
#: Latencies up to this share above the baseline pass.
TOLERANCE = 0.05
RESAMPLES = 1000
#: With fewer pairs the bounds are the least and the most of them, whatever the confidence.
LEAST_PAIRS = 5
#: Logarithms of equal ratios differ by their rounding.
_ROUNDING = 1e-12
#: No advice to take more pairs than this: the ratio lies too close to the tolerance.
MOST_PAIRS = 10_000


@dataclass(frozen=True, slots=True)
class Judged:
    """What the gate says of one figure; `ratio` is other / base, its bounds one-sided with 95 % confidence each.

    `pairs` is 0 and low = value = high for counts. `more` is the number of pairs that would settle an inconclusive
    verdict if the spread stays what it is; None where no number would, or none is needed. `figure` is what stood for
    a window, empty for counts.
    """

    verdict: str
    ratio: Ratio
    tolerance: float
    pairs: int
    more: int | None
    figure: str = ""


def least(window: Sequence[float]) -> float:
    """Return the quickest sample of a window, which other programs disturb least."""
    return min(window)


#: One figure for a window.
STATISTICS: Mapping[str, Callable[[Sequence[float]], float]] = {"minimum": least, "median": statistics.median}
BOTH = "both"


def judge_windows(
    base: Sequence[Sequence[float]], other: Sequence[Sequence[float]], tolerance: float, statistic: str = BOTH
) -> Judged:
    """Judge windows that took turns.

    Args:
        base: samples of each window of the baseline, in the order they were taken.
        other: of the candidate.
        tolerance: share above the baseline that is still fine.
        statistic: a name of STATISTICS, or BOTH.

    Raises:
        DeviceError: as `judge_pairs`.
    """
    names = tuple(STATISTICS) if statistic == BOTH else (statistic,)
    found = []
    for name in names:
        figure = STATISTICS[name]
        judged = judge_pairs([figure(window) for window in base], [figure(window) for window in other], tolerance)
        found.append(replace(judged, figure=name))
    return next((judged for judged in found if judged.verdict == FAIL), found[0])


def judge_pairs(base: Sequence[float], other: Sequence[float], tolerance: float = TOLERANCE) -> Judged:
    """Judge pairs of figures, one of each window, in the order they were taken.

    Args:
        base: of the baseline's windows, all above 0, any unit.
        other: of the candidate's windows, in the same unit.
        tolerance: share above the baseline that is still fine.

    Raises:
        DeviceError: the numbers of windows differ, there is none, or a figure is not above 0.
    """
    _check(base, other, tolerance)
    logs = np.log(np.asarray(other) / np.asarray(base))
    low, high = (float(np.quantile(_medians(logs), q)) for q in (1 - CONFIDENCE, CONFIDENCE))
    middle, limit = float(np.median(logs)), math.log1p(tolerance)
    verdict = FAIL if low > limit + _ROUNDING else PASS if high <= limit + _ROUNDING else INCONCLUSIVE
    more = None
    if len(logs) < LEAST_PAIRS:
        verdict, more = INCONCLUSIVE, LEAST_PAIRS
    elif verdict == INCONCLUSIVE:
        more = _pairs_needed(len(logs), middle - limit, high - low)
    return Judged(verdict, Ratio(math.exp(middle), math.exp(low), math.exp(high)), tolerance, len(logs), more)


def _check(base: Sequence[float], other: Sequence[float], tolerance: float) -> None:
    if len(base) != len(other) or not base:
        raise DeviceError(f"gate: {len(base)} windows of the baseline and {len(other)} of the other make no pairs.")
    if not min(*base, *other) > 0:
        raise DeviceError("gate: a window's latency is 0: faster than the clock can see. Nothing can be judged.")
    check_tolerance(tolerance)


def check_tolerance(tolerance: float) -> None:
    """Raise DeviceError unless a tolerance is a share from 0 up to 1."""
    if not 0 <= tolerance <= 1:
        raise DeviceError(f"gate: a tolerance of {tolerance:.0%} makes no sense; it is a share from 0 % to 100 %.")


def _medians(logs: FloatArray) -> FloatArray:
    """Return the medians of resampled logs."""
    picked = np.random.default_rng(SEED).integers(len(logs), size=(RESAMPLES, len(logs)))
    found: FloatArray = np.median(logs[picked], axis=1)
    return found


def _pairs_needed(pairs: int, distance: float, width: float) -> int | None:
    """Return how many pairs bring half of the interval's width below the distance; it shrinks with their root."""
    if abs(distance) <= _ROUNDING:
        return None
    needed = math.ceil(pairs * (width / 2 / abs(distance)) ** 2)
    return max(needed, pairs + 1) if needed <= MOST_PAIRS else None


def judge_counts(base: Sequence[int], other: Sequence[int], tolerance: float = 0.0) -> Judged:
    """Judge counts of the same inferences, exactly: the worst of their ratios decides.

    Raises:
        DeviceError: there are other numbers of inferences, or a count of the baseline is 0.
    """
    if len(base) != len(other) or not base:
        raise DeviceError(f"gate: counts of {len(base)} and {len(other)} inferences cannot be compared.")
    if not min(base) > 0:
        raise DeviceError("gate: a count of the baseline is 0; nothing can be judged.")
    check_tolerance(tolerance)
    # Integers: a tolerance of 0 fails at one instruction more, whatever a float can hold.
    above = any(new > old and new - old > tolerance * old for old, new in zip(base, other, strict=True))
    worst = max(new / old for old, new in zip(base, other, strict=True))
    return Judged(FAIL if above else PASS, Ratio(worst, worst, worst), tolerance, 0, None)


def worst(verdicts: Sequence[str]) -> str:
    """Return the verdict of several figures together; without any it is inconclusive."""
    for verdict in (FAIL, INCONCLUSIVE):
        if verdict in verdicts:
            return verdict
    return PASS if verdicts else INCONCLUSIVE
