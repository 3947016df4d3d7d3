"""An LPM01A on a pseudo-terminal that replays a recorded trace, as fast as it is read.

    python -m devices.meters.simulated.lpm01a trace1-energy.bin

prints the name of a port; `edgemill profile --meter lpm01a:PORT,1800m` and other programs can then speak to it. It
says that it is simulated when asked who it is, so that nothing it says passes as measured.
"""

from __future__ import annotations

import os
import select
import sys
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from devices.errors import DeviceError
from devices.meters import lpm01a_lines as lines
from devices.meters.trace import Trace
from devices.meters.trace_file import read_trace

#: What the meter answers to `powershield`.
IDENTITY = f"PowerShield present: {'SIMULATED'}"
#: Lines that are handed to the terminal at once.
CHUNK = 512
_VERSION = "1.0.6"
_FIXED = {
    "htc": "",
    "hrc": "",
    "pwr": "",
    "acqtime": "",
    "trigdelay": "",
    "trigsrc": "",
    "eventsrc": "",
    "output": "",
    "format": "",
    "lcd": "",
}


@dataclass(slots=True)
class Simulated:
    """The instrument: what it replays, and where it stands.

    Attributes:
        trace: energy samples at one rate, with marks.
        garbled: numbers of samples whose lines come out damaged.
        lost_marks: numbers of marks that are counted but not sent.
        started, sent: set when the acquisition begins, and when every sample has been read by the other side.
        commands: what it was told, in order.
    """

    trace: Trace
    garbled: frozenset[int] = frozenset()
    lost_marks: frozenset[int] = frozenset()
    started: threading.Event = field(default_factory=threading.Event)
    sent: threading.Event = field(default_factory=threading.Event)
    commands: list[str] = field(default_factory=list)

    def answer(self, command: str) -> str:
        """Return the answer to a command, without the prompt."""
        self.commands.append(command)
        word, _, rest = command.partition(" ")
        rate = 1 / self.trace.step_s
        if word == "powershield":
            return IDENTITY
        if word == "version":
            return _VERSION
        if word == "volt" and not lines.is_voltage(rest):
            return f"error {command}\r\nError detail: voltage out of range"
        if word == "freq" and abs(lines.RATES_HZ.get(rest, 0.0) - rate) > 1e-6 * rate:
            return f"error {command}\r\nError detail: the recording has {rate:g} Hz"
        if word in _FIXED or word in ("volt", "freq", "start", "stop"):
            return f"ack {command}"
        return f"error {command}\r\nError detail: unknown command"

    def data(self) -> Iterator[str]:
        """Return every line of the acquisition: samples, marks where they were made, a time stamp each second."""
        rate = round(1 / self.trace.step_s)
        marks = [round(mark * rate) for mark in self.trace.marks_s]
        number = 0
        for index, joules in enumerate(self.trace.values.tolist()):
            while number < len(marks) and marks[number] <= index:
                if number not in self.lost_marks:
                    yield f"event {number} ris"
                number += 1
            if index % rate == 0:
                yield f"TimeStamp: {index // rate:03d}s 000ms, buff 00%"
            text = lines.sample_text(joules)
            yield f"x{text[:3]}" if index in self.garbled else text


def serve(instrument: Simulated, master: int, stopping: threading.Event) -> None:
    """Answer on a terminal until told to stop or the other side is gone."""
    talk, data = Talk(master, stopping), None
    while not stopping.is_set():
        command = talk.command(wait=data is None)
        if command is not None:
            talk.say(f"{lines.PROMPT}{instrument.answer(command)}")
            if command == "start":
                data = instrument.data()
                instrument.started.set()
            elif command == "stop":
                data = None
                talk.say("end", f"{lines.PROMPT}Acquisition completed")
        if data is not None:
            chunk = [line for _, line in zip(range(CHUNK), data, strict=False)]
            talk.say(*chunk)
            if not chunk:
                data = None
                instrument.sent.set()


@dataclass(slots=True)
class Talk:
    """Commands from and lines to the terminal."""

    master: int
    stopping: threading.Event
    rest: bytes = b""

    def command(self, *, wait: bool) -> str | None:
        """Return the next whole command, or None."""
        if b"\n" not in self.rest and select.select([self.master], [], [], 0.05 if wait else 0)[0]:
            try:
                self.rest += os.read(self.master, 4096)
            except OSError:  # nobody has the other side open
                self.stopping.wait(0.05)
        line, found, rest = self.rest.partition(b"\n")
        if not found:
            return None
        self.rest = rest
        return line.decode("ascii", errors="replace").strip()

    def say(self, *texts: str) -> None:
        """Write lines, waiting for the reader as long as it takes."""
        data = "".join(f"{text}\r\n" for text in texts).encode()
        while data and not self.stopping.is_set():
            if select.select([], [self.master], [], 0.05)[1]:
                data = data[os.write(self.master, data[:4096]) :]


@contextmanager
def on_terminal(instrument: Simulated) -> Iterator[str]:
    """Serve an instrument on a new pseudo-terminal and hand over the port's name."""
    master, slave = os.openpty()
    tty.setraw(slave)
    stopping = threading.Event()
    thread = threading.Thread(target=serve, args=(instrument, master, stopping), name="simulated lpm01a", daemon=True)
    thread.start()
    try:
        yield os.ttyname(slave)
    finally:
        stopping.set()
        thread.join()
        os.close(slave)
        os.close(master)


def main(arguments: list[str]) -> int:
    """Serve the trace in the one argument until interrupted; returns the exit code."""
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m devices.meters.simulated.lpm01a TRACE\n")
        return 2
    try:
        trace = read_trace(Path(arguments[0]))
    except DeviceError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    with on_terminal(Simulated(trace)) as port:
        sys.stdout.write(f"{port}\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
