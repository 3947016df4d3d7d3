"""ST's LPM01A (X-NUCLEO-LPM01A, PowerShield) over its serial port: it feeds the device and sums up its energy.

The order of commands is that of the MLCommons runner. Nothing here was executed on hardware: the tests speak to
`devices.meters.simulated.lpm01a` on a pseudo-terminal.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from devices.errors import DeviceError
from devices.meters import lpm01a_lines as lines
from devices.meters.lpm01a_lines import Line
from devices.meters.lpm01a_port import ANSWER_S, OpenPort, Talk, open_port
from devices.meters.meter import Clock, Probe, Recording, raw_clock
from devices.meters.stream import Stream

#: One sample has four digits: at some tens of mW a step of 10 uW.
LSB_W = 1e-5
#: ST's user manual gives +-2 % for dynamic and static currents.
GAIN = 0.02
KNOWN = "ST's user manual of the LPM01A"
#: The device under test pulls this pin at the begin and the end of a window.
EVENT = "eventsrc d7 fal"
#: Between time stamp and number of samples; more is lost samples.
LOST_S = 0.05
SIMULATED = "SIMULATED"


@dataclass(frozen=True, slots=True)
class Lpm01a:
    """The meter on one port; `argument` is `PORT,VOLTAGE[,RATE]` as in `/dev/ttyACM0,1800m,1k`."""

    argument: str = ""
    open_port: OpenPort = open_port
    clock: Clock = raw_clock
    name: str = "lpm01a"

    def probe(self) -> Probe:
        """Ask it who it is."""
        try:
            with self._talk() as talk:
                return Probe(self.name, True, talk.ask("powershield", self.clock))
        except DeviceError as error:
            return Probe(self.name, False, str(error))

    @contextmanager
    def record(self) -> Iterator[Recording]:
        """Feed the device, record from entering to leaving, and switch it off."""
        port, volts, rate = self._parts()
        if not volts:
            raise DeviceError(f"the LPM01A feeds the device: name its supply voltage, lpm01a:{port},1800m")
        with self._talk() as talk:
            said = talk.ask("powershield", self.clock)
            for command in _setup(volts, rate):
                talk.ask(command, self.clock)
            stream = Stream("supply", LSB_W, GAIN, KNOWN, "simulated" if SIMULATED in said else "measured")
            stream.clock = self.clock
            try:
                with _reading(talk, stream, lines.RATES_HZ[rate], self.clock):
                    yield stream
            finally:
                talk.ask("pwr off", self.clock)
                talk.ask("hrc", self.clock)

    @contextmanager
    def _talk(self) -> Iterator[Talk]:
        path = self._parts()[0]
        try:
            port = self.open_port(path)
        except OSError as error:
            raise DeviceError(f"{path} cannot be opened: {error.strerror or error}") from error
        try:
            yield Talk(port)
        finally:
            port.close()

    def _parts(self) -> tuple[str, str, str]:
        path, volts, rate = (*self.argument.split(","), "", "")[:3]
        if not path:
            raise DeviceError("the LPM01A's port is not named: lpm01a:/dev/ttyACM0,1800m")
        if volts and not lines.is_voltage(volts):
            raise DeviceError(f"the LPM01A makes 1800m to 3300m (mV), not '{volts}'")
        if rate and rate not in lines.RATES_HZ:
            raise DeviceError(f"the LPM01A sums energy at {', '.join(lines.RATES_HZ)} Hz, not '{rate}'")
        return path, volts, rate or "1k"


def _setup(volts: str, rate: str) -> tuple[str, ...]:
    return (
        "htc",
        "pwr off",
        "acqtime inf",
        "trigdelay 0",
        "trigsrc sw",
        EVENT,
        "output energy",
        "format ascii_dec",
        f"freq {rate}",
        f"volt {volts}",
        "pwr on nostatus",
    )


@contextmanager
def _reading(talk: Talk, stream: Stream, rate_hz: float, clock: Clock) -> Iterator[None]:
    stopping = threading.Event()
    taker = Taker(stream, rate_hz)

    def run() -> None:
        try:
            taker.take_all(talk, stopping, clock)
        except DeviceError as error:
            stream.broken = str(error)

    thread = threading.Thread(target=run, name="lpm01a", daemon=True)
    talk.send("start")
    thread.start()
    try:
        yield
    finally:
        try:
            talk.send("stop")
        finally:
            stopping.set()
            thread.join()


@dataclass(slots=True)
class Taker:
    """Turns lines into samples and marks."""

    stream: Stream
    rate_hz: float
    events: int | None = None
    completed: bool = False

    def take_all(self, talk: Talk, stopping: threading.Event, clock: Clock) -> None:
        """Read until the meter says that it is done, or says nothing for too long after it was stopped."""
        heard = clock()
        while not self.completed:
            before = len(self.stream.joules)
            any_line = False
            for line in talk.lines():
                any_line = True
                self.take(line)
            if len(self.stream.joules) > before:
                self.stream.arrived()
            heard = clock() if any_line or not stopping.is_set() else heard
            if clock() - heard > ANSWER_S * 1e9:
                self.stream.broken = "the LPM01A did not confirm the end of the acquisition"
                return

    def take(self, line: Line) -> None:
        """Take one line."""
        end_s = (len(self.stream.joules) + 1) / self.rate_hz
        match line.kind:
            case "sample":
                self.stream.add(end_s, line.value or 0.0)
            case "garbled":
                self.stream.damage(end_s, f"the line '{line.text[:40]}' is garbled")
                if line.value is not None:
                    self.stream.add(end_s + 1 / self.rate_hz, line.value)
            case "event":
                self._mark(line.number)
            case "time":
                self._check_time(line)
            case "error":
                self.stream.broken = f"the LPM01A stopped: {line.text}"
            case "completed":
                self.completed = True

    def _mark(self, number: int) -> None:
        if self.events is not None and number != self.events + 1:
            self.stream.broken = f"mark {number} came after mark {self.events}: one was lost"
        self.events = number
        self.stream.marks_s.append(len(self.stream.joules) / self.rate_hz)

    def _check_time(self, line: Line) -> None:
        count_s = len(self.stream.joules) / self.rate_hz
        if line.value is not None and abs(line.value - count_s) > LOST_S:
            self.stream.broken = (
                f"the LPM01A's time is {line.value:.3f} s after {len(self.stream.joules)} samples: samples were lost"
            )
