"""The break-even chart: how long a frame takes by each way (local, split, remote) over the rate of the link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from devices.report import units
from devices.report.curves import Axis, Chart, ChartView, Curve, view

#: Points of a line over the rates, evenly spaced in their logarithm.
POINTS = 80
_RATES = ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s"))


@dataclass(frozen=True, slots=True)
class Way:
    """A way to run a network: seconds that do not depend on the link's rate, and bits that cross it for each frame."""

    name: str
    fixed_s: float
    bits: float

    def seconds(self, rate_bit_s: float) -> float:
        """Return the expected seconds of one frame at a rate."""
        return self.fixed_s + self.bits / rate_bit_s


def break_even_chart(
    title: str, ways: Sequence[Way], low_bit_s: float, high_bit_s: float, changes_bit_s: Sequence[float] = ()
) -> ChartView:
    """Draw the time of each way over the rate, both axes logarithmic.

    Args:
        title: above the drawing.
        ways: at most four, from `edge.link.model` or measured.
        low_bit_s: the lowest rate.
        high_bit_s: the highest one.
        changes_bit_s: rates at which the fastest way changes; those within the range get a line.
    """
    steps = [low_bit_s * (high_bit_s / low_bit_s) ** (i / (POINTS - 1)) for i in range(POINTS)]
    curves = tuple(Curve(way.name, tuple((rate, way.seconds(rate)) for rate in steps)) for way in ways)
    inside = tuple(rate for rate in changes_bit_s if low_bit_s < rate < high_bit_s)
    x = Axis("rate of the link", lambda value: units.short(rate_text(value)), log=True)
    y = Axis("time of one frame", lambda value: units.short(units.seconds(value)), log=True)
    return view(Chart(title, x, y, curves, marks=inside))


def rate_text(rate_bit_s: float) -> str:
    """Write a rate with a unit."""
    scale, unit = next(((s, u) for s, u in _RATES if rate_bit_s >= s), _RATES[-1])
    return f"{units.significant(rate_bit_s / scale)} {unit}"
