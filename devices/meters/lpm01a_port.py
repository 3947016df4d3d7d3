"""Commands to an LPM01A and lines from it, over a serial port that tests replace."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from devices.errors import DeviceError
from devices.meters import lpm01a_lines as lines
from devices.meters.lpm01a_lines import Line
from devices.meters.meter import Clock

#: How long the meter may take to answer, in seconds.
ANSWER_S = 5.0


class Port(Protocol):
    """A serial port, as pyserial has it."""

    @property
    def in_waiting(self) -> int:
        """How many bytes have arrived."""
        ...

    def read(self, size: int) -> bytes:
        """Return at least one byte, or none after the time-out."""
        ...

    def write(self, data: bytes) -> int | None:
        """Send bytes."""
        ...

    def close(self) -> None:
        """Give the port back."""
        ...


OpenPort = Callable[[str], Port]


def open_port(path: str) -> Port:
    """Open a serial port with pyserial.

    Raises:
        DeviceError: pyserial is not installed.
        OSError: there is no such port, or it may not be opened.
    """
    try:
        serial = importlib.import_module("serial")
    except ImportError as error:
        raise DeviceError("pyserial is not installed (pip install 'edgemill[meters]')") from error
    port: Port = serial.Serial(path, lines.BAUD, timeout=0.2, exclusive=True)
    return port


@dataclass(slots=True)
class Talk:
    """Lines to and from the meter."""

    port: Port
    rest: bytes = b""

    def lines(self) -> Iterator[Line]:
        """Return the whole lines that arrive until the time-out of one read; the last half line is kept."""
        try:
            chunk = self.port.read(max(1, self.port.in_waiting))
        except OSError as error:
            raise DeviceError(f"the LPM01A was lost: {error.strerror or error}") from error
        *whole, self.rest = (self.rest + chunk).split(b"\n")
        return (lines.parse(line) for line in whole)

    def send(self, command: str) -> None:
        """Send a command without waiting for its answer."""
        try:
            self.port.write(f"{command}\r\n".encode())
        except OSError as error:
            raise DeviceError(f"the LPM01A was lost: {error.strerror or error}") from error

    def ask(self, command: str, clock: Clock) -> str:
        """Send a command and return its answer.

        Raises:
            DeviceError: the meter refuses it, or does not answer in time.
        """
        self.send(command)
        until = clock() + ANSWER_S * 1e9
        while clock() < until:
            for line in self.lines():
                if line.kind == "error":
                    raise DeviceError(f"the LPM01A refuses '{command}': {line.text}")
                if line.kind == "answer":
                    return line.text
        raise DeviceError(f"the LPM01A does not answer '{command}' within {ANSWER_S:g} s")
