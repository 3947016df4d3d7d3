"""The serial line to a device: where it is, how to open it, and reading and writing with a time limit."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from devices.errors import DeviceError
from quant.names import suggestion

#: What the protocol asks for: directly, and behind an interface board for energy.
DIRECT_BAUD = 115200
BRIDGED_BAUD = 9600
EXAMPLE = f"serial:///dev/ttyACM0?baud={DIRECT_BAUD}"


class Port(Protocol):
    """A line of bytes in both directions."""

    def write(self, data: bytes) -> None:
        """Send all bytes, or raise DeviceError."""

    def read(self, limit_s: float) -> bytes:
        """Return what has come, at least one byte, or nothing when `limit_s` is over; DeviceError when it is gone."""

    def close(self) -> None:
        """Let the line go."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device under test is.

    Attributes:
        path: of the serial port.
        baud: bits per second.
        bridged: whether an interface board stands between, as in energy mode: commands are shorter then.
    """

    path: str
    baud: int = DIRECT_BAUD
    bridged: bool = False


def parse_address(uri: str) -> Address:
    """Read `serial:///dev/ttyACM0?baud=115200`; `&bridge=yes` says that an interface board stands between.

    Raises:
        DeviceError: another scheme, no port, or an option that is unknown or has no sense.
    """
    parts = urlsplit(uri)
    if parts.scheme != "serial" or parts.netloc or len(parts.path) < 2 or parts.fragment:
        raise DeviceError(f"'{uri}' is no address of a serial device; write it like {EXAMPLE}.")
    options = parse_qsl(parts.query, keep_blank_values=True)
    given = dict(options)
    unknown = sorted(set(given) - {"baud", "bridge"})
    if unknown:
        near = suggestion(unknown[0], ("baud", "bridge"))
        raise DeviceError(f"'{uri}': there is no option '{unknown[0]}'.{near} Allowed: baud, bridge.")
    if len(options) != len(given):
        raise DeviceError(f"'{uri}' has an option twice.")
    if given.get("bridge", "no") not in ("yes", "no"):
        raise DeviceError(f"'{uri}': bridge is '{given['bridge']}'; write yes or no.")
    bridged = given.get("bridge") == "yes"
    return Address(parts.path, _baud(given.get("baud"), BRIDGED_BAUD if bridged else DIRECT_BAUD, uri), bridged)


def _baud(text: str | None, default: int, uri: str) -> int:
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and 300 <= int(text) <= 10_000_000):
        raise DeviceError(f"'{uri}': baud is '{text}'; it must be a number from 300 to 10000000.")
    return int(text)


@dataclass(slots=True, eq=False)
class SerialPort:
    """A port of pyserial."""

    path: str
    line: Any = field(repr=False)

    def write(self, data: bytes) -> None:
        """Send all bytes."""
        try:
            self.line.write(data)
            self.line.flush()
        except OSError as error:
            raise self._lost(error) from error

    def read(self, limit_s: float) -> bytes:
        """Return at least one byte, or nothing when the time is over."""
        try:
            self.line.timeout = max(limit_s, 0.0)
            found: bytes = self.line.read(1)
            return found + self.line.read(self.line.in_waiting) if found else b""
        except (OSError, TypeError) as error:  # pyserial trips over its own handle when the device goes
            raise self._lost(error) from error

    def close(self) -> None:
        """Let the port go."""
        self.line.close()

    def _lost(self, error: Exception) -> DeviceError:
        return DeviceError(f"the device on {self.path} is gone: {error}. Plug it in again.")


def open_port(address: Address) -> SerialPort:
    """Open a serial port, 8 data bits, no parity, one stop bit, for this process alone.

    Raises:
        DeviceError: pyserial is missing, or the port is not there, not permitted, or in use.
    """
    try:
        import serial
    except ImportError:
        raise DeviceError("serial boards need pyserial: pip install 'edgemill[meters]'") from None
    try:
        line = serial.Serial(address.path, address.baud, timeout=0, write_timeout=10, exclusive=True)
    except (OSError, ValueError) as error:
        raise DeviceError(f"{address.path} cannot be opened: {_reason(address.path, error)}.") from error
    return SerialPort(address.path, line)


def _reason(path: str, error: Exception) -> str:
    if not os.path.exists(path):  # noqa: PTH110 - a device's name, not a file of ours
        return "there is no such port; plug the board in, and look for its name with ls /dev/serial/by-id"
    if not os.access(path, os.R_OK | os.W_OK):
        return "no permission; add yourself to the group that owns it (usually dialout) and log in again"
    return str(error).split(":")[-1].strip() or type(error).__name__
