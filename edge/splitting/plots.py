"""Drawings of a search: latency over the link's rate, and accuracy against bytes and latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from devices.report import svg, units
from devices.report.curves import Axis, Chart, Curve, view
from devices.report.scale import WIDE, fitted, of_shares
from edge.link.model import Link
from edge.splitting.front import latency
from edge.splitting.record import Choice, SplitRecord
from edge.splitting.table import bits, ordered

#: Rates of the break-even drawing, in bit/s, and how many of them are computed.
LOWEST, HIGHEST, RATES = 1e4, 1e9, 90
#: Splits in the break-even drawing beside local and remote.
SPLITS = 2
RADIUS = 4.0
#: How choices look: integers, minifloats, and whole networks; see the style of `devices.report`.
KINDS = ("integers", "minifloats", "mixed")


@dataclass(frozen=True, slots=True)
class Drawing:
    """A drawing, its caption and the names of its curves or kinds, in order."""

    title: str
    svg: str
    names: tuple[str, ...]


def break_even_drawing(found: SplitRecord) -> Drawing:
    """Draw the latency of local, remote and the best splits over the rate; a line shows the link's."""
    rates = [float(rate) for rate in np.geomspace(LOWEST, HIGHEST, RATES)]
    lines = tuple(
        Curve(choice.name, tuple((rate, _at(found, choice, rate)) for rate in rates)) for choice in curves(found)
    )
    here = min(max(found.rate_bit_s, LOWEST), HIGHEST)
    x = Axis("rate of the link", lambda v: units.short(bits(v)), log=True)
    y = Axis("latency, modelled", lambda v: units.short(units.seconds(v)), log=True)
    title = f"Latency over the rate, round trip {units.seconds(found.round_trip_s)}"
    made = view(Chart(title, x, y, lines, marks=(here,), frame=svg.Frame(width=560, height=330)))
    return Drawing(title, made.drawing, made.names)


def curves(found: SplitRecord) -> tuple[Choice, ...]:
    """Return local, remote, the fastest split at the link, and of those on the front the one that sends least."""
    timed = [choice for choice in ordered(found.choices) if choice.latency_s.value is not None]
    whole = [choice for choice in timed if choice.way != "split"]
    splits = [choice for choice in timed if choice.way == "split"]
    least = sorted((choice for choice in splits if choice.front), key=lambda one: one.wire_bytes)
    picked = list(dict.fromkeys([*splits[:1], *least[:1]]))[:SPLITS]
    return (*sorted(whole, key=lambda one: one.way), *picked)


def _at(found: SplitRecord, choice: Choice, rate: float) -> float:
    sent = (choice.wire_bytes, found.answer_bytes)
    took = latency(Link(rate, found.round_trip_s), sent, choice.device, choice.server)
    return max(took.value or 0.0, 1e-9)


def accuracy_drawings(found: SplitRecord) -> tuple[Drawing, ...]:
    """Draw accuracy against the bytes of a frame (what is sent only), and against latency at this link."""
    sent = [choice for choice in found.choices if choice.wire_bytes > 0]
    timed = [choice for choice in found.choices if choice.latency_s.value is not None]
    return (
        _scatter("Accuracy against bytes sent", "bytes of a frame", sent, lambda one: float(one.wire_bytes), _size),
        _scatter("Accuracy against latency", "latency at this link", timed, _latency, units.seconds),
    )


def _size(value: float) -> str:
    return units.size(round(value))


def _latency(choice: Choice) -> float:
    return choice.latency_s.value or 0.0


def _scatter(
    title: str, axis: str, choices: Sequence[Choice], cost: Callable[[Choice], float], text: Callable[[float], str]
) -> Drawing:
    frame = svg.Frame(width=560, height=330)
    costs = [cost(choice) for choice in choices]
    log = min(costs) > 0 and max(costs) / min(costs) > WIDE
    x = fitted(costs, frame.x_pixels, log=log, margin=0.05)
    y = of_shares([choice.accuracy for choice in choices], frame.y_pixels, margin=0.08)
    body = (
        svg.x_axis(frame, x, lambda v: units.short(text(v)), axis),
        svg.y_axis(frame, y, lambda v: f"{100 * v:g} %", "top-1 accuracy"),
        *(_dot(choice, x.place(cost(choice)), y.place(choice.accuracy)) for choice in choices),
    )
    return Drawing(title, svg.drawing(frame.width, frame.height, title, *body), _kinds(choices))


def _kinds(choices: Sequence[Choice]) -> tuple[str, ...]:
    shown = {_kind(choice) for choice in choices}
    return tuple(kind for kind in KINDS if kind in shown)


def _dot(choice: Choice, x: float, y: float) -> str:
    """Return a circle for integers, a square for minifloats, a triangle for whole networks; larger on the front."""
    name = svg.tag("title", {}, svg.escaped(f"{choice.name}: {units.percent(choice.accuracy)}"))
    kind, r = _kind(choice), RADIUS * (1.6 if choice.front else 0.8)
    style = {"class": f"spot {kind}"}
    if kind == "integers":
        return svg.tag("circle", {**style, "cx": x, "cy": y, "r": r}, name)
    if kind == "minifloats":
        return svg.tag("rect", {**style, "x": x - r, "y": y - r, "width": 2 * r, "height": 2 * r}, name)
    corners = f"{x:.1f},{y - r:.1f} {x - r:.1f},{y + r:.1f} {x + r:.1f},{y + r:.1f}"
    return svg.tag("polygon", {**style, "points": corners}, name)


def _kind(choice: Choice) -> str:
    if choice.place is None:
        return "mixed"
    return "minifloats" if choice.place.format.startswith("e") else "integers"
