"""The gate's rules on made-up windows, where the true answer is known."""

from __future__ import annotations

import math
import random

import pytest

from devices.errors import DeviceError
from devices.gate import FAIL, INCONCLUSIVE, MOST_PAIRS, PASS, judge_counts, judge_pairs, judge_windows, worst


def _noisy(seed: int, count: int, spread: float, factor: float = 1.0) -> list[float]:
    draw = random.Random(seed)
    return [1e-3 * factor * math.exp(draw.gauss(0.0, spread)) for _ in range(count)]


def _verdicts(factor: float, spread: float, runs: int = 200, pairs: int = 20) -> list[str]:
    made = [(_noisy(2 * i, pairs, spread), _noisy(2 * i + 1, pairs, spread, factor)) for i in range(runs)]
    return [judge_pairs(old, new).verdict for old, new in made]


def test_equal_parts_hardly_ever_fail() -> None:
    assert _verdicts(1.0, 0.08).count(FAIL) <= 2
    assert _verdicts(1.0, 0.03).count(PASS) >= 195


def test_a_tenth_slower_is_caught() -> None:
    assert _verdicts(1.10, 0.02).count(FAIL) >= 190
    assert PASS not in _verdicts(1.10, 0.02)


def test_at_the_tolerance_neither_verdict_is_common() -> None:
    found = _verdicts(1.05, 0.03)
    assert found.count(FAIL) < 30  # one-sided 5 %
    assert found.count(PASS) < 30


def test_the_ratio_is_the_candidate_by_the_baseline() -> None:
    found = judge_pairs([1.0] * 6, [1.2] * 6)
    assert found.verdict == FAIL
    assert found.ratio.value == pytest.approx(1.2)
    assert found.ratio.low == pytest.approx(1.2) == found.ratio.high
    assert judge_pairs([1.2] * 6, [1.0] * 6).verdict == PASS
    assert judge_pairs([1.0] * 6, [1.2] * 6, tolerance=0.25).verdict == PASS


def test_the_tolerance_itself_passes() -> None:
    assert judge_pairs([1.0] * 6, [1.05] * 6).verdict == PASS
    assert judge_pairs([1.0] * 6, [1.0500001] * 6).verdict == FAIL


def test_too_few_pairs_decide_nothing() -> None:
    found = judge_pairs([1.0] * 4, [9.0] * 4)
    assert (found.verdict, found.more) == (INCONCLUSIVE, 5)


def test_the_advised_number_of_pairs_settles_it() -> None:
    base, other = _noisy(1, 10, 0.1), _noisy(2, 10, 0.1, 1.02)
    found = judge_pairs(base, other)
    assert found.verdict == INCONCLUSIVE
    assert found.more is not None
    assert 10 < found.more <= MOST_PAIRS
    settled = [judge_pairs(_noisy(3 + i, 4 * found.more, 0.1), _noisy(93 + i, 4 * found.more, 0.1)) for i in range(10)]
    assert [item.verdict for item in settled].count(PASS) >= 9


def test_pairs_cancel_a_drift_that_both_share() -> None:
    drift = [1.0 + 0.2 * i for i in range(20)]
    found = judge_pairs(drift, [value * 1.01 for value in drift])
    assert found.verdict == PASS
    assert found.ratio.high == pytest.approx(1.01)


@pytest.mark.parametrize(
    ("base", "other", "message"),
    [
        ([], [], "0 windows of the baseline"),
        ([1.0], [1.0, 2.0], "1 windows of the baseline and 2"),
        ([0.0] * 5, [1.0] * 5, "faster than the clock"),
    ],
)
def test_what_makes_no_pairs_is_refused(base: list[float], other: list[float], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        judge_pairs(base, other)


def test_counts_are_exact() -> None:
    assert judge_counts([1000, 2000], [1000, 2000]).verdict == PASS
    assert judge_counts([1000, 2000], [1000, 2001]).verdict == FAIL
    assert judge_counts([1000, 2000], [900, 2001]).verdict == FAIL  # the worst inference decides
    assert judge_counts([1000], [1010], tolerance=0.01).verdict == PASS
    assert judge_counts([1000], [1011], tolerance=0.01).verdict == FAIL
    assert judge_counts([10**15], [10**15 + 1]).verdict == FAIL
    for base, other in (([1], [1, 2]), ([], []), ([0], [1])):
        with pytest.raises(DeviceError, match="gate"):
            judge_counts(base, other)


@pytest.mark.parametrize("tolerance", [-0.01, 1.5, float("nan")])
def test_a_tolerance_is_a_share(tolerance: float) -> None:
    with pytest.raises(DeviceError, match="makes no sense"):
        judge_counts([1], [1], tolerance)
    with pytest.raises(DeviceError, match="makes no sense"):
        judge_pairs([1.0], [1.0], tolerance)


def test_one_failure_is_a_failure() -> None:
    assert worst([PASS, FAIL, INCONCLUSIVE]) == FAIL
    assert worst([PASS, INCONCLUSIVE]) == INCONCLUSIVE
    assert worst([PASS]) == PASS
    assert worst([]) == INCONCLUSIVE


def _windows(pairs: int, factor: float, late: float = 1.0) -> list[list[float]]:
    """Windows of ten samples, six of them `late` times as long, all of them `factor` times."""
    return [
        [factor * (1 + 0.001 * ((7 * p + s) % 5)) * (late if s > 3 else 1.0) for s in range(10)] for p in range(pairs)
    ]


def test_a_window_fails_by_its_minimum_or_its_median() -> None:
    calm = _windows(8, 1.0)
    assert judge_windows(calm, _windows(8, 1.01), 0.05).verdict == PASS
    every = judge_windows(calm, _windows(8, 1.2), 0.05)
    assert (every.verdict, every.figure) == (FAIL, "minimum")
    some = judge_windows(calm, _windows(8, 1.0, late=1.5), 0.05)
    assert (some.verdict, some.figure) == (FAIL, "median")
    assert judge_windows(calm, _windows(8, 1.0, late=1.5), 0.05, "minimum").verdict == PASS


def test_the_minimum_decides_where_the_median_is_noise() -> None:
    """Other programs make half of the samples late, in some windows of either side."""
    draw = random.Random(3)
    noisy = [[_windows(12, factor, 1.0)[p] for p in range(12)] for factor in (1.0, 1.0, 1.1)]
    for side in noisy:
        for window in side:
            late = draw.choice((1.0, 2.0, 3.0))
            window[2:] = [late * sample for sample in window[2:]]
    base, same, slow = noisy
    assert judge_windows(base, slow, 0.05, "median").verdict == INCONCLUSIVE
    assert judge_windows(base, slow, 0.05).verdict == FAIL
    assert judge_windows(base, same, 0.05).verdict == PASS
