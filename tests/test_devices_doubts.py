"""Each doubt on a measurement made to deserve it, and none on a quiet one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from devices.doubts import doubts
from devices.measurement import LoadgenVerdict, Measurement
from devices.meters.energy import energy_of
from devices.meters.trace import Trace
from devices.meters.uncertainty import MeterSpec
from devices.state import NOT_RECORDED, Clock, Conditions, Counter
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
    assert all(d.text.endswith(".") and d.advice.endswith(".") and d.advice[0].isupper() for d in found)


def test_a_percentile_of_queries_needs_more_of_them() -> None:
    found = doubts(measurement(scenario="multi-stream", samples_per_query=8, latency_s=steady(5, 100)))
    assert [d.name for d in found] == ["TOO_FEW_SAMPLES"]
    assert found[0].text == "500 queries; a p99 needs 662."
    offline = measurement(scenario="offline", samples_per_query=900, latency_s=((0.1,),) * 5)
    assert _names(offline) == []


def test_loadgen_that_calls_itself_invalid() -> None:
    verdict = LoadgenVerdict(False, "the least duration was not reached", (), "6")
    found = doubts(measurement(loadgen=verdict))
    assert [d.name for d in found] == ["INVALID_LOADGEN"]
    assert "the least duration was not reached" in found[0].text
    assert _names(measurement(loadgen=replace(verdict, valid=True))) == []


@pytest.mark.parametrize(("step_s", "expected"), [(1e-6, []), (1.1e-5, ["COARSE_CLOCK"]), (9e-6, [])])
def test_a_clock_that_is_too_coarse(step_s: float, expected: list[str]) -> None:
    windows = tuple(tuple(step_s * round(s / step_s) for s in window) for window in steady(5, 40))
    assert [name for name in _names(measurement(latency_s=windows)) if name == "COARSE_CLOCK"] == expected


def test_a_part_faster_than_the_clock() -> None:
    windows = tuple((0.0, 0.0, 0.0, 1e-3, 0.0) * 4 for _ in range(5))
    found = [doubt for doubt in doubts(measurement(latency_s=windows)) if doubt.name == "COARSE_CLOCK"]
    assert "longer than most samples" in found[0].text


def _state(**changes: object) -> Conditions:
    lacking = tuple(pair for pair in NOT_RECORDED if pair[0] not in changes)
    return replace(CONDITIONS, absent=lacking, **changes)  # type: ignore[arg-type]


def test_throttling_is_read_from_counters_and_clocks() -> None:
    quiet = _state(throttling=(Counter("cpu0 core", 7, 7),), clocks=(Clock("cpu", "x", 1, 9, 2_000_000, 1_950_000),))
    assert _names(measurement(conditions=quiet)) == []
    counted = doubts(measurement(conditions=_state(throttling=(Counter("cpu0 core", 7, 9),))))
    assert [(d.name, "cpu0 core rose by 2" in d.text) for d in counted] == [("THROTTLING", True)]
    fallen = _state(clocks=(Clock("gpu", None, None, None, 1_000_000_000, 600_000_000),))
    (doubt,) = doubts(measurement(conditions=fallen))
    assert "gpu fell from 1000 to 600 MHz" in doubt.text
    unknown = _state(clocks=(Clock("gpu", None, None, None, None, 600),), throttling=(Counter("x", None, 3),))
    assert _names(measurement(conditions=unknown)) == []


def test_windows_that_become_slower() -> None:
    windows = [tuple(s * (1 + 0.03 * index) for s in window) for index, window in enumerate(steady(9))]
    assert "SLOWING_DOWN" in _names(measurement(latency_s=tuple(windows)))
    assert "SLOWING_DOWN" not in _names(measurement(latency_s=tuple(windows[:5])))


def test_programs_that_came_during_the_run() -> None:
    assert _names(measurement(conditions=replace(CONDITIONS, load_after=3.1))) == ["LOADED_MACHINE"]
    assert _names(measurement(conditions=replace(CONDITIONS, load_after=2.9))) == []


@pytest.mark.parametrize(("samples", "expected"), [(99, ["METER_TOO_SLOW"]), (100, [])])
def test_a_meter_that_is_too_slow(samples: int, expected: list[str]) -> None:
    trace = Trace(
        "power", "rail", np.arange(6 * samples) / samples, np.full(6 * samples, 2.0) + 1e-3 * np.arange(6 * samples)
    )
    windows = tuple((float(i), i + 1.0 - 1e-9, 10) for i in range(5))
    energy = energy_of(trace, windows, None, MeterSpec(0.0, 0.0, 0.0), meter="ina3221", method="measured")
    found = measurement(energy=energy, energy_j=energy.gross_j)
    assert _names(found) == expected
    assert _names(replace(found, method="simulated")) == expected
