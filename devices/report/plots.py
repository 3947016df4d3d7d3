"""Latency drawn: how many inferences are slower than a time, and whether the windows drift."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from devices.measurement import Measurement
from devices.report import svg, units
from devices.report.joined import Entry
from devices.report.scale import Scale, fitted
from devices.stats import percentile

#: Curves in one drawing; more go to the next one.
SERIES = 4
#: Points of a curve: more than the eye sees, far fewer than the samples.
POINTS = 160
#: Fewer samples are no distribution and are not drawn.
LEAST_SAMPLES = 10
#: The percentiles that get a mark, and a line to their upper bound.
MARKED = (0.5, 0.9, 0.99)
#: A strip shows at least this much up and down, so that quiet windows look quiet.
STRIP_SPAN = 0.10


@dataclass(frozen=True, slots=True)
class LatencyPlot:
    """One drawing with the names of its curves, in order."""

    title: str
    drawing: str
    names: tuple[str, ...]


def latency_plots(method: str, found: Sequence[Entry]) -> tuple[LatencyPlot, ...]:
    """Return drawings of latencies of one method, a board at a time."""
    found = [entry for entry in found if len(entry.measurement.samples_s) >= LEAST_SAMPLES]
    boards = dict.fromkeys(entry.measurement.board for entry in found)
    plots = []
    for board in boards:
        here = [entry for entry in found if entry.measurement.board == board]
        chunks = [here[i : i + SERIES] for i in range(0, len(here), SERIES)]
        plots += [_latency_plot(f"{board}, {method}", chunk) for chunk in chunks]
    return tuple(plots)


def _latency_plot(title: str, found: Sequence[Entry]) -> LatencyPlot:
    frame = svg.Frame()
    curves = [tail_curve(entry.measurement.samples_s) for entry in found]
    bounds = [_bounds(entry.measurement) for entry in found]
    times = [time for curve in curves for time, _ in curve]
    x = fitted(times, frame.x_pixels, log=min(times) > 0, margin=0.03)
    least = min(share for curve in curves for _, share in curve)
    y = Scale(min(least, 0.5), 1.0, *frame.y_pixels, log=True)
    lines = [
        svg.polyline([(x.place(time), y.place(share)) for time, share in curve], f"curve s{i + 1}")
        for i, curve in enumerate(curves)
    ]
    body = (
        svg.x_axis(frame, x, lambda v: units.short(units.seconds(v)), f"latency, {found[0].measurement.method}"),
        svg.y_axis(frame, y, _share, "this slow or slower"),
        *lines,
        *(_bound_marks(marked, x, y, f"s{i + 1}") for i, marked in enumerate(bounds)),
    )
    names = tuple(f"{entry.label}, n = {units.count(len(entry.measurement.samples_s))}" for entry in found)
    alt = f"Share of inferences that take at least a given time on {title}: {'; '.join(names)}"
    return LatencyPlot(title, svg.drawing(frame.width, frame.height, alt, *body), names)


def _bounds(item: Measurement) -> tuple[tuple[float, float, float], ...]:
    """Return (share that is slower, percentile, its upper bound) where there are samples enough for a bound."""
    if item.method == "synthesised":  # exact for the netlist: nothing is estimated
        return ()
    known = (percentile(item.samples_s, p) for p in MARKED)
    return tuple((1 - p.p, p.value, p.bound) for p in known if p.value is not None and p.bound is not None)


def _bound_marks(marked: Sequence[tuple[float, float, float]], x: Scale, y: Scale, kind: str) -> str:
    """Return a mark at every percentile and a line from it to its bound."""
    parts = []
    for share, value, bound in marked:
        left, right, height = x.place(value), x.place(bound), y.place(share)
        parts.append(svg.line(left, height, right, height, f"bound {kind}"))
        parts.append(svg.line(right, height - 4, right, height + 4, f"bound {kind}"))
        parts.append(svg.tag("circle", {"class": f"bound-mark {kind}", "cx": left, "cy": height, "r": 3}))
    return "".join(parts)


def _share(value: float) -> str:
    return f"{units.significant(100 * value, 1)} %"


def tail_curve(samples: Sequence[float]) -> tuple[tuple[float, float], ...]:
    """Return (time, share of samples at least this slow), from 1 down to 1/n, at ranks evenly spaced in their log."""
    ordered = sorted(samples)
    n = len(ordered)
    ranks = sorted({round(n ** (i / (POINTS - 1))) for i in range(POINTS)} | {1, n}, reverse=True)
    return tuple((ordered[n - rank], rank / n) for rank in ranks)


def window_strip(measurement: Measurement) -> str:
    """Return a small drawing of the median of every window, in order; the line is the median of all samples."""
    medians = [statistics.median(window) for window in measurement.latency_s or ()]
    middle = statistics.median(measurement.samples_s)
    reach = max(STRIP_SPAN * middle, *(abs(m - middle) for m in medians)) or 1.0
    width, height = 92.0, 24.0
    y = Scale(middle - reach, middle + reach, height - 3, 3, log=False)
    step = width / len(medians)
    dots = [
        svg.tag("circle", {"class": "dot", "cx": step * (i + 0.5), "cy": y.place(m), "r": 2})
        for i, m in enumerate(medians)
    ]
    title = f"medians by window, {units.seconds(min(medians))} to {units.seconds(max(medians))}"
    middle_line = svg.line(0.0, y.place(middle), width, y.place(middle), "grid")
    return svg.drawing(width, height, title, middle_line, *dots, kind="strip")
