"""The Ethos-U boards: Arm's reference systems, which Vela estimates at export. Nothing here executes an Ethos-U."""

from __future__ import annotations

from devices.board import Board

_NOT_IN_ESTIMATE = "Vela estimates the NPU; what its driver takes on the CPU is not in it"
_ABSENT = (
    ("latency", "cycles are estimated; time follows from the clock of the chip, and from what the CPU does meanwhile"),
    ("instructions", "an NPU works off commands, not instructions"),
    ("energy", "an estimate draws no power"),
    ("code", _NOT_IN_ESTIMATE),
    ("ram", _NOT_IN_ESTIMATE),
    ("stack", _NOT_IN_ESTIMATE),
)
_DRAM = (("flash", "this reference system keeps weights in DRAM"),)


def _board(name: str, words: str, metrics: tuple[str, ...], absent: tuple[tuple[str, str], ...] = ()) -> Board:
    return Board(
        name=name,
        summary=f"{words}, cycles and memory as Vela estimated them at export",
        target="ethos-u",
        transport="estimate",
        runtime="vela",
        cpu=None,
        method="simulated",
        metrics=metrics,
        absent=(*_ABSENT, *absent),
        packages=("ethos-u-vela",),
    )


BOARDS = (
    _board("ethos-u55-128", "Ethos-U55 with 128 MACs, SRAM and flash", ("cycles", "arena", "flash")),
    _board("ethos-u55-256", "Ethos-U55 with 256 MACs, SRAM and flash", ("cycles", "arena", "flash")),
    _board("ethos-u65-256", "Ethos-U65 with 256 MACs, SRAM and DRAM", ("cycles", "arena"), _DRAM),
    _board("ethos-u85-256", "Ethos-U85 with 256 MACs, SRAM and DRAM", ("cycles", "arena"), _DRAM),
)
