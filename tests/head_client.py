"""The C head client of examples/split_client, built for this machine or for aarch64, and what it prints."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.bundle_read import Bundle
from export.c99.layout import from_c, to_c
from quant.formats import Array, find_format
from tests.house import ROOT

APP = ROOT / "examples" / "split_client"
AARCH64 = ROOT / "examples" / "linux_app" / "aarch64.cmake"
MACHINES = ("host", "aarch64")
TOOLS = {
    "host": ("cmake", "cc"),
    "aarch64": ("cmake", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-g++", "qemu-aarch64"),
}
WARNINGS = "-Wall -Wextra -Wconversion -Wshadow -Werror"
CHECKS = "-fsanitize=undefined,address -fno-sanitize-recover=all"


@dataclass(frozen=True, slots=True)
class Line:
    """One frame, as the client prints it."""

    frame: int
    label: str
    answered_by: str
    sent_bytes: int
    latency_ms: float
    reason: str


def missing(machine: str) -> str | None:
    """Return what has to be installed before the client can be built and run for a machine; None: nothing."""
    absent = [tool for tool in TOOLS[machine] if shutil.which(tool) is None]
    return f"not installed: {', '.join(absent)}" if absent else None


def built(folder: Path, bundle: Path, machine: str, checks: str = CHECKS) -> list[str]:
    """Build the client of a bundle; return the command that runs it."""
    flags = WARNINGS if machine == "aarch64" else f"{WARNINGS} {checks}"
    cross = [f"-DCMAKE_TOOLCHAIN_FILE={AARCH64}"] if machine == "aarch64" else []
    place = folder / f"client-{machine}"
    call("cmake", "-S", APP, "-B", place, *cross, f"-DBUNDLE={bundle}", f"-DCMAKE_C_FLAGS={flags}")
    call("cmake", "--build", place)
    program = str(place / "head_client")
    return ["qemu-aarch64", program] if machine == "aarch64" else [program]


def call(*command: str | Path) -> None:
    """Run a command that has to succeed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def frames_of(codes: Array) -> bytes:
    """Return input codes [N, ...] as the client reads them: rows, columns, channels."""
    return to_c(codes).tobytes()


def parsed(text: str) -> list[Line]:
    """Return the lines that a client printed."""
    rows = [line.split("\t") for line in text.splitlines()]
    return [Line(int(n), label, by, int(sent), float(ms), why) for n, label, by, sent, ms, why in rows]


def answers(
    command: list[str], bundle: Bundle, port: int, frames: bytes, folder: Path, *options: str, host: str = "127.0.0.1"
) -> tuple[list[Line], Array]:
    """Run the client over frames; return its lines and the output codes [N, ...] in graph layout."""
    file = folder / "codes.bin"
    done = subprocess.run(
        [*command, "-o", str(file), *options, host, str(port)], input=frames, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return parsed(done.stdout.decode()), read_codes(file, bundle)


def read_codes(file: Path, bundle: Bundle) -> Array:
    """Return the output codes [N, ...] that the client wrote."""
    spec = bundle.parts[-1].record.output
    flat = np.frombuffer(file.read_bytes(), find_format(spec.format).dtype)
    return from_c(flat.reshape(-1, int(np.prod(spec.shape))), spec.shape)
