"""From values to places on an axis, linear or logarithmic, and where the ticks stand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

#: Costs that span more than this factor get a logarithmic axis.
WIDE = 8.0


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps `low`..`high` to the pixels `start`..`end`."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def place(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, value = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * (value - low) / (high - low)


def fitted(values: Sequence[float], pixels: tuple[float, float], *, log: bool, margin: float = 0.06) -> Scale:
    """Return a scale around values, with a margin on both sides as a share of the span.

    Args:
        values: at least one; positive for a logarithmic scale.
        pixels: where the axis starts and ends.
        log: whether equal ratios take equal space.
        margin: free space at each end.
    """
    low, high = min(values), max(values)
    if log:
        ratio = max(high / low, 1.2) ** margin if high > low else 1.2
        return Scale(low / ratio, high * ratio, *pixels, log=True)
    space = (high - low) * margin if high > low else max(abs(high) * 0.1, 1e-9)
    return Scale(low - space, high + space, *pixels, log=False)


def of_shares(values: Sequence[float], pixels: tuple[float, float], margin: float) -> Scale:
    """Return a linear scale around shares that shows nothing below 0 or above 1; see `fitted`."""
    scale = fitted(values, pixels, log=False, margin=margin)
    return Scale(max(scale.low, 0.0), min(scale.high, 1.0), *pixels, log=False)


def ticks(scale: Scale, about: int) -> tuple[float, ...]:
    """Return round values inside a scale, about so many."""
    if scale.log:
        found = _log_ticks(scale, about)
        if len(found) >= 3:
            return found
    return _linear_ticks(scale.low, scale.high, about)


def _log_ticks(scale: Scale, about: int) -> tuple[float, ...]:
    exponents = range(math.floor(math.log10(scale.low)), math.ceil(math.log10(scale.high)) + 1)
    for mantissas in ((1, 2, 5), (1, 3), (1,)):
        found = tuple(v for e in exponents for v in (m * 10.0**e for m in mantissas) if _inside(v, scale))
        if len(found) <= about + 1:
            return found
    return found[:: -(-len(found) // (about + 1))]


def _inside(value: float, scale: Scale) -> bool:
    return scale.low * (1 - 1e-9) <= value <= scale.high * (1 + 1e-9)


def _linear_ticks(low: float, high: float, about: int) -> tuple[float, ...]:
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(i * step for i in range(first, last + 1))
