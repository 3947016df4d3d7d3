"""Measure the ceilings of one core of this machine: compile the small program and run it."""

from __future__ import annotations

import tempfile
from pathlib import Path

from devices import conditions, tools
from devices.errors import DeviceError
from devices.roofline.ceiling import Ceiling

SOURCE = Path(__file__).with_name("ceiling.c")
FLAGS = ("-std=gnu11", "-O3", "-march=native")
LIMIT_S = 60.0


def missing() -> str | None:
    """Return None when ceilings can be measured here, else the reason."""
    return tools.missing_tool(tools.GCC)


def measure(root: Path = conditions.ROOT) -> Ceiling:
    """Return the ceilings of one core, from the best of several trials (about half a second).

    Raises:
        DeviceError: gcc is not installed, or the program does not compile or run.
    """
    tools.require((tools.GCC,))
    with tempfile.TemporaryDirectory(prefix="edgemill-") as folder:
        program = str(Path(folder) / "ceiling")
        tools.call(["gcc", *FLAGS, str(SOURCE), "-o", program], "the roofline's program", LIMIT_S)
        answer = tools.call([program], "the roofline's program", LIMIT_S).decode()
    return parse(answer, conditions.cpu_model(root))


def parse(answer: str, machine: str) -> Ceiling:
    """Read the program's line.

    Raises:
        DeviceError: it is not two numbers above 0 and a name.
    """
    words = answer.split(maxsplit=2)
    try:
        macs_per_s, bytes_per_s, kernel = float(words[0]), float(words[1]), words[2].strip()
    except (IndexError, ValueError) as error:
        raise DeviceError(f"the roofline's program answered {answer.strip()!r}; two numbers and a name do.") from error
    return Ceiling(machine, macs_per_s, bytes_per_s, kernel)
