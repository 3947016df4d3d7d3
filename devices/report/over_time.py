"""Latency over time: window after window, above the temperatures and clocks the machine had before and after."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from devices.measurement import Measurement
from devices.report import svg, units
from devices.report.joined import Entry
from devices.report.scale import Scale, fitted
from devices.stats import summarise

#: Fewer windows show no course.
LEAST_WINDOWS = 3
#: Lines in the lower panel; more could not be told apart.
SERIES = 4
#: A panel shows at least this much up and down, so that quiet windows look quiet.
SPAN = 0.10
UPPER = svg.Frame(height=190)
LOWER = svg.Frame(height=120)


@dataclass(frozen=True, slots=True)
class Course:
    """One value before and after the run, with its unit."""

    name: str
    before: float
    after: float
    unit: str


@dataclass(frozen=True, slots=True)
class TimePlot:
    """Two drawings over one axis, and the names of the lines in the lower one; `lower` is empty without any."""

    title: str
    upper: str
    lower: str
    names: tuple[str, ...]


def time_plots(found: Sequence[Entry]) -> tuple[TimePlot, ...]:
    """Return a drawing for every measured latency with enough windows."""
    return tuple(
        _plot(entry)
        for entry in found
        if entry.measurement.method == "measured" and len(entry.measurement.latency_s or ()) >= LEAST_WINDOWS
    )


def courses(item: Measurement) -> tuple[Course, ...]:
    """Return the hottest zones, then the clocks that moved most, where both readings are known."""
    state = item.conditions
    zones = [Course(t.zone, *pair, "°C") for t in state.temperatures if (pair := _pair(t.before_c, t.after_c))]
    clocks = [Course(c.name, *pair, "Hz") for c in state.clocks if (pair := _pair(c.before_hz, c.after_hz))]
    zones.sort(key=lambda course: -course.after)
    clocks.sort(key=lambda course: -abs(course.after / course.before - 1))
    return (*zones[: SERIES // 2], *clocks[: SERIES - min(len(zones), SERIES // 2)])


def _pair(before: float | None, after: float | None) -> tuple[float, float] | None:
    return None if before is None or after is None or before <= 0 else (before, after)


def _plot(entry: Entry) -> TimePlot:
    item = entry.measurement
    windows = item.latency_s or ()
    ends = tuple(itertools.accumulate(sum(window) for window in windows))
    x = Scale(0.0, ends[-1] or 1.0, *UPPER.x_pixels, log=False)
    found = courses(item)
    return TimePlot(entry.title, _latencies(entry, ends, x), _states(found, x), tuple(map(_name, found)))


def lacking(found: Sequence[Entry]) -> tuple[str, ...]:
    """Return why there are no temperatures or clocks below the drawings, each reason once."""
    drawn = [entry.measurement for entry in found if entry.measurement.method == "measured"]
    reasons = ((name, dict(item.conditions.absent).get(name)) for item in drawn for name in ("temperatures", "clocks"))
    return tuple(dict.fromkeys(f"no {name}: {reason}" for name, reason in reasons if reason))


def _latencies(entry: Entry, ends: Sequence[float], x: Scale) -> str:
    """Return the median of every window with a line from its least to the sample that 90 % do not exceed."""
    windows = entry.measurement.latency_s or ()
    medians = [summarise(window).median for window in windows]
    spans = [_least_and_p90(window) for window in windows]
    middle = summarise(medians).median
    values = [v for pair in spans for v in pair] + [middle * (1 - SPAN / 2), middle * (1 + SPAN / 2)]
    y = fitted(values, UPPER.y_pixels, log=False)
    middles = [(begin + end) / 2 for begin, end in zip((0.0, *ends[:-1]), ends, strict=True)]
    marks = [
        svg.line(x.place(t), y.place(low), x.place(t), y.place(high), "error")
        + svg.tag("circle", {"class": "dot", "cx": x.place(t), "cy": y.place(m), "r": 3})
        for t, m, (low, high) in zip(middles, medians, spans, strict=True)
    ]
    body = (
        svg.x_axis(UPPER, x, lambda v: units.short(units.seconds(v)) if v else "0", "time in inferences"),
        svg.y_axis(UPPER, y, lambda v: units.short(units.seconds(v)), "latency, measured"),
        *marks,
    )
    return svg.drawing(UPPER.width, UPPER.height, f"Latency over time, {entry.title}", *body)


def _least_and_p90(window: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(window)
    return ordered[0], ordered[int(0.9 * (len(ordered) - 1))]


def _states(found: Sequence[Course], x: Scale) -> str:
    """Return a line per course, relative to its value before: one axis holds degrees and hertz."""
    if not found:
        return ""
    ratios = [course.after / course.before for course in found]
    y = fitted([1 - SPAN, 1 + SPAN, *ratios], LOWER.y_pixels, log=False)
    lines = [
        svg.polyline([(x.place(x.low), y.place(1.0)), (x.place(x.high), y.place(ratio))], f"curve s{i + 1}")
        for i, ratio in enumerate(ratios)
    ]
    axis = svg.y_axis(LOWER, y, lambda v: f"{100 * v:.0f} %", "of before")
    return svg.drawing(LOWER.width, LOWER.height, "Temperatures and clocks before and after", axis, *lines)


def _name(course: Course) -> str:
    if course.unit == "Hz":
        return f"{course.name} {course.before / 1e6:.0f} to {course.after / 1e6:.0f} MHz"
    return f"{course.name} {course.before:.1f} to {course.after:.1f} {course.unit}"
