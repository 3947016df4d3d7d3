"""Latency over time, with the state of the machine below it."""

from __future__ import annotations

from dataclasses import replace

from devices.report.joined import Entry
from devices.report.over_time import SERIES, courses, lacking, time_plots
from devices.report.page import html
from devices.state import Clock, Temperature
from tests import run_records
from tests.measurements import CONDITIONS, measurement, steady

ABSENT = tuple(pair for pair in CONDITIONS.absent if pair[0] not in ("clocks", "temperatures"))
HOT = replace(
    CONDITIONS,
    clocks=(
        Clock("policy0", "schedutil", 300_000_000, 1_500_000_000, 1_500_000_000, 1_200_000_000),
        Clock("gpu", None, None, None, None, 600_000_000),
    ),
    temperatures=(Temperature("cpu", 45.0, 71.5), Temperature("gpu", 40.0, None), Temperature("board", 30.0, 33.0)),
    absent=ABSENT,
)


def test_every_window_has_a_dot_and_a_spread():
    found = [Entry(measurement(latency_s=steady(windows=7)), None)]
    (plot,) = time_plots(found)
    assert plot.upper.count('class="dot"') == 7
    assert plot.upper.count('class="error"') == 7
    assert plot.lower == ""
    first, second = lacking(found * 3)
    assert first.startswith("no temperatures: ") and second.startswith("no clocks: ")


def test_states_that_are_known_twice_are_drawn():
    item = measurement(conditions=HOT)
    assert [course.name for course in courses(item)] == ["cpu", "board", "policy0"]
    (plot,) = time_plots([Entry(item, None)])
    assert plot.lower.count("<polyline") == 3
    assert plot.names == ("cpu 45.0 to 71.5 °C", "board 30.0 to 33.0 °C", "policy0 1500 to 1200 MHz")
    assert lacking([Entry(item, None)]) == ()


def test_many_zones_and_clocks_leave_room_for_each_other():
    zones = tuple(Temperature(f"z{i}", 40.0, 40.0 + i) for i in range(6))
    clocks = tuple(Clock(f"c{i}", None, None, None, 10**9, 10**9 - i) for i in range(6))
    found = courses(measurement(conditions=replace(HOT, temperatures=zones, clocks=clocks)))
    assert [course.name for course in found] == ["z5", "z4", "c5", "c4"]
    assert len(found) == SERIES


def test_what_is_simulated_or_short_is_not_drawn():
    simulated = measurement(method="simulated")
    short = measurement(latency_s=steady(windows=2))
    assert time_plots([Entry(simulated, None), Entry(short, None)]) == ()


def test_a_clock_too_coarse_gives_a_drawing_without_nan():
    (plot,) = time_plots([Entry(measurement(latency_s=((0.0,) * 20,) * 4), None)])
    assert "nan" not in plot.upper


def test_the_page_shows_it():
    assert "Over time" in html(run_records.full())
