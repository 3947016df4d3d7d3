"""The instruction-count plugin: compiled on demand, only for versions of QEMU it was tested with."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from devices import tools
from devices.errors import DeviceError

SOURCES = Path(__file__).with_name("sources")
#: Versions of QEMU whose plugin interface the counter was tested with (major, minor).
TESTED_QEMU = ((7, 2),)
#: getppid on AArch64; it marks the region of interest in user mode.
MARK_SYSCALL = 173


#: What a line can say: a region begins or ends, a step ended, its marker is over, the program ended.
KINDS = ("begin", "end", "mark", "step", "resume", "total")


@dataclass(frozen=True, slots=True)
class Count:
    """One line of the plugin: totals so far, and the instructions since the line before."""

    kind: str
    instructions: int
    delta: int
    loads: int
    stores: int


def qemu_version(tool: tools.Tool) -> tuple[int, ...]:
    """Return the version of an installed QEMU, for example (7, 2, 22)."""
    line = tools.first_line([tool.name, "--version"])
    found = re.search(r"version (\d+(?:\.\d+)+)", line)
    if not found:
        raise DeviceError(f"{tool.name} --version says '{line}', which holds no version number.")
    return tuple(int(part) for part in found[1].split("."))


def check_version(name: str, version: tuple[int, ...]) -> None:
    """Raise DeviceError for a QEMU the plugin was not tested with: a wrong count would look like a right one."""
    if version[:2] not in TESTED_QEMU:
        tested = ", ".join(".".join(map(str, v)) for v in TESTED_QEMU)
        raise DeviceError(
            f"{name} {'.'.join(map(str, version))}: the instruction counter was tested with QEMU {tested} only. "
            "Install that version, or run without instruction counts."
        )


def build(cache: Path | None = None) -> Path:
    """Return the compiled plugin, compiling it into the cache folder when it is not there yet.

    Raises:
        DeviceError: no compiler, or the cache folder cannot be written.
    """
    source = SOURCES / "icount.c"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()[:16]
    folder = cache or tools.cache_folder()
    library = folder / f"libicount-{os.uname().machine}-{digest}.so"
    if library.exists():
        return library
    tools.require([tools.GCC])
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            fresh = Path(scratch) / library.name
            argv = ["gcc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", "-o", str(fresh), str(source)]
            tools.call(argv, "compiling the instruction counter", 60.0)
            fresh.replace(library)
    except OSError as error:
        raise DeviceError(
            f"the instruction counter cannot be written to {folder}: {error.strerror}. "
            "Set XDG_CACHE_HOME to a folder that can be written."
        ) from error
    return library


def escaped(path: Path) -> str:
    """Write a path as QEMU's option lists take it: a comma is doubled."""
    return str(path).replace(",", ",,")


def read(path: Path) -> tuple[Count, ...]:
    """Read what the plugin wrote.

    Raises:
        DeviceError: there is no such file, a line is damaged, or the closing line is missing.
    """
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise DeviceError(f"the instruction counter wrote nothing ({error.strerror}: {path.name}).") from error
    counts = tuple(_count(line) for line in lines)
    if not counts or counts[-1].kind != "total":
        raise DeviceError("the instruction counter stopped before the end of the program.")
    return counts


def _count(line: str) -> Count:
    kind, *numbers = line.split()
    if kind not in KINDS or len(numbers) != 4 or not all(n.isdigit() for n in numbers):
        raise DeviceError(f"the instruction counter wrote a line that is not a count: '{line}'.")
    return Count(kind, *(int(n) for n in numbers))


def regions(counts: tuple[Count, ...]) -> tuple[int, ...]:
    """Return the instructions of each region between two markers, in order.

    Raises:
        DeviceError: markers do not come in pairs.
    """
    marks = [count for count in counts if count.kind != "total"]
    kinds = [(a.kind, b.kind) for a, b in zip(marks[::2], marks[1::2], strict=False)]
    if len(marks) % 2 or any(pair not in (("mark", "mark"), ("begin", "end")) for pair in kinds):
        raise DeviceError(f"the instruction counter saw {len(marks)} markers that do not come in pairs.")
    return tuple(end.delta for end in marks[1::2])


def per_inference(counts: tuple[Count, ...]) -> tuple[int, ...]:
    """Return instructions per inference: each image runs an empty region first, whose count is taken off."""
    deltas = regions(counts)
    if len(deltas) % 2:
        raise DeviceError(f"the instruction counter saw {len(deltas)} regions; each image has two.")
    return tuple(full - empty for empty, full in zip(deltas[::2], deltas[1::2], strict=True))


def per_step(counts: tuple[Count, ...]) -> tuple[int, ...]:
    """Return the instructions of each step that ended, in order: what the markers themselves do is left out.

    Raises:
        DeviceError: a marker of a step has no end.
    """
    found = [count for count in counts if count.kind in ("step", "resume")]
    kinds = [(a.kind, b.kind) for a, b in zip(found[::2], found[1::2], strict=False)]
    if len(found) % 2 or any(pair != ("step", "resume") for pair in kinds):
        raise DeviceError(f"the instruction counter saw {len(found)} markers of steps that do not come in pairs.")
    return tuple(count.delta for count in found[::2])
