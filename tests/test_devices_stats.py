"""Statistics, against LoadGen's printed figures and plain definitions."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devices.errors import DeviceError
from devices.stats import autocorrelation, discardable, least_count, percentile, summarise


@pytest.mark.parametrize(("p", "n", "expected"), [(0.90, 59861, 5815), (0.90, 30001, 2879), (0.99, 10300, 79)])
def test_bound_equals_loadgen(p: float, n: int, expected: int) -> None:
    assert discardable(n, p) == expected
    samples = [float(i) for i in range(n)]
    assert percentile(samples, p).bound == n - expected


@pytest.mark.parametrize(
    ("confidence", "t", "expected"),
    [
        (0.99, 0, (7, 44, 90, 152, 459, 4603)),
        (0.99, 1, (11, 64, 130, 219, 662, 6636)),
        (0.95, 0, (5, 29, 59, 99, 299, 2995)),
        (0.95, 1, (8, 46, 93, None, 473, 4742)),
    ],
)
def test_least_counts(confidence: float, t: int, expected: tuple[int | None, ...]) -> None:
    for p, n in zip((0.5, 0.9, 0.95, 0.97, 0.99, 0.999), expected, strict=True):
        if n is not None:
            assert least_count(p, confidence, t) == n
            if t == 0:
                assert n == math.ceil(math.log(1 - confidence) / math.log(p))


@pytest.mark.parametrize("p", [0.5, 0.9, 0.99])
def test_too_few_samples_give_no_number(p: float) -> None:
    n_min = least_count(p)
    short = percentile([1.0] * (n_min - 1), p)
    assert (short.value, short.bound) == (None, None)
    assert short.text() == f"not enough samples: {n_min - 1} of {n_min}"
    enough = percentile([1.0] * n_min, p)
    assert (enough.value, enough.bound) == (1.0, 1.0)


def test_the_bound_never_lies_below_the_percentile() -> None:
    samples = [((i * 7919) % 1009) / 1000 for i in range(1009)]
    for p in (0.5, 0.9, 0.95, 0.99):
        found = percentile(samples, p)
        assert found.value is not None
        assert found.bound is not None
        assert found.value == sorted(samples)[int(1009 * p)]
        assert found.bound >= found.value


def test_percentile_text_converts_units() -> None:
    assert percentile([0.001] * 100, 0.9).text("ms", 1000.0) == "1 (at most 1) ms"


@pytest.mark.parametrize("p", [0.0, 1.0, -0.1, 90.0])
def test_percentile_out_of_range_is_an_error(p: float) -> None:
    with pytest.raises(DeviceError, match="between 0 and 1"):
        percentile([1.0], p)


def test_summary() -> None:
    found = summarise([3.0, 1.0, 2.0, 10.0])
    assert (found.n, found.median, found.mean, found.least, found.most, found.mad) == (4, 2.5, 4.0, 1.0, 10.0, 1.0)
    with pytest.raises(DeviceError, match="no samples"):
        summarise([])


@given(st.lists(st.floats(1e-6, 10.0), min_size=1, max_size=50))
def test_summary_is_ordered(samples: list[float]) -> None:
    found = summarise(samples)
    assert found.least <= found.median <= found.most
    assert found.least * (1 - 1e-12) <= found.mean <= found.most * (1 + 1e-12)


def test_autocorrelation() -> None:
    assert autocorrelation([1.0, 1.0, 1.0, 1.0]) == 0.0
    assert autocorrelation([1.0, 2.0]) == 0.0
    assert autocorrelation([float(i) for i in range(100)]) > 0.9
    assert autocorrelation([float(i % 2) for i in range(100)]) < -0.9
