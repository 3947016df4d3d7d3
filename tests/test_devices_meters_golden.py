"""Energy of published traces, from the file and through a simulated LPM01A, against the published figures."""

from __future__ import annotations

import statistics

import numpy as np
import pytest

from devices.errors import DeviceError
from devices.meters.energy import Energy, energy_of
from devices.meters.lpm01a import Lpm01a
from devices.meters.meter import Recording
from devices.meters.simulated.lpm01a import Simulated, on_terminal
from devices.meters.trace import Trace, integrate
from devices.meters.trace_file import windows_of
from devices.meters.uncertainty import MeterSpec
from tests.golden_traces import INFERENCES, NAMES, golden, published

#: Seconds that a whole trace may take through the terminal on a busy machine.
PATIENCE_S = 240
MILLIHERTZ = MeterSpec(1e-5, 0.02, 1e-3, "as the LPM01A")


def of(name: str, trace: Trace, idle: tuple[float, float] | None = None, method: str = "replayed") -> Energy:
    windows = windows_of(trace.marks_s, INFERENCES[name])
    return energy_of(trace, windows, idle, MILLIHERTZ, meter="lpm01a", method=method)


def check_against_the_published(name: str, found: Energy) -> None:
    joules = np.array(found.gross_j) * INFERENCES[name]
    assert joules.shape == (5,)
    assert np.max(np.abs(joules / np.array(published(name)) - 1)) < 5e-4
    assert len({round(value, 12) for value in found.gross_j}) == 5  # five windows, five energies


@pytest.mark.parametrize("name", NAMES)
def test_every_published_window_from_the_file(name: str) -> None:
    found = of(name, golden(name))
    check_against_the_published(name, found)
    assert found.median_j == pytest.approx(statistics.median(published(name)) / INFERENCES[name], rel=1e-4)
    assert found.method == "replayed"
    assert found.net_j is None
    assert found.net_reason == "no idle phase was recorded"


@pytest.mark.parametrize("name", NAMES)
def test_the_sum_is_that_over_rounded_indices(name: str) -> None:
    trace = golden(name)
    for begin, end, _ in windows_of(trace.marks_s, 1):
        first, last = round(begin * 1000), round(end * 1000)
        assert integrate(trace, begin, end) == pytest.approx(float(np.sum(trace.values[first:last])), rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_every_published_window_through_a_simulated_meter(name: str) -> None:
    instrument = Simulated(golden(name))
    recording = record(instrument)
    trace = recording.trace()
    assert len(trace.values) == len(instrument.trace.values)
    assert len(trace.marks_s) == 11
    check_against_the_published(name, of(name, trace, method=recording.method))
    assert recording.method == "simulated"
    told = [word for word in instrument.commands if word not in ("powershield",)]
    assert told[0] == "htc"
    assert told[-4:] == ["start", "stop", "pwr off", "hrc"]
    assert {"output energy", "format ascii_dec", "freq 1k", "volt 1800m"} <= set(told)


def record(instrument: Simulated) -> Recording:
    with on_terminal(instrument) as port:
        meter = Lpm01a(f"{port},1800m")
        assert meter.probe().available
        with meter.record() as recording:
            assert instrument.sent.wait(PATIENCE_S)
    return recording


def test_a_garbled_line_spoils_its_window_and_no_other() -> None:
    trace = golden("kws")
    first = windows_of(trace.marks_s, 1)[0]
    recording = record(Simulated(trace, garbled=frozenset({round(first[0] * 1000) + 5})))
    found = recording.trace()
    assert len(found.damaged) == 1
    windows = windows_of(found.marks_s, 1)
    with pytest.raises(DeviceError, match=r"1 samples came in damaged"):
        integrate(found, *windows[0][:2])
    assert integrate(found, *windows[1][:2]) == pytest.approx(published("kws")[1], rel=5e-4)


def test_a_lost_mark_is_noticed() -> None:
    recording = record(Simulated(golden("kws"), lost_marks=frozenset({3})))
    with pytest.raises(DeviceError, match="mark 4 came after mark 2: one was lost"):
        recording.trace()


def test_net_energy_is_refused_where_the_device_was_busier_between_windows() -> None:
    trace = golden("ic")
    found = of("ic", trace, idle=(trace.marks_s[2], trace.marks_s[3]))
    assert found.net_j is None
    assert found.net_reason is not None
    assert "the device was not idle" in found.net_reason
    assert found.idle_w == pytest.approx(53.4e-3, rel=0.01)
    assert found.power_w[0] == pytest.approx(41.95e-3, rel=1e-3)


def test_net_energy_takes_idle_power_off() -> None:
    trace = golden("kws")
    found = of("kws", trace, idle=(trace.marks_s[2], trace.marks_s[3]))
    assert found.net_j is not None
    assert found.idle_w == pytest.approx(31.6e-3, rel=0.01)
    length = trace.marks_s[2] - trace.marks_s[1]
    assert found.net_j[0] == pytest.approx(found.gross_j[0] - found.idle_w * length / 300, rel=1e-9)
    assert 0 < found.net_j[0] < 0.3 * found.gross_j[0]


@pytest.mark.parametrize("name", NAMES)
def test_uncertainty_of_the_golden_windows(name: str) -> None:
    """The published spread of the windows is 0.07 to 0.08 %; the meter's 2 % make nearly all of the rest."""
    found = of(name, golden(name))
    assert found.u_a_j is not None
    assert found.expanded_j is not None
    assert found.u_a_j / found.median_j == pytest.approx(0.0007 * 1.2533 / 5**0.5, rel=0.25)
    assert found.u_b_j / found.median_j == pytest.approx(0.02 / 3**0.5, rel=0.02)
    assert found.expanded_j == pytest.approx(2 * (found.u_a_j**2 + found.u_b_j**2) ** 0.5)
    assert min(found.samples_per_window) > 10_000


@pytest.mark.parametrize(("hertz", "limit"), [(100, 0.0005), (10, 0.0025), (1, 0.01)])
@pytest.mark.parametrize("name", NAMES)
def test_a_slower_meter_is_off_by_no_more_than_expected(name: str, hertz: int, limit: float) -> None:
    """Every k-th sample as a point of power, held to both marks."""
    trace, step = golden(name), 1000 // hertz
    begin, end, _ = windows_of(trace.marks_s, 1)[0]
    exact, errors = integrate(trace, begin, end), []
    for phase in range(0, step, max(1, step // 10)):
        thin = Trace("power", name, trace.times_s[phase::step] - 0.5e-3, trace.values[phase::step] * 1000)
        errors.append(integrate(thin, begin, end) / exact - 1)
    assert max(np.abs(errors)) < limit
    assert max(errors) != min(errors) or step == 1
