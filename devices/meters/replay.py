"""A recorded trace in the place of a meter; whatever comes of it is labelled `replayed`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devices.errors import DeviceError
from devices.meters.meter import Probe, Recording
from devices.meters.trace import Trace
from devices.meters.trace_file import ReadBytes, read_bytes, read_trace
from devices.meters.uncertainty import MeterSpec


@dataclass(frozen=True, slots=True)
class Replayed:
    """A trace that was read, a `Recording`."""

    found: Trace
    method: str = "replayed"
    notes: tuple[str, ...] = ("replayed from a file, on the file's own clock",)

    def rails(self) -> tuple[Trace, ...]:
        """Return the one trace."""
        return (self.found,)

    def trace(self) -> Trace:
        """Return the one trace."""
        return self.found

    def spec(self) -> MeterSpec:
        """Return an error of marks alone: a file does not say what meter it comes from."""
        return MeterSpec(0.0, 0.0, self.found.step_s)


@dataclass(frozen=True, slots=True)
class Replay:
    """A file as a meter; `argument` is its path."""

    argument: str = ""
    read: ReadBytes = read_bytes
    name: str = "replay"

    def probe(self) -> Probe:
        """Read the file."""
        try:
            trace = self._read()
        except DeviceError as error:
            return Probe(self.name, False, str(error))
        low, high = trace.span_s
        text = f"{trace.kind} of {high - low:.6g} s, {len(trace.values)} samples, {len(trace.marks_s)} marks"
        return Probe(self.name, True, text)

    @contextmanager
    def record(self) -> Iterator[Recording]:
        """Hand over the file's trace."""
        yield Replayed(self._read())

    def _read(self) -> Trace:
        if not self.argument:
            raise DeviceError("the trace is not named: replay:trace1-energy.bin")
        return read_trace(Path(self.argument), read=self.read)
