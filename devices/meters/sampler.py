"""A thread that asks a meter at a fixed rate, and what it gathered."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np

from devices.errors import DeviceError
from devices.meters.meter import Clock, raw_clock
from devices.meters.trace import Floats, Kind, Trace, total
from devices.meters.uncertainty import MeterSpec

#: Waits for seconds or for the end; returns whether it is the end.
Pause = Callable[[threading.Event, float], bool]
#: One value for each channel: W, or a counter in J that rises.
ReadAll = Callable[[], tuple[float, ...]]
#: How long the thread may take to end, in seconds.
JOIN_S = 30.0


def pause(stop: threading.Event, seconds: float) -> bool:
    """Wait on the real clock."""
    return stop.wait(seconds)


@dataclass(frozen=True, slots=True)
class Timing:
    """Which clock samples are stamped with, and how the thread waits; tests replace both."""

    clock: Clock = raw_clock
    pause: Pause = pause


#: This machine's clock.
REAL = Timing()


@dataclass(frozen=True, slots=True)
class Source:
    """A meter that is open.

    Attributes:
        channels: names, one for each value that `read` returns.
        read: asks the meter; raises DeviceError when it gives none.
        counted: whether values are counters in J instead of powers in W.
        wraps_j: where each counter starts over, in J; None where it does not.
        totals: the channels that make up the total.
        period_s: how often to ask.
        lsb_w, gain, known: see `MeterSpec`.
        notes: what a reader of the figures should know.
        method: `measured`, or `simulated` where the meter says that it is.
    """

    channels: tuple[str, ...]
    read: ReadAll
    totals: tuple[str, ...]
    period_s: float
    counted: bool = False
    wraps_j: tuple[float | None, ...] = ()
    lsb_w: float = 0.0
    gain: float = 0.0
    known: str | None = None
    notes: tuple[str, ...] = ()
    method: str = "measured"


@dataclass(slots=True)
class Sampled:
    """The samples of one source, a `Recording`."""

    source: Source
    times_ns: list[int] = field(default_factory=list)
    rows: list[tuple[float, ...]] = field(default_factory=list)
    trouble: str = ""

    @property
    def method(self) -> str:
        """As the source says."""
        return self.source.method

    @property
    def notes(self) -> tuple[str, ...]:
        """As the source says."""
        return self.source.notes

    def sample(self, clock: Clock) -> None:
        """Ask once; a sample that fails is NaN, so that no window can pass over it."""
        begin = clock()
        try:
            row = self.source.read()
        except DeviceError as error:
            self.trouble = self.trouble or str(error)
            row = tuple(float("nan") for _ in self.source.channels)
        self.times_ns.append((begin + clock()) // 2)
        self.rows.append(row)

    def rails(self) -> tuple[Trace, ...]:
        """Return one trace a channel; see `Recording`."""
        if len(self.rows) < 2 + self.source.counted:
            said = f": {self.trouble}" if self.trouble else ""
            raise DeviceError(f"the meter gave {len(self.rows)} samples{said}.")
        times = np.array(self.times_ns, np.float64) / 1e9
        values = np.array(self.rows, np.float64)
        return tuple(self._rail(index, times, values[:, index]) for index in range(len(self.source.channels)))

    def _rail(self, index: int, times: Floats, values: Floats) -> Trace:
        kind: Kind = "energy" if self.source.counted else "power"
        begin = None
        if self.source.counted:
            wrap = self.source.wraps_j[index] if self.source.wraps_j else None
            begin, times, values = float(times[0]), times[1:], unwrapped(values, wrap)
        return Trace(kind, self.source.channels[index], times, values, trouble=self.trouble, begin_s=begin)

    def trace(self) -> Trace:
        """Return the sum of the rails that make up the total; see `Recording`."""
        return total(tuple(rail for rail in self.rails() if rail.channel in self.source.totals))

    def spec(self) -> MeterSpec:
        """Return the meter's error; a window's edge may be off by one sample."""
        return MeterSpec(self.source.lsb_w, self.source.gain, self._step_s(), self.source.known)

    def _step_s(self) -> float:
        if len(self.times_ns) < 2:
            return self.source.period_s
        return float(np.median(np.diff(self.times_ns))) / 1e9


def unwrapped(counters: Floats, wrap_j: float | None) -> Floats:
    """Return the energy between readings of a counter that starts over at `wrap_j`, in J: float64 [n - 1].

    A counter that falls although it does not start over gives NaN: it was reset, and energy went unseen.
    """
    steps = np.diff(counters)
    return np.where(steps < 0, steps + (float("nan") if wrap_j is None else wrap_j), steps)


@contextmanager
def sampling(source: Source, timing: Timing) -> Iterator[Sampled]:
    """Ask a source in a thread of its own, from entering to leaving; once before and once after."""
    found, stop = Sampled(source), threading.Event()

    def run() -> None:
        while not timing.pause(stop, source.period_s):
            found.sample(timing.clock)

    found.sample(timing.clock)
    thread = threading.Thread(target=run, name="meter", daemon=True)
    thread.start()
    try:
        yield found
    finally:
        stop.set()
        thread.join(JOIN_S)
        if thread.is_alive():
            found.trouble = f"the meter did not answer for {JOIN_S:g} s"
        else:
            found.sample(timing.clock)
