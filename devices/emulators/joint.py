"""Bundles with rules on emulated boards: who answers each input, and the instructions that it took, exactly."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices import tools
from devices.emulators import codes as wire
from devices.emulators.footprint import Footprint
from devices.emulators.machine import COMPILE_LIMIT_S, RUN_LIMIT_S, Build, Machine, Runner
from devices.errors import DeviceError
from export.bundle_read import Bundle
from export.errors import ExportError
from export.runtimes.c_joint import JointFiles, joint_files, memory_order, prepare, told
from export.runtimes.session import Told
from quant.formats import Array, IntArray


@dataclass(frozen=True, eq=False)
class Counted:
    """What N inputs took: who answered, which label (-1: dropped), and the instructions of each, int64 [N]."""

    part: IntArray
    label: IntArray
    instructions: IntArray


@dataclass(frozen=True, eq=False)
class JointSession:
    """A bundle whose parts are one program on an emulated machine."""

    bundle: Bundle
    runner: Runner

    def answers(self, codes: Array) -> Told:
        """Return who answers each input, and what; codes are [N, ...] in graph layout."""
        return _told([line for lines, _ in self.runner.lines(self._packed(codes)) for line in lines])

    def counted(self, codes: Array) -> Counted:
        """Return who answers each input, and its instructions without those of calling an empty function."""
        lines: list[wire.Line] = []
        instructions: list[int] = []
        for counts, said in self.runner.counted(self._packed(codes)):
            instructions += counts
            lines += said
        found = _told(lines)
        return Counted(found.part, found.label, np.array(instructions, np.int64))

    def stack_bytes(self, codes: Array) -> int:
        """Return the deepest stack of the inferences of a batch."""
        return max(wire.stack_bytes(lines) for lines, _ in self.runner.lines(self._packed(codes)))

    def footprint(self) -> Footprint:
        """Return what all parts and their decisions take of flash and RAM, without the runner and without stack."""
        return self.runner.footprint()

    def _packed(self, codes: Array) -> Array:
        try:
            return memory_order(self.bundle, codes)
        except ExportError as error:
            raise DeviceError(str(error)) from error


def _told(lines: list[wire.Line]) -> Told:
    try:
        return told([line.data for line in lines if line.kind == "output"])
    except ExportError as error:
        raise DeviceError(str(error)) from error


@contextmanager
def open_joint(machine: Machine, bundle: Bundle, limit_s: float = RUN_LIMIT_S) -> Iterator[JointSession]:
    """Compile a bundle's parts and decisions for a machine.

    Raises:
        DeviceError: a tool is missing, or the C does not compile.
        ExportError: the bundle has no C that joins its parts.
    """
    files = joint_files(bundle)
    tools.require(machine.tools)
    with tempfile.TemporaryDirectory(prefix="edgemill-") as scratch:
        folder, work = Path(scratch) / "source", Path(scratch) / "work"
        folder.mkdir()
        work.mkdir()
        prepare(files, folder)
        _compile(machine, files, Build(folder, files.stem, work))
        yield JointSession(bundle, Runner(machine, folder, files.stem, work, limit_s))


def _compile(machine: Machine, files: JointFiles, build: Build) -> None:
    """Compile every source and link them into the one object that a runner takes for a part."""
    places = [f"-I{place}" for place in (build.folder, *files.places)]
    objects = []
    for number, source in enumerate((build.folder / f"{build.name}.c", *files.parts)):
        objects.append(build.work / f"{number}.o")
        argv = [machine.compiler.name, *machine.flags, *places, "-c", str(source), "-o", str(objects[-1])]
        tools.call(argv, f"compiling {source.name} for {machine.name}", COMPILE_LIMIT_S)
    argv = [
        machine.compiler.name,
        *machine.flags,
        "-nostdlib",
        "-r",
        *(str(o) for o in objects),
        "-o",
        str(build.object),
    ]
    tools.call(argv, f"joining the parts of '{build.name}' for {machine.name}", COMPILE_LIMIT_S)
