"""The emulated machines as runtimes: each runs the generated C of target arm-m, and must give the reference's codes."""

from __future__ import annotations

from pathlib import Path

from devices.emulators import qemu_system, qemu_user
from devices.emulators.joint import open_joint
from devices.emulators.machine import EmulatedSession, Machine, open_part
from devices.emulators.trial import missing
from export.bundle_read import Bundle
from export.runtimes.session import Runtime, Told
from quant.formats import Array
from quant.graph import Graph

MACHINES: tuple[Machine, ...] = (*qemu_user.MACHINES, *qemu_system.MACHINES)


def runtime_of(machine: Machine) -> Runtime:
    """Return a machine as a runtime of the same name."""

    def open_session(folder: Path, name: str, graph: Graph) -> EmulatedSession:
        return open_part(machine, folder, name, graph)

    def joint(bundle: Bundle, codes: Array) -> Told:
        with open_joint(machine, bundle) as session:
            return session.answers(codes)

    return Runtime(machine.name, "arm-m", exact=True, missing=lambda: missing(machine), open=open_session, joint=joint)


RUNTIMES: tuple[Runtime, ...] = tuple(runtime_of(machine) for machine in MACHINES)
