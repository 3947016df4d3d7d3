"""The roofline: how near a measured latency comes to what one core can compute, and to what it can fetch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.report import svg, units
from devices.report.front import RADIUS, short_count
from devices.report.joined import Entry, cost, entries
from devices.report.scale import Scale, fitted
from devices.roofline.ceiling import Ceiling
from devices.run_record import RunRecord
from quant.cost import Summary

#: Both slopes of the roof are shown at least so far from its ridge, as a factor.
LEAST_REACH = 8.0


@dataclass(frozen=True, slots=True)
class Spot:
    """One measured network: multiply-accumulates per byte that must move, and per second."""

    name: str
    macs_per_byte: float
    macs_per_s: float


@dataclass(frozen=True, slots=True)
class Roofline:
    """The ceilings of one machine with what was measured on it."""

    ceiling: Ceiling
    spots: tuple[Spot, ...]

    @property
    def title(self) -> str:
        """The machine, and how its ceilings were reached."""
        return f"{self.ceiling.machine}, one core ({self.ceiling.kernel}, {self.ceiling.method})"


def rooflines(run: RunRecord) -> tuple[Roofline, ...]:
    """Return a roofline for every machine with ceilings and a measured latency of a whole network."""
    found = (Roofline(ceiling, _spots(run, ceiling)) for ceiling in run.ceilings)
    return tuple(roofline for roofline in found if roofline.spots)


def _spots(run: RunRecord, ceiling: Ceiling) -> tuple[Spot, ...]:
    costs = {record.scheme: record.cost for record in run.schemes}
    return tuple(
        Spot(entry.title, summary.macs / traffic_bytes(summary), summary.macs / cost(entry, "latency"))
        for entry in entries(run)
        if _belongs(entry, ceiling) and (summary := costs.get(entry.scheme)) is not None
    )


def _belongs(entry: Entry, ceiling: Ceiling) -> bool:
    item = entry.measurement
    timed = item.method == "measured" and item.samples_s and cost(entry, "latency") > 0
    return bool(timed and entry.is_whole and item.conditions.cpu_model == ceiling.machine)


def traffic_bytes(summary: Summary) -> int:
    """Return the bytes that one inference moves at least, layer by layer: parameters once, activations in and out."""
    return summary.parameter_bytes + 2 * summary.activation_bytes


def share(spot: Spot, ceiling: Ceiling) -> float:
    """Return which part of its ceiling a network reaches."""
    return spot.macs_per_s / ceiling.at(spot.macs_per_byte)


def draw(roofline: Roofline) -> str:
    """Return the drawing: the roof, and a numbered mark for every network."""
    frame = svg.Frame(height=240, right=38)
    x, y = _scales(roofline, frame)
    body = (
        svg.x_axis(frame, x, lambda v: units.short(units.significant(v)), "MACs per byte that must move"),
        svg.y_axis(frame, y, lambda v: units.short(short_count(v)), "MACs per second"),
        svg.polyline([(x.place(a), y.place(b)) for a, b in _roof(roofline.ceiling, x)], "front"),
        *(_mark(i, spot, x, y) for i, spot in enumerate(roofline.spots)),
    )
    return svg.drawing(frame.width, frame.height, f"Roofline of {roofline.title}", *body)


def _scales(roofline: Roofline, frame: svg.Frame) -> tuple[Scale, Scale]:
    ceiling, spots = roofline.ceiling, roofline.spots
    ridge = ceiling.macs_per_s / ceiling.bytes_per_s
    places = [ridge / LEAST_REACH, ridge * LEAST_REACH, *(spot.macs_per_byte for spot in spots)]
    x = fitted(places, frame.x_pixels, log=True, margin=0.05)
    heights = [ceiling.macs_per_s, ceiling.at(x.low), *(spot.macs_per_s for spot in spots)]
    return x, fitted(heights, frame.y_pixels, log=True, margin=0.12)


def _roof(ceiling: Ceiling, x: Scale) -> Sequence[tuple[float, float]]:
    ridge = ceiling.macs_per_s / ceiling.bytes_per_s
    return [(place, ceiling.at(place)) for place in (x.low, ridge, x.high)]


def _mark(index: int, spot: Spot, x: Scale, y: Scale) -> str:
    cx, cy = x.place(spot.macs_per_byte), y.place(spot.macs_per_s)
    shape = svg.tag("ellipse", {"class": "point", "cx": cx, "cy": cy, "rx": RADIUS, "ry": RADIUS})
    return svg.tag("g", {}, shape, svg.words(cx, cy + 4, str(index + 1), "number"))
