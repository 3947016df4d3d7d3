"""Figures as text, in units a person reads: us, ms, KiB, thousands with commas, percent."""

from __future__ import annotations

import math
from collections.abc import Sequence

from devices.stats import Percentile

#: What stands where there is nothing to say.
DASH = "\u2013"
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_JOULES = ((1.0, "J"), (1e-3, "mJ"), (1e-6, "µJ"), (1e-9, "nJ"))
_WATTS = ((1.0, "W"), (1e-3, "mW"), (1e-6, "µW"))
_SIZES = ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))


def seconds(value: float) -> str:
    """Return a time with three significant digits, such as `57.3 µs`."""
    return _scaled(value, _TIMES)


def joules(value: float) -> str:
    """Return an energy with three significant digits, such as `6.92 mJ`."""
    return _scaled(value, _JOULES)


def watts(value: float) -> str:
    """Return a power with three significant digits, such as `41.9 mW`."""
    return _scaled(value, _WATTS)


def _scaled(value: float, scales: Sequence[tuple[float, str]]) -> str:
    factor, unit = next(((f, u) for f, u in scales if _rounds_to(value, f)), scales[-1])
    return f"{significant(value / factor)} {unit}"


def short(text: str) -> str:
    """Return a figure for an axis: without zeros at the end of its number."""
    number, space, unit = text.partition(" ")
    return f"{float(number):g}{space}{unit}"


def _rounds_to(value: float, factor: float) -> bool:
    return float(f"{value / factor:.3g}") >= 1.0


def size(value: int) -> str:
    """Return bytes as `512 B`, `17.4 KiB`, `2.1 MiB`."""
    factor, unit = next(((f, u) for f, u in _SIZES if value >= f), (1, "B"))
    return f"{value} B" if factor == 1 else f"{value / factor:.1f} {unit}"


def count(value: float) -> str:
    """Return a count with commas between thousands; halves (medians of integers) keep one decimal."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def span(values: Sequence[int]) -> str:
    """Say how the samples of a median differ; nothing for one sample."""
    least, most = min(values), max(values)
    if len(values) == 1:
        return ""
    return "the same for all" if least == most else f"median; {count(least)} to {count(most)}"


def significant(value: float, digits: int = 3) -> str:
    """Return a number with so many significant digits and no exponent."""
    if value == 0:
        return "0"
    places = digits - 1 - math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    return f"{value:.{max(places, 0)}f}"


def percent(share: float, places: int = 2) -> str:
    """Return a share of 1 as percent."""
    return f"{100 * share:.{places}f} %"


def points(difference: float) -> str:
    """Return a difference of shares in percentage points, signed."""
    rounded = round(100 * difference, 2)
    return "±0" if rounded == 0 else f"{rounded:+.2f}".replace("-", "\u2212")


def percentile(found: Percentile) -> str:
    """Return a percentile of seconds with its bound, or how many samples it needs."""
    if found.value is None or found.bound is None:
        return f"not enough samples: {found.n} of {found.n_min}"
    return f"{seconds(found.value)} (≤ {seconds(found.bound)})"
