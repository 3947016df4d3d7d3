"""The power rails of a Jetson as tegrastats prints them; coarser in time than the INA3221 itself (`ina`)."""

from __future__ import annotations

import math
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from devices import tools
from devices.errors import DeviceError
from devices.meters import rails
from devices.meters.ina import GAIN
from devices.meters.meter import Clock, Probe, raw_clock
from devices.meters.sampler import Sampled, Source
from devices.meters.tegrastats_line import parse

PERIOD_S = 0.1
COMMAND = ("tegrastats", "--interval", str(round(PERIOD_S * 1000)))
#: How long the first line may take, in seconds.
FIRST_S = 5.0
#: One step of an INA3221 with a 5 mOhm shunt at 5 V.
LSB_W = 0.04
_NOTE = "times are those at which lines of tegrastats arrive; what it averages over is not known"

#: Starts the command and returns its lines, until the context ends.
Start = Callable[[tuple[str, ...]], AbstractContextManager[Iterator[str]]]


@contextmanager
def start(argv: tuple[str, ...]) -> Iterator[Iterator[str]]:
    """Start a command and hand over its lines; it is killed at the end.

    Raises:
        DeviceError: it cannot be started.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise DeviceError(f"{argv[0]} cannot be started: {error.strerror}") from error
    assert process.stdout is not None
    try:
        yield (line.decode(errors="replace") for line in process.stdout)
    finally:
        tools.kill_group(process)


@dataclass(frozen=True, slots=True)
class Tegrastats:
    """The meter; `wanted` names rails to add up, separated by commas."""

    wanted: str = ""
    start: Start = start
    clock: Clock = raw_clock
    name: str = "tegrastats"

    def probe(self) -> Probe:
        """Read its first line."""
        try:
            with self.record() as found:
                channels, first = found.source.channels, found.rows[0]
        except DeviceError as error:
            return Probe(self.name, False, str(error))
        return Probe(self.name, True, ", ".join(f"{n} {w:.3g} W" for n, w in zip(channels, first, strict=True)))

    @contextmanager
    def record(self) -> Iterator[Sampled]:
        """Take lines in a thread, from entering to leaving."""
        taker = Taker(self.clock, self.wanted)
        with self.start(COMMAND) as lines:
            thread = threading.Thread(target=taker.run, args=(lines,), name="tegrastats", daemon=True)
            thread.start()
            if not taker.heard.wait(FIRST_S):
                raise DeviceError(f"tegrastats says nothing for {FIRST_S:g} s")
            if taker.found is None:
                raise DeviceError(taker.trouble)
            yield taker.found
        thread.join()


@dataclass(slots=True)
class Taker:
    """Turns lines into samples."""

    clock: Clock
    wanted: str
    heard: threading.Event = field(default_factory=threading.Event)
    found: Sampled | None = None
    trouble: str = "tegrastats ended without a line"

    def run(self, lines: Iterator[str]) -> None:
        """Take every line; the first one says which rails there are."""
        try:
            for line in lines:
                self.take(line)
        except ValueError:
            pass  # the pipe was closed at the end of the recording
        finally:
            self.heard.set()

    def take(self, line: str) -> None:
        """Take one line; one that lacks a rail is a sample that failed."""
        arrived, powers = self.clock(), dict(parse(line).power_w)
        if self.found is None:
            self._begin(line, tuple(powers))
        if self.found is not None:
            row = tuple(powers.get(name, float("nan")) for name in self.found.source.channels)
            if any(math.isnan(value) for value in row):
                self.found.trouble = self.found.trouble or f"the line '{line.strip()[:60]}' lacks a rail"
            self.found.times_ns.append(arrived)
            self.found.rows.append(row)
            self.heard.set()

    def _begin(self, line: str, names: tuple[str, ...]) -> None:
        if not names:
            self.trouble = f"tegrastats shows no power rails (it may need sudo): '{line.strip()[:60]}'"
            self.heard.set()
            return
        try:
            totals = rails.chosen_names(names, self.wanted)
        except DeviceError as error:
            self.trouble = str(error)
            self.heard.set()
            return
        self.found = Sampled(
            Source(names, lambda: (), totals, PERIOD_S, lsb_w=LSB_W, gain=GAIN, notes=(_NOTE,)),
        )
