"""How sure an energy is, in the terms of the GUM (JCGM 100:2008)."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass

from devices.errors import DeviceError

#: Windows that a type A uncertainty takes.
LEAST_WINDOWS = 5


@dataclass(frozen=True, slots=True)
class MeterSpec:
    """What is known of a meter's error.

    Attributes:
        lsb_w: resolution, as power.
        gain: the largest relative error that its maker specifies.
        mark_jitter_s: how far off the edge of a window may be, a sample period at least.
        known: where these come from; None when they are guesses of the order of magnitude.
    """

    lsb_w: float
    gain: float
    mark_jitter_s: float
    known: str | None = None

    def __post_init__(self) -> None:
        """Refuse errors that are no numbers or below 0."""
        for name in ("lsb_w", "gain", "mark_jitter_s"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise DeviceError(f"meter specification: {name} is {value}; it must be 0 or more.")


def type_a(gross_j: tuple[float, ...]) -> float | None:
    """Return the standard uncertainty of the median of n windows, in J: sqrt(pi / 2) s / sqrt(n).

    That is the standard error of a mean (JCGM 100, 4.2.3) times the ratio for a median of normal values. None
    below LEAST_WINDOWS windows, whose spread says too little.
    """
    if len(gross_j) < LEAST_WINDOWS:
        return None
    return math.sqrt(math.pi / 2) * statistics.stdev(gross_j) / math.sqrt(len(gross_j))


def type_b(spec: MeterSpec, joules: float, length_s: float, inferences: int) -> float:
    """Return the standard uncertainty per inference that the meter brings to one window, in J.

    Resolution: lsb / sqrt(12), the same error for the whole window. Gain: a rectangle of the specified limit,
    limit / sqrt(3) (JCGM 100, 4.3.7). Marks: both edges, 2 * jitter * P. In quadrature.
    """
    power = joules / length_s
    resolution = spec.lsb_w / math.sqrt(12) * length_s
    gain = spec.gain / math.sqrt(3) * joules
    marks = 2 * spec.mark_jitter_s * power
    return math.sqrt(resolution**2 + gain**2 + marks**2) / inferences
