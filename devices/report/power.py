"""Power over time drawn: windows are shaded, the idle phase is marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.meters.curve import PowerCurve
from devices.meters.energy import Energy
from devices.report import svg, units
from devices.report.joined import Entry
from devices.report.scale import Scale, fitted

FRAME = svg.Frame(height=190)


@dataclass(frozen=True, slots=True)
class PowerPlot:
    """One drawing and what it shows in words."""

    title: str
    drawing: str
    text: str


def power_plots(found: Sequence[Entry]) -> tuple[PowerPlot, ...]:
    """Return a drawing for every measurement whose meter left a curve."""
    return tuple(
        _plot(entry, energy, energy.curve)
        for entry in found
        if (energy := entry.measurement.energy) is not None and energy.curve is not None
    )


def _plot(entry: Entry, energy: Energy, curve: PowerCurve) -> PowerPlot:
    known = [power for power in curve.power_w if power is not None]
    x = Scale(0.0, curve.step_s * len(curve.power_w), *FRAME.x_pixels, log=False)
    y = fitted([0.0, *known], FRAME.y_pixels, log=False, margin=0.04)
    bands = [_band(window, x, "band") for window in curve.windows_s]
    idle = [_band(curve.idle_s, x, "band idle")] if curve.idle_s else []
    body = (
        *bands,
        *idle,
        svg.x_axis(FRAME, x, lambda v: f"{v:g} s", "time"),
        svg.y_axis(FRAME, y, lambda v: units.short(units.watts(v)) if v > 0 else "0", f"power, {energy.method}"),
        *(svg.polyline(run, "curve s1") for run in _runs(curve, x, y)),
    )
    rest = ", the idle phase outlined" if curve.idle_s else ""
    text = f"{energy.meter}: {' + '.join(energy.rails)}; {len(curve.windows_s)} windows shaded{rest}"
    alt = f"Power over time, {entry.title}: {text}"
    return PowerPlot(entry.title, svg.drawing(FRAME.width, FRAME.height, alt, *body), text)


def _band(span: tuple[float, float], x: Scale, kind: str) -> str:
    bottom, top = FRAME.y_pixels
    left, right = x.place(span[0]), x.place(span[1])
    return svg.tag("rect", {"class": kind, "x": left, "y": top, "width": right - left, "height": bottom - top})


def _runs(curve: PowerCurve, x: Scale, y: Scale) -> list[list[tuple[float, float]]]:
    """Return pieces of the curve between steps without a sample."""
    runs: list[list[tuple[float, float]]] = [[]]
    for index, power in enumerate(curve.power_w):
        if power is None:
            runs.append([])
        else:
            runs[-1].append((x.place((index + 0.5) * curve.step_s), y.place(power)))
    return [run for run in runs if len(run) > 1]
