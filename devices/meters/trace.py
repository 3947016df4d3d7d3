"""A trace: what a meter said over time, on one clock, and its integral between two marks.

A power trace holds power at points in time; its energy is the trapezoid sum, with the first and the last sample in a
window held to the window's edges. An energy trace holds the energy of whole sample periods; its energy is their sum,
and a period that an edge cuts counts by its share. An edge on the grid of the samples cuts nothing, so that the sum is
the one over `values[round(t0 * rate):round(t1 * rate)]`.

A window with a sample that is missing, damaged, no number, or that does not move has no energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from devices.errors import DeviceError

Kind = Literal["power", "energy"]
Floats = NDArray[np.float64]

#: The clock of everything that is sampled on this machine; worker records use it as well.
HOST_CLOCK = "CLOCK_MONOTONIC_RAW"
#: As many equal values in a row, over more than half of a window, are a meter that stands still.
STALE_RUN = 20
#: A pause longer than this part of a window and than this many usual distances leaves energy unseen.
PAUSE_PART = 0.2
PAUSE_STEPS = 5.0
#: A mark may lie so far outside the grid as numbers are rounded, in sample distances.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """Samples of one channel.

    Attributes:
        kind: `power` (W at a point in time) or `energy` (J of the period that ends there).
        channel: what is measured; a sum names its rails in `rails`.
        times_s: float64 [n], rising. Sample i of an energy trace ends at times_s[i].
        values: float64 [n]; NaN where the meter gave no number.
        marks_s: points in time that the device under test marked.
        clock: what the times count on.
        damaged: indices of samples that came in damaged.
        rails: the channels that `values` add up.
        trouble: what the meter said when a sample failed, if anything.
        begin_s: where the first period of an energy trace begins; None: one usual distance before its end.
    """

    kind: Kind
    channel: str
    times_s: Floats
    values: Floats
    marks_s: tuple[float, ...] = ()
    clock: str = HOST_CLOCK
    damaged: tuple[int, ...] = ()
    rails: tuple[str, ...] = ()
    trouble: str = ""
    begin_s: float | None = None

    def __post_init__(self) -> None:
        """Refuse what is no trace: other lengths, no samples, times that do not rise."""
        if self.kind not in ("power", "energy"):
            raise DeviceError(f"a trace of kind '{self.kind}'; known are power and energy.")
        if self.times_s.ndim != 1 or self.times_s.shape != self.values.shape:
            shapes = f"{self.times_s.shape} times and {self.values.shape} values"
            raise DeviceError(f"trace '{self.channel}': {shapes}; both must be as long as there are samples.")
        if len(self.times_s) < 2:
            raise DeviceError(f"trace '{self.channel}' holds {len(self.times_s)} samples; {_said(self)}at least 2.")
        if self.begin_s is not None and not self.begin_s < self.times_s[0]:
            raise DeviceError(f"trace '{self.channel}': its first period begins at {self.begin_s:g} s, after its end.")
        late = np.flatnonzero(~(np.diff(self.times_s) > 0))
        if late.size:
            raise DeviceError(
                f"trace '{self.channel}': time does not advance after sample {late[0]} ({self.times_s[late[0]]:g} s); "
                "the meter is stale."
            )

    @property
    def step_s(self) -> float:
        """The usual distance between two samples."""
        return float(np.median(np.diff(self.times_s)))

    @property
    def edges_s(self) -> Floats:
        """Float64 [n + 1]: where the periods of an energy trace begin and end."""
        return np.concatenate(([self.span_s[0]], self.times_s))

    @property
    def span_s(self) -> tuple[float, float]:
        """From when to when the trace knows the energy."""
        begin = self.times_s[0] - self.step_s if self.begin_s is None else self.begin_s
        end = self.times_s[-1] + (self.step_s if self.kind == "power" else 0.0)
        return float(begin), float(end)


def _said(trace: Trace) -> str:
    return f"{trace.trouble}; " if trace.trouble else "an integral needs "


def inside(trace: Trace, t0_s: float, t1_s: float) -> slice:
    """Return which samples belong to a window: those in it, or whose period lies at least partly in it."""
    if trace.kind == "power":
        first, last = np.searchsorted(trace.times_s, t0_s, "left"), np.searchsorted(trace.times_s, t1_s, "right")
        return slice(int(first), int(last))
    slack = _ROUNDING * trace.step_s
    first = np.searchsorted(trace.times_s, t0_s + slack, "right")
    last = np.searchsorted(trace.edges_s[:-1], t1_s - slack, "left")
    return slice(int(first), int(last))


def integrate(trace: Trace, t0_s: float, t1_s: float, *, may_stand_still: bool = False) -> float:
    """Return the energy between two points in time, in J.

    Args:
        trace: power or energy samples.
        t0_s: where the window begins, on the clock of the trace.
        t1_s: where it ends.
        may_stand_still: whether equal values all along are possible, as of one rail whose unit is switched off.

    Raises:
        DeviceError: the window is empty or not covered by the trace, holds fewer than 2 samples, a sample that is
            damaged or no number, a pause, or values that stand still.
    """
    chosen = inside(trace, t0_s, t1_s)
    _check_window(trace, t0_s, t1_s, chosen)
    if not may_stand_still:
        _check_motion(trace, t0_s, t1_s, chosen)
    values = trace.values[chosen]
    if trace.kind == "power":
        times = np.concatenate(([t0_s], trace.times_s[chosen], [t1_s]))
        held = np.concatenate((values[:1], values, values[-1:]))
        return float(np.sum(0.5 * (held[1:] + held[:-1]) * np.diff(times)))
    begin, end = trace.edges_s[:-1][chosen], trace.times_s[chosen]
    share = (np.minimum(end, t1_s) - np.maximum(begin, t0_s)) / (end - begin)
    return float(np.sum(values * np.where(share > 1 - _ROUNDING, 1.0, share)))


def _check_window(trace: Trace, t0_s: float, t1_s: float, chosen: slice) -> None:
    where = _where(trace, t0_s, t1_s)
    if not t1_s > t0_s:
        raise DeviceError(f"{where}: it ends before it begins.")
    low, high = trace.span_s
    slack = _ROUNDING * trace.step_s
    if t0_s < low - slack or t1_s > high + slack:
        raise DeviceError(f"{where}: the trace only covers {low:.6g} to {high:.6g} s.")
    count = chosen.stop - chosen.start
    if count < 2:
        raise DeviceError(f"{where}: {count} samples are too few; make windows longer or sample faster.")
    bad = [index for index in trace.damaged if chosen.start <= index < chosen.stop]
    if bad:
        raise DeviceError(f"{where}: {len(bad)} samples came in damaged, the first is number {bad[0]}.")
    lost = np.flatnonzero(~np.isfinite(trace.values[chosen]))
    if lost.size:
        said = f": {trace.trouble}" if trace.trouble else ""
        raise DeviceError(f"{where}: {lost.size} of {count} samples are no numbers{said}.")
    pause = float(np.max(np.diff(trace.times_s[chosen])))
    if pause > PAUSE_PART * (t1_s - t0_s) and pause > PAUSE_STEPS * trace.step_s:
        raise DeviceError(f"{where}: no sample for {pause:.3g} s.")


def _where(trace: Trace, t0_s: float, t1_s: float) -> str:
    return f"trace '{trace.channel}', window {t0_s:.6g} to {t1_s:.6g} s"


def _check_motion(trace: Trace, t0_s: float, t1_s: float, chosen: slice) -> None:
    values = trace.values[chosen]
    longest = _longest_run(values)
    if longest >= STALE_RUN and 2 * longest > len(values):
        raise DeviceError(
            f"{_where(trace, t0_s, t1_s)}: {longest} of {len(values)} samples in a row are equal; the meter is stale, "
            "it stands still."
        )


def _longest_run(values: Floats) -> int:
    changes = np.flatnonzero(np.diff(values) != 0)
    ends = np.concatenate(([-1], changes, [len(values) - 1]))
    return int(np.max(np.diff(ends)))


def total(traces: tuple[Trace, ...], channel: str = "total") -> Trace:
    """Add up rails that were sampled together.

    Raises:
        DeviceError: there is none, or they are of different kinds or times.
    """
    if not traces:
        raise DeviceError("there is no rail to add up.")
    first = traces[0]
    for other in traces[1:]:
        if other.kind != first.kind or not np.array_equal(other.times_s, first.times_s):
            raise DeviceError(f"rails {first.channel} and {other.channel} were not sampled together; keep them apart.")
    return Trace(
        kind=first.kind,
        channel=first.channel if len(traces) == 1 else channel,
        times_s=first.times_s,
        values=np.sum([trace.values for trace in traces], axis=0),
        marks_s=first.marks_s,
        clock=first.clock,
        damaged=tuple(sorted({index for trace in traces for index in trace.damaged})),
        rails=tuple(trace.channel for trace in traces),
        trouble=next((trace.trouble for trace in traces if trace.trouble), ""),
        begin_s=first.begin_s,
    )
