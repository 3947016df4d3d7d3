"""Does an emulated machine work here? Tools are not only looked for: the smallest part is compiled and run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from devices import tools
from devices.emulators import codes as wire
from devices.emulators import icount
from devices.emulators.machine import Build, Machine, compile_part
from devices.errors import DeviceError

_CODE, _ANSWER = 41, 42
_LIMIT_S = 30.0


def missing(machine: Machine) -> str | None:
    """Return None when the smallest part gives the right answer on the machine, else the reason and what to install."""
    reason = tools.missing_tools(machine.tools)
    if reason:
        return reason
    try:
        answer = _run_probe(machine)
    except DeviceError as error:
        return f"{error} (is the C library there? apt-get install {machine.compiler.package})"
    return None if answer == _ANSWER else f"{machine.name} computes {answer} where {_ANSWER} is right"


def cannot_count(machine: Machine) -> str | None:
    """Return None when the machine's QEMU is one that the instruction counter was tested with, else the reason."""
    try:
        icount.check_version(machine.emulator.name, icount.qemu_version(machine.emulator))
    except DeviceError as error:
        return str(error)
    return None


def _run_probe(machine: Machine) -> int:
    with tempfile.TemporaryDirectory(prefix="edgemill-") as scratch:
        build = Build(icount.SOURCES, "probe", Path(scratch), tap=False)
        compile_part(machine, build)
        elf = machine.link(machine, build, np.full((1, 1), _CODE, np.int8))
        text = tools.call(machine.command(machine, elf, None), f"trying {machine.name}", _LIMIT_S, elf.parent)
        return next((line.data[0] for line in wire.parse(text) if line.kind == "output"), 0)
