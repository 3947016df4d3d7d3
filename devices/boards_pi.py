"""The emulated Raspberry Pi boards: one for each runtime and core, as they are set up by `devices.pi.setup`."""

from __future__ import annotations

from devices import tools
from devices.board import Board
from devices.pi.cores import Core
from devices.pi.system import PAIRS, Guest, runtime_name

_OWN_MEMORY = "the runtime plans its own memory and does not say how much"
_ABSENT = (
    ("latency", "emulated time is not time; instructions are counted instead"),
    ("cycles", "an emulator or an operating system counts no cycles of this network; only verilator does"),
    ("energy", "an emulator draws no power of the board it emulates"),
    *((name, _OWN_MEMORY) for name in ("arena", "flash", "code", "ram", "stack")),
)


def _board(guest: Guest, core: Core) -> Board:
    return Board(
        name=runtime_name(guest, core),
        summary=f"{guest.name} under Linux on an emulated {core.cpu}, as on a Raspberry Pi {core.name[-1]}",
        target=guest.target,
        transport="qemu-root",
        runtime=runtime_name(guest, core),
        cpu=core.cpu,
        method="simulated",
        metrics=("instructions",),
        absent=_ABSENT,
        tools=(tools.QEMU_AARCH64,),
    )


BOARDS = tuple(_board(guest, core) for guest, core in PAIRS)
