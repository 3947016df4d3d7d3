"""A drawing of lines and single points over two axes, for whatever has no drawing of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from devices.report import svg, units
from devices.report.front import RADIUS
from devices.report.scale import Scale, fitted, of_shares

#: Lines in one drawing; there are so many kinds of lines.
SERIES = 4
FRAME = svg.Frame()


@dataclass(frozen=True, slots=True)
class Curve:
    """A named line through (x, y), in order."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Spot:
    """A named single point."""

    name: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows, how its values are written, whether equal ratios take equal space.

    An axis of shares shows nothing below 0 or above 1.
    """

    name: str
    text: Callable[[float], str]
    log: bool = False
    share: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A drawing: at most SERIES curves, and spots, which are numbered.

    `marks` are dashed vertical lines at values of x, `frame` the size.
    """

    title: str
    x: Axis
    y: Axis
    curves: tuple[Curve, ...] = ()
    spots: tuple[Spot, ...] = ()
    marks: tuple[float, ...] = ()
    frame: svg.Frame = FRAME


@dataclass(frozen=True, slots=True)
class ChartView:
    """A drawing with the names of its curves, in order, and of its spots with both values."""

    title: str
    drawing: str
    names: tuple[str, ...]
    spots: tuple[tuple[str, str, str], ...]


def view(chart: Chart) -> ChartView:
    """Draw a chart.

    Raises:
        ValueError: it has no point, or more curves than there are kinds of lines.
    """
    places = [point for curve in chart.curves for point in curve.points] + [(s.x, s.y) for s in chart.spots]
    if not places or len(chart.curves) > SERIES:
        raise ValueError(f"'{chart.title}' has {len(places)} points in {len(chart.curves)} curves")
    frame = chart.frame
    x = fitted([*(p[0] for p in places), *chart.marks], frame.x_pixels, log=chart.x.log, margin=0.03)
    y = _upright(chart.y, [p[1] for p in places], frame.y_pixels)
    bottom, top = frame.y_pixels
    body = (
        svg.x_axis(frame, x, chart.x.text, chart.x.name),
        svg.y_axis(frame, y, chart.y.text, chart.y.name),
        *(svg.line(x.place(value), bottom, x.place(value), top, "baseline") for value in chart.marks),
        *(_line(curve, x, y, f"curve s{i + 1}") for i, curve in enumerate(chart.curves)),
        *(_mark(i, spot, x, y) for i, spot in enumerate(chart.spots)),
    )
    named = ", ".join([*(curve.name for curve in chart.curves), *(spot.name for spot in chart.spots)])
    drawing = svg.drawing(frame.width, frame.height, f"{chart.title}: {named}", *body)
    spots = tuple((spot.name, chart.x.text(spot.x), chart.y.text(spot.y)) for spot in chart.spots)
    return ChartView(chart.title, drawing, tuple(curve.name for curve in chart.curves), spots)


def _upright(axis: Axis, values: list[float], pixels: tuple[float, float]) -> Scale:
    if axis.share:
        return of_shares(values, pixels, margin=0.08)
    return fitted(values, pixels, log=axis.log, margin=0.08)


def _line(curve: Curve, x: Scale, y: Scale, kind: str) -> str:
    return svg.polyline([(x.place(a), y.place(b)) for a, b in curve.points], kind)


def _mark(index: int, spot: Spot, x: Scale, y: Scale) -> str:
    cx, cy = x.place(spot.x), y.place(spot.y)
    shape = svg.tag("ellipse", {"class": "point", "cx": cx, "cy": cy, "rx": RADIUS, "ry": RADIUS})
    return svg.tag("g", {}, shape, svg.words(cx, cy + 4, str(index + 1), "number"))


def percent_axis(name: str) -> Axis:
    """Return an axis of shares."""
    return Axis(name, lambda value: units.percent(value, 1), share=True)
