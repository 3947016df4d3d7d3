"""Accuracy against cost for hundreds of points: all as dots, coloured by kind, and the front numbered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from devices.report import svg, units
from devices.report.front import Point, best_of
from devices.report.scale import WIDE, Scale, fitted

#: What weights and activations may be; each has a colour and a shape in the drawing.
KINDS = ("integers", "minifloats", "mixed")
RADIUS, NUMBERED = 3.0, 8.0
#: Points below this share of the float accuracy stand on the lower edge of the drawing.
LOWEST = 0.35


@dataclass(frozen=True, slots=True)
class Cloud:
    """Points of one cost; `kinds` has one of KINDS for each. `text` writes a cost; `baseline` is the float accuracy."""

    title: str
    axis: str
    points: tuple[Point, ...]
    kinds: tuple[str, ...]
    baseline: float
    text: Callable[[float], str]


def front_of(cloud: Cloud) -> tuple[Point, ...]:
    """Return the points of the front, cheapest first; of equal ones the first."""
    chosen = [point for point, flag in zip(cloud.points, best_of(cloud.points), strict=True) if flag]
    unique = {(point.cost, point.accuracy): point for point in reversed(chosen)}
    return tuple(sorted(unique.values(), key=lambda point: point.cost))


def draw(cloud: Cloud) -> str:
    """Return the drawing: dots, the front as numbered marks joined by steps, the float accuracy as a dashed line."""
    frame = svg.Frame(width=560, height=330, right=38)
    x, y = _scales(cloud, frame)
    left, right = frame.x_pixels
    base, front = y.place(cloud.baseline), front_of(cloud)
    body = (
        svg.x_axis(frame, x, lambda v: units.short(cloud.text(v)), cloud.axis),
        svg.y_axis(frame, y, lambda v: f"{100 * v:g} %", "top-1 accuracy"),
        svg.line(left, base, right, base, "baseline"),
        svg.words(right + 4, base + 4, "float", anchor="start"),
        *_dots(cloud, x, y),
        _steps(front, x, y),
        *(_mark(number + 1, point, x, y) for number, point in enumerate(front)),
    )
    return svg.drawing(frame.width, frame.height, f"Accuracy against {cloud.axis}, {cloud.title}", *body)


def _scales(cloud: Cloud, frame: svg.Frame) -> tuple[Scale, Scale]:
    costs = [point.cost for point in cloud.points]
    log = min(costs) > 0 and max(costs) / min(costs) > WIDE
    found = [point.accuracy for point in cloud.points]
    least = max(min(found), LOWEST * cloud.baseline)
    x = fitted(costs, frame.x_pixels, log=log, margin=0.05)
    return x, fitted([least, max(found), cloud.baseline], frame.y_pixels, log=False, margin=0.08)


def _dots(cloud: Cloud, x: Scale, y: Scale) -> list[str]:
    """Return all dots, the rarest kind on top."""
    pairs = sorted(zip(cloud.points, cloud.kinds, strict=True), key=lambda pair: -KINDS.index(pair[1]))
    return [_dot(point, kind, x, y) for point, kind in pairs]


def _place(point: Point, x: Scale, y: Scale) -> tuple[float, float]:
    return x.place(point.cost), y.place(max(point.accuracy, y.low))


def _dot(point: Point, kind: str, x: Scale, y: Scale) -> str:
    """Return a circle for integers, a square for minifloats, a small triangle for mixed pairs."""
    cx, cy = _place(point, x, y)
    name = svg.tag("title", {}, svg.escaped(f"{point.name}: {units.percent(point.accuracy)}"))
    style = {"class": f"spot {kind}"}
    if kind == "integers":
        return svg.tag("circle", {**style, "cx": cx, "cy": cy, "r": RADIUS}, name)
    if kind == "minifloats":
        side = 2 * RADIUS - 1
        return svg.tag("rect", {**style, "x": cx - side / 2, "y": cy - side / 2, "width": side, "height": side}, name)
    corners = f"{cx:.1f},{cy - RADIUS:.1f} {cx - RADIUS:.1f},{cy + RADIUS:.1f} {cx + RADIUS:.1f},{cy + RADIUS:.1f}"
    return svg.tag("polygon", {**style, "points": corners}, name)


def _steps(front: Sequence[Point], x: Scale, y: Scale) -> str:
    places: list[tuple[float, float]] = []
    for point in front:
        here = _place(point, x, y)
        places += [(here[0], places[-1][1]), here] if places else [here]
    return svg.polyline(places, "front") if len(places) > 1 else ""


def _mark(number: int, point: Point, x: Scale, y: Scale) -> str:
    cx, cy = _place(point, x, y)
    shape = {"class": "point best", "cx": cx, "cy": cy, "rx": NUMBERED, "ry": NUMBERED}
    return svg.tag("g", {}, svg.tag("ellipse", shape), svg.words(cx, cy + 4, str(number), "number best"))
