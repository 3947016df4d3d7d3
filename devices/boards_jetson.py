"""Jetson boards: one for each target of `export.jetson_profiles`, driven through trtexec on the board itself."""

from __future__ import annotations

from devices.board import Board
from export.jetson_profiles import PROFILES, Profile

_BY_TRTEXEC = "trtexec times inferences and layers; it does not tell this"
_ABSENT = (
    (
        "energy",
        "no rails are read while trtexec runs: its times are of a clock of its own, so no window can be cut out",
    ),
    ("arena", _BY_TRTEXEC),
    ("instructions", "this board has no instruction counter; qemu-aarch64 and mps2-an386 count instructions"),
    ("cycles", "a GPU counts no cycles of this network; only verilator does"),
    ("flash", "measured where the part is compiled for a microcontroller: mps2-an386 or qemu-aarch64"),
    ("code", "measured where the part is compiled for a microcontroller: mps2-an386 or qemu-aarch64"),
    ("ram", _BY_TRTEXEC),
    ("stack", "measured where the part is compiled for a microcontroller: mps2-an386 or qemu-aarch64"),
)


def _board(profile: Profile) -> Board:
    return Board(
        name=profile.target,
        summary=f"{profile.board}, JetPack {profile.jetpack}, TensorRT {profile.tensorrt}, by trtexec on the board",
        target=profile.target,
        transport="trtexec",
        runtime=f"trtexec-{profile.target}",
        cpu=None,
        method="measured",
        metrics=("latency",),
        absent=_ABSENT,
    )


BOARDS = tuple(_board(profile) for profile in PROFILES)
