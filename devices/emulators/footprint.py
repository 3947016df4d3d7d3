"""What a compiled part takes of a board's memories, read from the sections and symbols of its files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devices import tools
from devices.errors import DeviceError

#: Sections by what they are; the first prefix that fits counts. Others (debugging, attributes) never reach a device.
CODE = (".text", ".init", ".fini")
CONSTANTS = (".rodata", ".ARM.exidx", ".ARM.extab", ".eh_frame")
DATA, ZEROED = (".data",), (".bss", "COMMON")
#: What the runner gives a part to work in.
WORKING_MEMORY = ("runner_arena", "runner_network")
_LIMIT_S = 20.0


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes of a part: instructions, constants (weights, biases, multipliers, tables), and memory.

    `ram_bytes` is static data, the arena and the network's own record: all that must be there during an inference
    but the stack, the input and the output.
    """

    code_bytes: int
    constant_bytes: int
    data_bytes: int
    ram_bytes: int

    @property
    def flash_bytes(self) -> int:
        """What is stored on the device: instructions, constants and the first values of static data."""
        return self.code_bytes + self.constant_bytes + self.data_bytes


def footprint(size: tools.Tool, nm: tools.Tool, alone: Path, runner: Path) -> Footprint:
    """Measure a part.

    Args:
        size: tells the sections of a file.
        nm: tells its symbols.
        alone: object or program that holds the part and nothing of the runner.
        runner: linked runner, for the memory that it gives the part.

    Raises:
        DeviceError: a tool says something else than it should.
    """
    found = _sections(size, alone)
    static = _total(found, DATA) + _total(found, ZEROED)
    symbols = sizes(nm, runner)
    given = sum(symbols.get(name, 0) for name in WORKING_MEMORY)
    return Footprint(_total(found, CODE), _total(found, CONSTANTS), _total(found, DATA), static + given)


def _sections(size: tools.Tool, file: Path) -> dict[str, int]:
    text = tools.call([size.name, "-A", "-d", str(file)], f"size of {file.name}", _LIMIT_S).decode()
    rows = [line.split() for line in text.splitlines()]
    found: dict[str, int] = {}
    for row in rows:
        if len(row) == 3 and row[1].isdigit() and row[2].isdigit():
            found[row[0]] = found.get(row[0], 0) + int(row[1])
    if not _total(found, CODE):
        raise DeviceError(f"{size.name} found no instructions in {file.name}: '{text.strip()[-80:]}'.")
    return found


def _total(found: dict[str, int], prefixes: tuple[str, ...]) -> int:
    return sum(number for name, number in found.items() if name.startswith(prefixes))


def sizes(nm: tools.Tool, file: Path) -> dict[str, int]:
    """Return the sizes of a program's symbols in bytes."""
    return {words[3]: int(words[1], 16) for words in _symbols(nm, file) if len(words) == 4}


def address(nm: tools.Tool, file: Path, name: str) -> str:
    """Return the address of a symbol as the instruction counter takes it, or raise DeviceError."""
    found = {words[-1]: words[0] for words in _symbols(nm, file) if len(words) >= 3}
    if name not in found:
        raise DeviceError(f"{file.name} has no symbol '{name}'; the runner was not linked as it should be.")
    return f"0x{found[name]}"


def _symbols(nm: tools.Tool, file: Path) -> list[list[str]]:
    text = tools.call([nm.name, "-S", str(file)], f"symbols of {file.name}", _LIMIT_S).decode()
    return [line.split() for line in text.splitlines()]
