"""The emulated ARM boards: one line each, with the core that executes; what they give is the same for all."""

from __future__ import annotations

from devices import tools
from devices.board import Board

_GIVEN = ("instructions", "arena", "flash", "code", "ram", "stack")
_ABSENT = (
    ("latency", "emulated time is not time; instructions are counted instead"),
    ("cycles", "an emulator or an operating system counts no cycles of this network; only verilator does"),
    ("energy", "an emulator draws no power of the board it emulates"),
)


def _cortex_a(name: str, cpu: str, core: str) -> Board:
    return Board(
        name=name,
        summary=f"emulated {core} under Linux, generated C, instruction counts",
        target="arm-m",
        transport="qemu-user",
        runtime=name,
        cpu=cpu,
        method="simulated",
        metrics=_GIVEN,
        absent=_ABSENT,
        tools=(tools.QEMU_AARCH64, tools.AARCH64_GCC),
    )


def _cortex_m(name: str, cpu: str, core: str) -> Board:
    return Board(
        name=name,
        summary=f"emulated bare-metal {core}, generated C, instruction counts",
        target="arm-m",
        transport="qemu-system",
        runtime=name,
        cpu=cpu,
        method="simulated",
        metrics=_GIVEN,
        absent=_ABSENT,
        tools=(tools.QEMU_SYSTEM_ARM, tools.ARM_GCC),
    )


BOARDS = (
    _cortex_a("qemu-aarch64", "cortex-a72", "Cortex-A72"),
    _cortex_a("qemu-aarch64-a53", "cortex-a53", "Cortex-A53"),
    _cortex_a("qemu-aarch64-a76", "cortex-a76", "Cortex-A76 (dot products)"),
    _cortex_m("mps2-an385", "cortex-m3", "Cortex-M3"),
    _cortex_m("mps2-an386", "cortex-m4", "Cortex-M4"),
    _cortex_m("mps2-an500", "cortex-m7", "Cortex-M7"),
    _cortex_m("mps2-an505", "cortex-m33", "Cortex-M33"),
    _cortex_m("mps3-an547", "cortex-m55", "Cortex-M55 (Helium)"),
)
