"""What a meter is: something that can be asked whether it is there, and that records a trace while others work."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from devices.meters.trace import Trace
from devices.meters.uncertainty import MeterSpec

ROOT = Path("/")

#: Reads a small text file; tests hand in one that fails, lags or lies.
ReadText = Callable[[Path], str]
#: Nanoseconds of CLOCK_MONOTONIC_RAW.
Clock = Callable[[], int]


@dataclass(frozen=True, slots=True)
class Probe:
    """One kind of meter: whether it is there, and what was seen where."""

    name: str
    available: bool
    detail: str


class Recording(Protocol):
    """What was recorded; complete once the context of `Meter.record` has ended."""

    def rails(self) -> tuple[Trace, ...]:
        """Return a trace of every channel.

        Raises:
            DeviceError: there is none, with what the meter said.
        """
        ...

    def trace(self) -> Trace:
        """Return what makes up the total."""
        ...

    def spec(self) -> MeterSpec:
        """Return what is known of the meter's error."""
        ...

    @property
    def method(self) -> str:
        """`measured`, `replayed` or `simulated`."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the figures should know."""
        ...


class Meter(Protocol):
    """One meter."""

    @property
    def name(self) -> str:
        """What a person types."""
        ...

    def probe(self) -> Probe:
        """Say whether it is there, and what was seen; never raises for a meter that is not."""
        ...

    def record(self) -> AbstractContextManager[Recording]:
        """Record from entering to leaving.

        Raises:
            DeviceError: it cannot be read.
        """
        ...


def raw_clock() -> int:
    """Return nanoseconds of the clock that worker records use."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


def read_text(path: Path) -> str:
    """Return a small text file; errors of the system are the caller's."""
    return path.read_text()
