"""Inline SVG as text: elements with escaped attributes and text, and axes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from devices.report.scale import Scale, ticks

FONT = 12


@dataclass(frozen=True, slots=True)
class Frame:
    """The plotting area inside a drawing, in its user units."""

    width: float = 440
    height: float = 250
    left: float = 68
    right: float = 24
    top: float = 10
    bottom: float = 42

    @property
    def x_pixels(self) -> tuple[float, float]:
        """Left and right edge."""
        return self.left, self.width - self.right

    @property
    def y_pixels(self) -> tuple[float, float]:
        """Bottom and top edge: values grow upwards."""
        return self.height - self.bottom, self.top


def tag(name: str, attributes: Mapping[str, object], *inside: str) -> str:
    """Return an element; numbers are shortened, text in attributes is escaped, `inside` must be markup already."""
    written = "".join(f' {key}="{escape(_short(value))}"' for key, value in attributes.items())
    return f"<{name}{written}>{''.join(inside)}</{name}>"


def _short(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def escaped(text: str) -> str:
    """Return text as markup."""
    return escape(text)


def words(x: float, y: float, text: str, kind: str = "axis", anchor: str = "middle") -> str:
    """Return escaped text at a place."""
    return tag("text", {"x": x, "y": y, "class": kind, "text-anchor": anchor}, escape(text))


def drawing(width: float, height: float, title: str, *inside: str, kind: str = "plot") -> str:
    """Return a whole drawing with a title for those who cannot see it."""
    attributes = {"class": kind, "viewBox": f"0 0 {width:g} {height:g}", "role": "img", "aria-label": title}
    return tag("svg", attributes, tag("title", {}, escape(title)), *inside)


def polyline(places: Sequence[tuple[float, float]], kind: str) -> str:
    """Return a line through places."""
    return tag("polyline", {"class": kind, "points": " ".join(f"{x:.1f},{y:.1f}" for x, y in places)})


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    """Return a straight line."""
    return tag("line", {"class": kind, "x1": x1, "y1": y1, "x2": x2, "y2": y2})


def x_axis(frame: Frame, scale: Scale, text: Callable[[float], str], name: str) -> str:
    """Return grid lines, tick labels and the name of the horizontal axis."""
    bottom, top = frame.y_pixels
    parts = []
    for value in ticks(scale, 5):
        x = scale.place(value)
        parts += [line(x, bottom, x, top, "grid"), words(x, bottom + 15, text(value))]
    middle = sum(frame.x_pixels) / 2
    return "".join(parts) + words(middle, frame.height - 6, name, "name")


def y_axis(frame: Frame, scale: Scale, text: Callable[[float], str], name: str) -> str:
    """Return grid lines, tick labels and the name of the vertical axis."""
    left, right = frame.x_pixels
    parts = []
    for value in ticks(scale, 4):
        y = scale.place(value)
        parts += [line(left, y, right, y, "grid"), words(left - 6, y + 4, text(value), anchor="end")]
    middle = sum(frame.y_pixels) / 2
    turned = {"transform": f"translate(12 {middle:g}) rotate(-90)", "class": "name", "text-anchor": "middle"}
    return "".join(parts) + tag("text", turned, escape(name))
