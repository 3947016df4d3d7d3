"""A first, quick look at a design: the ports of its top module and the instances in it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from devices.errors import DeviceError

_CELL = re.compile(r"^ *cell (\S+) \\(\S+)$")


@dataclass(frozen=True, slots=True)
class Port:
    """One port of the top module."""

    name: str
    is_input: bool
    bits: int


@dataclass(frozen=True, slots=True)
class Top:
    """The top module: its ports, and its instances as (name, module)."""

    ports: tuple[Port, ...]
    instances: tuple[tuple[str, str], ...]

    @property
    def pins(self) -> int:
        """Bits of all ports."""
        return sum(port.bits for port in self.ports)


def parse(ports: str, instances: str) -> Top:
    """Read what yosys' `dump` wrote of a top module's ports and of its instances.

    Raises:
        DeviceError: there is no port in it, or one that is neither input nor output.
    """
    found = tuple(_port(line) for line in ports.splitlines() if line.strip().startswith("wire "))
    if not found:
        raise DeviceError("yosys found no ports in the top module.")
    cells = (_CELL.match(line) for line in instances.splitlines())
    return Top(found, tuple(sorted((cell[2], cell[1].removeprefix("\\")) for cell in cells if cell)))


def _port(line: str) -> Port:
    """Read a line such as `wire width 8 input 2 NAME`."""
    words = line.split()
    direction = {"input", "output", "inout"} & set(words)
    if direction not in ({"input"}, {"output"}):
        raise DeviceError(f"yosys says '{line.strip()}' of a port; only inputs and outputs can be placed.")
    bits = int(words[words.index("width") + 1]) if "width" in words else 1
    return Port(words[-1].removeprefix("\\"), direction == {"input"}, bits)
