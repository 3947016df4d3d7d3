"""Joulescope JS110 and JS220 through the maker's package: a thin adapter, not executed on hardware here."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from devices.errors import DeviceError
from devices.meters.meter import Clock, Probe, Recording, raw_clock
from devices.meters.stream import Stream

#: Sums of energy a second that the instrument is asked for.
RATE = "100 Hz"
#: Both have 14 to 16 bits behind automatic ranges: far below what a board draws.
LSB_W = 1e-6
#: An order of magnitude for offset and gain of the middle ranges; the maker's data sheet has each range.
GAIN = 0.005

#: Finds the one instrument that is connected.
Scan = Callable[[], Any]


def scan() -> Any:
    """Find the one Joulescope.

    Raises:
        DeviceError: the package is not installed, or there is no instrument, or several.
    """
    try:
        library = importlib.import_module("joulescope")
    except ImportError as error:
        raise DeviceError("joulescope is not installed (pip install joulescope==1.5.0)") from error
    return library.scan_require_one(config="off")


@dataclass(frozen=True, slots=True)
class Joulescope:
    """The meter between a supply and the device."""

    scan: Scan = scan
    clock: Clock = raw_clock
    name: str = "joulescope"

    def probe(self) -> Probe:
        """Look for the instrument."""
        try:
            return Probe(self.name, True, str(self._find()))
        except DeviceError as error:
            return Probe(self.name, False, str(error))

    @contextmanager
    def record(self) -> Iterator[Recording]:
        """Record from entering to leaving; the instrument sums, so that no energy is lost between messages."""
        stream = Stream("supply", LSB_W, GAIN, clock=self.clock)
        taker = Taker(stream)
        device = self._find()
        try:
            device.open()
        except (RuntimeError, OSError) as error:
            raise DeviceError(f"the Joulescope cannot be opened: {error}") from error
        try:
            device.parameter_set("i_range", "auto")
            device.parameter_set("reduction_frequency", RATE)
            device.statistics_callback_register(taker.take, "sensor")
            yield stream
        finally:
            device.statistics_callback_unregister(taker.take, "sensor")
            device.close()

    def _find(self) -> Any:
        try:
            return self.scan()
        except PermissionError as error:
            raise DeviceError("the Joulescope may not be opened: permission denied (the maker's udev rule)") from error
        except (RuntimeError, OSError) as error:
            raise DeviceError(f"Joulescope: {error}") from error


@dataclass(slots=True)
class Taker:
    """Turns the running sum of energy into energies of periods."""

    stream: Stream
    last: tuple[float, float] | None = None

    def take(self, statistics: Any) -> None:
        """Take one message; a sum or a time that does not fit the one before makes a damaged sample."""
        try:
            end_s = float(statistics["time"]["range"]["value"][1])
            sum_j = float(statistics["accumulators"]["energy"]["value"])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            self.stream.broken = f"the Joulescope sent a message of another form: {error!r}"
            return
        if self.last is not None:
            if not end_s > self.last[0]:
                self.stream.broken = f"the Joulescope's time stands still at {end_s:g} s; it is stale"
                return
            self.stream.add(end_s, sum_j - self.last[1])
            self.stream.arrived()
        self.last = (end_s, sum_j)
