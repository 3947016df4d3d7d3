"""Each doubt on a measurement made to deserve it, and none on a quiet one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from devices.doubts import doubts
from devices.measurement import Measurement
from tests.measurements import CONDITIONS, measurement, steady


def _names(found: Measurement) -> list[str]:
    return [doubt.name for doubt in doubts(found)]


def test_a_quiet_measurement_raises_none() -> None:
    assert _names(measurement()) == []


def test_too_few_samples() -> None:
    found = doubts(measurement(latency_s=steady(3, 21)))
    assert [d.name for d in found] == ["TOO_FEW_SAMPLES"]
    assert found[0].text.startswith("63 samples; a p90 needs 64.")
    assert _names(measurement(latency_s=steady(4, 16))) == []


@pytest.mark.parametrize(("ratio", "expected"), [(1.2, ["SLOW_FIRST_RUN"]), (1.05, [])])
def test_slow_first_run(ratio: float, expected: list[str]) -> None:
    first, *rest = steady(10)
    found = _names(measurement(latency_s=(tuple(s * ratio for s in first), *rest)))
    assert [name for name in found if name == "SLOW_FIRST_RUN"] == expected


def test_a_clock_too_coarse_for_the_part_raises_no_division() -> None:
    assert "SLOW_FIRST_RUN" not in _names(measurement(latency_s=tuple((0.0,) * 100 for _ in range(5))))


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, []), (2, ["OUTLIERS"])])
def test_outliers(count: int, expected: list[str]) -> None:
    windows = [list(window) for window in steady()]
    for index in range(count):
        windows[index][3] *= 5
    assert _names(measurement(latency_s=tuple(map(tuple, windows)))) == expected


@pytest.mark.parametrize(("load", "expected"), [(2.0, []), (2.1, ["LOADED_MACHINE"])])
def test_loaded_machine(load: float, expected: list[str]) -> None:
    assert _names(measurement(conditions=replace(CONDITIONS, load_before=load))) == expected


def test_correlated_samples() -> None:
    drift = tuple(tuple(1e-3 * (1 + 0.001 * (20 * w + s)) for s in range(20)) for w in range(5))
    assert "CORRELATED_SAMPLES" in _names(measurement(latency_s=drift))


def test_only_measured_time_is_doubted() -> None:
    short = steady(3, 2)
    assert "TOO_FEW_SAMPLES" in _names(measurement(latency_s=short))
    assert _names(measurement(latency_s=short, method="simulated")) == []
    assert _names(measurement(latency_s=None, cycles=(1,), warmup=None)) == []


def test_every_doubt_gives_advice() -> None:
    first, *rest = steady(3, 10)
    bad = measurement(latency_s=(tuple(s * 9 for s in first), *rest), conditions=replace(CONDITIONS, load_before=9.0))
    found = doubts(bad)
    assert {d.name for d in found} == {
        "TOO_FEW_SAMPLES",
        "SLOW_FIRST_RUN",
        "OUTLIERS",
        "LOADED_MACHINE",
        "CORRELATED_SAMPLES",
    }
    assert all(d.text.count(". ") >= 1 and d.text.endswith(".") for d in found)
