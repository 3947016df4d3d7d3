"""Meters that are asked for one value after the other, whatever they are: open, read at a fixed rate, close."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from devices.errors import DeviceError
from devices.meters.meter import Probe, Recording
from devices.meters.sampler import REAL, Source, Timing, sampling

#: Opens a meter for as long as the context lasts; raises DeviceError when it is not there.
Open = Callable[[], AbstractContextManager[Source]]


@dataclass(frozen=True, slots=True)
class Polled:
    """A `Meter` made of a function that opens it."""

    name: str
    open: Open
    timing: Timing = REAL

    def probe(self) -> Probe:
        """Open it and read every channel once."""
        try:
            with self.open() as source:
                values = source.read()
        except DeviceError as error:
            return Probe(self.name, False, str(error))
        if source.counted:
            return Probe(self.name, True, f"counts the energy of {', '.join(source.totals)}")
        each = ", ".join(f"{name} {power:.3g} W" for name, power in zip(source.channels, values, strict=True))
        return Probe(self.name, True, f"{each}; the total is {' + '.join(source.totals)}")

    @contextmanager
    def record(self) -> Iterator[Recording]:
        """Sample all channels in a thread."""
        with self.open() as source, sampling(source, self.timing) as found:
            yield found


@contextmanager
def open_forever(source: Source) -> Iterator[Source]:
    """Hand over a source that needs no closing."""
    yield source
