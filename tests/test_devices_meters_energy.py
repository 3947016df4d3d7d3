"""Energy per inference: gross and net, uncertainty by hand, its record, and a run with a meter beside it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from devices.errors import DeviceError
from devices.measurement_record import from_json, to_json
from devices.meters.energy import LEAST_SAMPLES, Energy, EnergyWindow, energy_of
from devices.meters.energy_record import energy_from_record
from devices.meters.trace import Trace
from devices.meters.uncertainty import MeterSpec, type_a, type_b
from tests.measurements import measurement

SPEC = MeterSpec(lsb_w=0.04, gain=0.01, mark_jitter_s=0.001, known="a data sheet")
WINDOWS: tuple[EnergyWindow, ...] = tuple((1.0 + 2 * i, 2.5 + 2 * i, 50) for i in range(5))


def trace(idle_w: float = 1.0, active_w: float = 3.0, ripple: float = 0.01) -> Trace:
    """12 s at 100 Hz: idle for a second, then active windows of 1.5 s with idle half seconds between them."""
    times = np.arange(1200) / 100
    active = np.zeros(1200, bool)
    for begin, end, _ in WINDOWS:
        active |= (times >= begin) & (times <= end)
    values = np.where(active, active_w, idle_w) * (1 + ripple * (np.arange(1200) * 7919 % 101 - 50) / 50)
    return Trace("power", "VDD_IN", times, values)


def of(
    found: Trace, windows: tuple[EnergyWindow, ...] = WINDOWS, idle: tuple[float, float] | None = (0.0, 0.9)
) -> Energy:
    return energy_of(found, windows, idle, SPEC, meter="ina3221", method="measured", rails=(found,))


def test_gross_and_net_by_hand() -> None:
    found = of(trace())
    assert found.gross_j == pytest.approx([3.0 * 1.5 / 50] * 5, rel=3e-3)
    assert found.net_j == pytest.approx([2.0 * 1.5 / 50] * 5, rel=5e-3)
    assert found.net_reason is None
    assert found.idle_w == pytest.approx(1.0, rel=3e-3)
    assert found.power_w == pytest.approx([3.0] * 5, rel=3e-3)
    assert (found.inferences, found.rails, found.by_rail[0][0]) == ((50,) * 5, ("VDD_IN",), "VDD_IN")
    assert found.by_rail[0][1] == pytest.approx(found.median_j)
    assert set(found.samples_per_window) == {151}


def test_no_idle_phase_no_net_energy() -> None:
    found = of(trace(), idle=None)
    assert found.net_j is None
    assert found.net_reason == "no idle phase was recorded"


@pytest.mark.parametrize("idle_w", [3.05, 5.0])
def test_net_energy_is_refused_when_idle_is_not_idle(idle_w: float) -> None:
    found = of(trace(idle_w=idle_w))
    assert found.net_j is None
    assert found.idle_w == pytest.approx(idle_w, rel=3e-3)
    assert "not idle" in (found.net_reason or "")
    assert min(found.gross_j) > 0


def test_an_idle_phase_that_stands_still_only_costs_the_net_energy() -> None:
    still = trace()
    still.values[:100] = 1.0
    found = of(still)
    assert found.net_j is None
    assert "stale" in (found.net_reason or "")


def test_uncertainty_by_hand() -> None:
    """4.5 J in 1.5 s and 50 inferences: 0.04 / sqrt(12) W for 1.5 s; 1 % / sqrt(3); two marks of 1 ms at 3 W."""
    resolution, gain, marks = 0.04 / math.sqrt(12) * 1.5, 0.01 / math.sqrt(3) * 4.5, 2 * 0.001 * 3.0
    assert type_b(SPEC, 4.5, 1.5, 50) == pytest.approx(math.sqrt(resolution**2 + gain**2 + marks**2) / 50)
    samples = (1.0, 1.1, 0.9, 1.05, 0.95)
    assert type_a(samples) == pytest.approx(math.sqrt(math.pi / 2) * np.std(samples, ddof=1) / math.sqrt(5))
    assert type_a(samples[:4]) is None
    found = of(trace())
    assert found.u_a_j is not None
    assert found.expanded_j == pytest.approx(2 * math.hypot(found.u_a_j, found.u_b_j))


def test_the_resolution_of_a_jetson_sensor_is_the_specs_example() -> None:
    """INA3221 with 5 mOhm at 5 V: 40 mW a step, u = 11.5 mW; 10 mOhm: 5.8 mW."""
    for lsb, milliwatts in ((0.040, 11.5), (0.020, 5.8)):
        assert type_b(MeterSpec(lsb, 0.0, 0.0), 1.0, 1.0, 1) * 1e3 == pytest.approx(milliwatts, abs=0.05)


def test_too_few_samples_are_refused_with_a_length_that_would_do() -> None:
    with pytest.raises(DeviceError, match=rf"gave 6 samples .* {LEAST_SAMPLES} are the least.*--window-s 0\.2"):
        of(trace(), ((1.0, 1.05, 3),), None)


def test_few_samples_and_windows_are_noted() -> None:
    notes = " ".join(of(trace(), WINDOWS[:2], None).notes)
    assert "no type A uncertainty from 2 windows" in notes
    assert "10 s and 100 samples would blur less" in notes
    for spec, said in ((MeterSpec(0, 0.01, 0), "errors are assumed"), (MeterSpec(0, 0, 0), "not in the uncertainty")):
        guessed = energy_of(trace(), WINDOWS, None, spec, meter="m", method="measured")
        assert said in " ".join(guessed.notes)


@pytest.mark.parametrize(
    ("windows", "said"),
    [((), "no window"), (((1.0, 2.0, 0),), "holds no inference"), (((1.0, 99.0, 5),), "only covers")],
)
def test_windows_that_make_no_sense(windows: tuple[EnergyWindow, ...], said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        of(trace(), windows, None)


def test_less_than_nothing_is_no_energy() -> None:
    backwards = trace()
    with pytest.raises(DeviceError, match="takes more than 0"):
        of(replace(backwards, values=-backwards.values))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"method": "analytic"}, "method 'analytic'"),
        ({"gross_j": ()}, "is no energy"),
        ({"gross_j": (0.0,)}, "is no energy"),
        ({"gross_j": (math.nan,)}, "is no energy"),
        ({"net_j": None}, "net energy or a reason"),
    ],
)
def test_an_energy_that_is_none_cannot_be_made(change: dict[str, object], said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        replace(of(trace()), **change)  # type: ignore[arg-type]


def test_a_specification_below_0_is_refused() -> None:
    with pytest.raises(DeviceError, match="gain is -0"):
        MeterSpec(0.0, -0.1, 0.0)


@pytest.mark.parametrize("idle", [None, (0.0, 0.9)])
def test_energy_comes_back_from_its_record(idle: tuple[float, float] | None) -> None:
    energy = of(trace(), idle=idle)
    assert energy_from_record(json.loads(json.dumps(asdict(energy))), "e") == energy
    item = measurement(energy_j=energy.gross_j, energy=energy)
    assert from_json(to_json(item)) == item
    for key in asdict(energy):
        with pytest.raises(DeviceError, match=key):
            energy_from_record({k: v for k, v in asdict(energy).items() if k != key}, "e")
    with pytest.raises(DeviceError, match="by_rail"):
        energy_from_record({**json.loads(json.dumps(asdict(energy))), "by_rail": [["a", 1.0, 2.0]]}, "e")


def test_a_measurement_holds_its_meters_energy_and_no_other() -> None:
    energy = of(trace())
    with pytest.raises(DeviceError, match="energy_j is not the gross energy"):
        measurement(energy_j=(1.0,), energy=energy)
    with pytest.raises(DeviceError, match="energy_j is not the gross energy"):
        measurement(energy=energy)
