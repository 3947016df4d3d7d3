"""The emulated machines as runtimes: each runs the generated C of target arm-m, and must give the reference's codes."""

from __future__ import annotations

from pathlib import Path

from devices.emulators import qemu_system, qemu_user
from devices.emulators.machine import EmulatedSession, Machine, open_part
from devices.emulators.trial import missing
from export.runtimes.session import Runtime
from quant.graph import Graph

MACHINES: tuple[Machine, ...] = (*qemu_user.MACHINES, *qemu_system.MACHINES)


def runtime_of(machine: Machine) -> Runtime:
    """Return a machine as a runtime of the same name."""

    def open_session(folder: Path, name: str, graph: Graph) -> EmulatedSession:
        return open_part(machine, folder, name, graph)

    return Runtime(name=machine.name, target="arm-m", exact=True, missing=lambda: missing(machine), open=open_session)


RUNTIMES: tuple[Runtime, ...] = tuple(runtime_of(machine) for machine in MACHINES)
