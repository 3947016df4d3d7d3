"""Samples that a meter sends by itself, timed by its own clock, and moved to this machine's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from devices.errors import DeviceError
from devices.meters.meter import Clock, raw_clock
from devices.meters.trace import Trace
from devices.meters.uncertainty import MeterSpec

#: How far a window timed by this machine may be off, because messages of a meter arrive late by an unknown time.
LATENCY_S = 0.005


@dataclass(slots=True)
class Stream:
    """Energy per period as it arrives, a `Recording`.

    The meter's clock is put on this machine's by the smallest difference between arrival and end of a period, which
    is that of the message that was least late. Drift between the two clocks is not corrected.

    Attributes:
        channel: what is measured.
        lsb_w, gain, known: see `MeterSpec`.
        method, notes: see `Recording`.
        ends_s, joules: end of each period on the meter's clock, and its energy; NaN where it was lost.
        marks_s: marks of the device under test, on the meter's clock.
        damaged: indices of samples that came in damaged.
        offset_s: this machine's clock minus the meter's.
        trouble: the first thing that went wrong.
        broken: why the whole recording is worth nothing, if anything.
    """

    channel: str
    lsb_w: float
    gain: float
    known: str | None = None
    method: str = "measured"
    notes: tuple[str, ...] = ()
    clock: Clock = raw_clock
    ends_s: list[float] = field(default_factory=list)
    joules: list[float] = field(default_factory=list)
    marks_s: list[float] = field(default_factory=list)
    damaged: list[int] = field(default_factory=list)
    offset_s: float | None = None
    trouble: str = ""
    broken: str = ""

    def add(self, end_s: float, joules: float) -> None:
        """Take one sample."""
        self.ends_s.append(end_s)
        self.joules.append(joules)

    def damage(self, end_s: float, why: str) -> None:
        """Take one sample that came in damaged."""
        self.trouble = self.trouble or why
        self.damaged.append(len(self.joules))
        self.add(end_s, float("nan"))

    def arrived(self) -> None:
        """Note that the last sample has just come in."""
        late = self.clock() / 1e9 - self.ends_s[-1]
        self.offset_s = late if self.offset_s is None else min(late, self.offset_s)

    def rails(self) -> tuple[Trace, ...]:
        """Return the one channel; see `Recording`."""
        if self.broken:
            raise DeviceError(self.broken)
        if len(self.joules) < 2:
            said = f": {self.trouble}" if self.trouble else ""
            raise DeviceError(f"the meter gave {len(self.joules)} samples{said}.")
        offset = self.offset_s or 0.0
        return (
            Trace(
                kind="energy",
                channel=self.channel,
                times_s=np.array(self.ends_s, np.float64) + offset,
                values=np.array(self.joules, np.float64),
                marks_s=tuple(mark + offset for mark in self.marks_s),
                damaged=tuple(self.damaged),
                trouble=self.trouble,
            ),
        )

    def trace(self) -> Trace:
        """Return the one channel; see `Recording`."""
        return self.rails()[0]

    def spec(self) -> MeterSpec:
        """Return the meter's error; where nothing is marked, windows are timed by this machine's clock."""
        step = self.trace().step_s
        return MeterSpec(self.lsb_w, self.gain, step if self.marks_s else step + LATENCY_S, self.known)


#: Adds what has arrived to a stream; returns False when there will be no more.
Pump = Callable[[Stream], bool]
