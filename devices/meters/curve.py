"""Power over time in few points, for a drawing: kept beside the energy, where whole traces would be too large."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from devices.meters.trace import Floats, Trace

#: More points than a drawing shows.
POINTS = 300
#: How much is shown before the first and after the last window, as a part of all.
MARGIN = 0.03


@dataclass(frozen=True, slots=True)
class PowerCurve:
    """Mean power in equal steps; times are seconds from the begin of the curve.

    Attributes:
        step_s: length of a step.
        power_w: mean power of each step, None where no sample was taken.
        windows_s: begin and end of each window.
        idle_s: begin and end of the idle phase, None where there was none.
    """

    step_s: float
    power_w: tuple[float | None, ...]
    windows_s: tuple[tuple[float, float], ...]
    idle_s: tuple[float, float] | None


def power_curve(trace: Trace, windows: Sequence[tuple[float, float]], idle: tuple[float, float] | None) -> PowerCurve:
    """Return the power around windows.

    Args:
        trace: power or energy samples.
        windows: at least one begin and end, in seconds on the trace's clock.
        idle: begin and end of the idle phase, or None.
    """
    spans = [*windows, *([idle] if idle else [])]
    low, high = min(begin for begin, _ in spans), max(end for _, end in spans)
    margin, known = MARGIN * (high - low), trace.span_s
    low, high = max(known[0], low - margin), min(known[1], high + margin)
    times, watts = _points(trace)
    chosen = (times >= low) & (times < high) & np.isfinite(watts)
    count = max(1, min(POINTS, int(np.sum(chosen)) // 2))
    step = (high - low) / count
    bins = np.minimum(((times[chosen] - low) / step).astype(int), count - 1)
    numbers, sums = np.bincount(bins, minlength=count), np.bincount(bins, watts[chosen], count)
    return PowerCurve(
        step_s=step,
        power_w=tuple(_short(total / n) if n else None for total, n in zip(sums, numbers, strict=True)),
        windows_s=tuple((begin - low, end - low) for begin, end in windows),
        idle_s=(idle[0] - low, idle[1] - low) if idle else None,
    )


def _points(trace: Trace) -> tuple[Floats, Floats]:
    """Return times and powers; a period of energy is its mean power, in its middle."""
    if trace.kind == "power":
        return trace.times_s, trace.values
    edges = trace.edges_s
    return (edges[1:] + edges[:-1]) / 2, trace.values / np.diff(edges)


def _short(value: float) -> float:
    """Return six significant digits, which is more than a drawing shows."""
    return float(f"{value:.6g}")
