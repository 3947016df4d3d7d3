"""Power over time: few points that keep the energy, and their drawing in the report."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from devices.meters.curve import POINTS, power_curve
from devices.meters.energy import energy_of
from devices.meters.trace import Trace
from devices.meters.trace_file import windows_of
from devices.meters.uncertainty import MeterSpec
from devices.report.page import html
from devices.report.power import power_plots
from tests import run_records
from tests.golden_traces import golden
from tests.measurements import measurement


def steps(**changes: object) -> Trace:
    """10 s at 100 Hz: 1 W, and 3 W from 2 to 4 s and from 6 to 8 s; the samples are never quite equal."""
    times = np.arange(1000) / 100
    high = ((times >= 2) & (times < 4)) | ((times >= 6) & (times < 8))
    values = np.where(high, 3.0, 1.0) * (1 + (np.arange(1000) * 7919 % 101 - 50) / 5000)
    return replace(Trace("power", "VDD_IN", times, values), **changes)  # type: ignore[arg-type]


WINDOWS = ((2.0, 3.99), (6.0, 7.99))


def test_a_curve_shows_the_windows_and_the_idle_phase() -> None:
    found = power_curve(steps(), WINDOWS, (0.5, 1.5))
    assert len(found.power_w) == POINTS
    begin = found.windows_s[0][0]
    assert begin - (found.idle_s or (0, 0))[0] == pytest.approx(1.5)
    level = np.array(found.power_w, float)
    times = (np.arange(len(level)) + 0.5) * found.step_s
    inside = (times > begin + 0.1) & (times < begin + 1.8)
    assert level[inside] == pytest.approx(3.0, rel=0.02)
    assert level[times < begin - 0.1] == pytest.approx(1.0, rel=0.02)
    assert found.step_s * len(found.power_w) == pytest.approx(7.49 * 1.06, rel=0.01)


def test_samples_that_were_lost_are_a_gap_and_not_zero() -> None:
    trace = steps()
    trace.values[400:600] = np.nan
    found = power_curve(trace, WINDOWS, None)
    assert found.power_w.count(None) > 20
    assert min(power for power in found.power_w if power is not None) > 0.9


def test_the_curve_of_a_golden_trace_keeps_its_energy() -> None:
    trace = golden("kws")
    windows = [window[:2] for window in windows_of(trace.marks_s, 1)]
    found = power_curve(trace, windows, None)
    assert len(found.power_w) == POINTS
    level = np.array(found.power_w, float)
    times = (np.arange(len(level)) + 0.5) * found.step_s
    for begin, end in found.windows_s:
        assert np.mean(level[(times > begin + 1) & (times < end - 1)]) == pytest.approx(42.2e-3, rel=0.01)


def test_the_report_draws_power_with_shaded_windows() -> None:
    energy = energy_of(
        steps(),
        tuple((*window, 40) for window in WINDOWS),
        (0.5, 1.5),
        MeterSpec(0.01, 0.01, 0.01),
        meter="ina3221",
        method="measured",
    )
    run = run_records.full()
    item = measurement(bundle=run.bundles[0].digest, energy_j=energy.gross_j, energy=energy)
    text = html(replace(run, measurements=(item,)))
    section = text[text.index('<section id="energy">') :]
    assert len(re.findall('class="band"', section)) == 2
    assert section.count('class="band idle"') == 1
    assert "power, measured" in section
    assert "ina3221: VDD_IN; 2 windows shaded, the idle phase outlined" in section
    without = measurement(bundle=run.bundles[0].digest)
    assert 'class="band' not in html(replace(run, measurements=(without,)))
    assert power_plots(()) == ()
