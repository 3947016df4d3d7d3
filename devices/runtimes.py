"""All runtimes that execute a written part here: those of `export.runtimes` and the emulators."""

from __future__ import annotations

from devices.board import Board
from devices.emulators import emulated
from devices.emulators.machine import Machine
from devices.emulators.trial import cannot_count
from devices.errors import DeviceError
from devices.estimated import RUNTIME as VELA
from devices.jetson import runtime as jetson
from devices.null import RUNTIME as NULL
from devices.pi import session as pi
from devices.synthesised import RUNTIME as YOSYS
from export.runtimes import c_host, litert, openvino, ort, tflm, verilator
from export.runtimes.session import Runtime
from quant.names import find

#: One core of each instruction set verifies by itself: the others run the same instructions.
_VERIFYING = ("mps2-an386", "mps3-an547", "qemu-aarch64", "qemu-aarch64-a76")

RUNTIMES: tuple[Runtime, ...] = (
    *ort.RUNTIMES,
    openvino.RUNTIME,
    *litert.RUNTIMES,
    *tflm.RUNTIMES,
    c_host.RUNTIME,
    verilator.RUNTIME,
    *(runtime for runtime in emulated.RUNTIMES if runtime.name in _VERIFYING),
)

#: These execute parts as well, but slowly or again: they verify when they are asked for by name.
ON_DEMAND: tuple[Runtime, ...] = (
    *(runtime for runtime in emulated.RUNTIMES if runtime.name not in _VERIFYING),
    *pi.RUNTIMES,
)


def runtimes_for(target: str) -> tuple[Runtime, ...]:
    """Return the runtimes that verify parts of a target by themselves, the ones that are missing here included."""
    return tuple(runtime for runtime in RUNTIMES if runtime.target == target)


def find_runtime(name: str) -> Runtime:
    """Return the runtime called `name`, be it slow or one that executes nothing, or raise DeviceError."""
    return find(name, (*RUNTIMES, *ON_DEMAND, *jetson.RUNTIMES, VELA, YOSYS, NULL), "runtime", DeviceError)


def find_machine(board: Board) -> Machine | None:
    """Return the emulated machine of a board, or None when it is not emulated."""
    return next((machine for machine in emulated.MACHINES if machine.name == board.runtime), None)


def missing(board: Board) -> str | None:
    """Return None when the board can be used here, else the reason and what to install.

    A board that counts instructions needs a QEMU that the counter was tested with; its runtime runs on any.
    """
    machine = find_machine(board)
    return find_runtime(board.runtime).missing() or (cannot_count(machine) if machine else None)
