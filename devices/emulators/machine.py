"""What an emulated board is made of, and the session that runs generated C on any of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices import tools
from devices.emulators import codes as wire
from devices.emulators import icount
from devices.emulators.footprint import Footprint, address, footprint
from devices.errors import DeviceError
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower

#: Seconds for one compiler call, and for one run of the emulator.
COMPILE_LIMIT_S = 120.0
RUN_LIMIT_S = 600.0
#: At most so many input bytes go into one run: the Cortex-M image holds them in code memory.
CHUNK_BYTES = 1 << 20
CHUNK_IMAGES = 16


@dataclass(frozen=True, slots=True)
class Memory:
    """Where a bare board keeps things: the address of the vector table, and address and bytes of flash and RAM."""

    vectors: int
    flash: int
    flash_bytes: int
    ram: int
    ram_bytes: int


@dataclass(frozen=True, slots=True)
class Machine:
    """One emulated board: its tools, how to build a runner for it, and how to start that.

    `emulated` is what QEMU calls the board or the core, `memory` the map of a bare board. `flags` are the compiler's.
    `link(machine, build, images)` writes the program for a batch and returns its path; `command(machine, elf,
    options)` is the emulator's command line, `options` being those of the instruction counter or None;
    `markers(elf)` are the counter's options that find the region of interest. `alone(machine, build)` is a file with
    the part and what it takes of libraries that do not come with the board, to be measured. `fault_code` is the exit
    code of a program whose fault handler ran.
    """

    name: str
    emulated: str
    memory: Memory | None
    compiler: tools.Tool
    size: tools.Tool
    nm: tools.Tool
    emulator: tools.Tool
    extra_tools: tuple[tools.Tool, ...]
    flags: tuple[str, ...]
    link: Callable[[Machine, Build, Array], Path]
    command: Callable[[Machine, Path, str | None], tuple[str, ...]]
    markers: Callable[[Path], str]
    alone: Callable[[Machine, Build], Path]
    fault_code: int | None = None

    @property
    def tools(self) -> tuple[tools.Tool, ...]:
        """Every command the machine needs."""
        return (self.compiler, self.size, self.nm, self.emulator, *self.extra_tools)


@dataclass(frozen=True, slots=True)
class Build:
    """Where a runner of one part is built: the part's folder and name, the work folder, and what steps do.

    With `tap` a runner shows what each step made; with `steps` it only says when one has ended.
    """

    folder: Path
    name: str
    work: Path
    tap: bool = False
    steps: bool = False

    @property
    def object(self) -> Path:
        """The compiled part on its own: its size is the model's."""
        return self.work / f"{self.name}{'_steps' if self.steps else '_tap' if self.tap else ''}.o"

    @property
    def macros(self) -> tuple[str, ...]:
        """The macros by which the runner's sources name the part."""
        name, steps = self.name, ("-DEDGEMILL_STEPS",) if self.steps else ()
        header = f'-DEDGEMILL_HEADER="{name}.h"'
        return (header, f"-DEDGEMILL_NAME={name}", f"-DEDGEMILL_UPPER={name.upper()}", *self.calls, *steps)

    @property
    def calls(self) -> tuple[str, ...]:
        """The macro that makes a part call the runner behind every step."""
        return ("-DEDGEMILL_TAP",) if self.tap or self.steps else ()


def compile_part(machine: Machine, build: Build) -> Path:
    """Compile `NAME.c` of a part and return the object.

    Raises:
        DeviceError: the part has no generated C, or it does not compile.
    """
    source = build.folder / f"{build.name}.c"
    if not source.is_file():
        raise DeviceError(f"{build.folder} holds no {build.name}.c; export the part to arm-m first.")
    argv = [machine.compiler.name, *machine.flags, *build.calls, "-c", str(source), "-o", str(build.object)]
    tools.call(argv, f"compiling {source.name} for {machine.name}", COMPILE_LIMIT_S)
    return build.object


@dataclass(frozen=True, eq=False)
class Runner:
    """One part on one emulated machine, for inputs that already are in the part's own types and order.

    `images` are [N, ...] in C memory order; see `devices.emulators.codes` for what comes back.
    """

    machine: Machine
    folder: Path
    name: str
    work: Path
    limit_s: float

    def lines(self, images: Array, *, tap: bool = False) -> Iterator[tuple[tuple[wire.Line, ...], int]]:
        """Yield what the program says about a few images at a time, and how many these are."""
        build = self.built(Build(self.folder, self.name, self.work, tap))
        for chunk in _chunks(images):
            elf = self.machine.link(self.machine, build, chunk)
            yield wire.parse(self._execute(elf, None)), len(chunk)

    def instructions(self, images: Array) -> tuple[int, ...]:
        """Return the instructions of each inference, without those of calling an empty function."""
        return tuple(count for counts, _ in self.counted(images) for count in counts)

    def counted(self, images: Array) -> Iterator[tuple[tuple[int, ...], tuple[wire.Line, ...]]]:
        """Yield the instructions of a few inferences at a time, and what the program said about these."""
        build = self.built(Build(self.folder, self.name, self.work))
        for chunk in _chunks(images):
            report, lines = self._counted(build, chunk)
            counts = icount.per_inference(report)
            if len(counts) != len(chunk):
                raise DeviceError(f"{self.machine.name}: {len(counts)} counts for {len(chunk)} inferences.")
            yield counts, lines

    def steps(self, images: Array) -> tuple[tuple[int, int], ...]:
        """Return number and instructions of every step of the first image; a step may come in strips, which add up."""
        build = self.built(Build(self.folder, self.name, self.work, steps=True))
        counts, lines = self._counted(build, images[:1])
        numbers = [line.index for line in lines if line.kind == "step"]
        found = icount.per_step(counts)
        if len(numbers) != len(found):
            raise DeviceError(f"{self.machine.name}: {len(found)} counts for {len(numbers)} steps.")
        totals = dict.fromkeys(numbers, 0)
        for number, count in zip(numbers, found, strict=True):
            totals[number] += count
        return tuple(totals.items())

    def _counted(self, build: Build, images: Array) -> tuple[tuple[icount.Count, ...], tuple[wire.Line, ...]]:
        """Return what the instruction counter wrote about a runner of `images`, and what the runner said."""
        icount.check_version(self.machine.emulator.name, icount.qemu_version(self.machine.emulator))
        plugin, report = icount.escaped(icount.build()), build.work / "icount.txt"
        elf = self.machine.link(self.machine, build, images)
        report.unlink(missing_ok=True)
        markers = self.machine.markers(elf) + (self._step_markers(elf) if build.steps else "")
        text = self._execute(elf, f"{plugin},{markers},out={icount.escaped(report)}")
        return icount.read(report), wire.parse(text)

    def _step_markers(self, elf: Path) -> str:
        nm = self.machine.nm
        return f",step={address(nm, elf, 'edgemill_step')},resume={address(nm, elf, 'edgemill_resume')}"

    def footprint(self) -> Footprint:
        """Return what the part takes of flash and RAM, without the runner and without stack."""
        machine, build = self.machine, self.built(Build(self.folder, self.name, self.work))
        runner = machine.link(machine, build, np.zeros((1, 1), np.int8))
        return footprint(machine.size, machine.nm, machine.alone(machine, build), runner)

    def built(self, build: Build) -> Build:
        """Return the build, compiled."""
        if not build.object.exists():
            compile_part(self.machine, build)
        return build

    def _execute(self, elf: Path, options: str | None) -> bytes:
        what = f"running '{self.name}' on {self.machine.name}"
        done = tools.run(self.machine.command(self.machine, elf, options), what, self.limit_s, elf.parent)
        if done.code == 0:
            return done.stdout
        if self.machine.fault_code is not None and done.code == self.machine.fault_code:
            raise DeviceError(
                f"{what}: the program faulted (exit code {done.code}). A stack or an array ran over its end, or the "
                "code was compiled for another core."
            )
        raise DeviceError(
            f"{what}: {self.machine.emulator.name} {tools.ending(done.code)}: {tools.telling_line(done.stderr)}"
        )


@dataclass(frozen=True, eq=False)
class EmulatedSession:
    """One part on one emulated machine; see `export.runtimes.session.Session`."""

    machine: Machine
    folder: Path
    name: str
    graph: Graph
    scratch: tempfile.TemporaryDirectory[str]
    limit_s: float

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch, [N, ...] in graph layout."""
        parts = [wire.outputs(self.graph, lines, count) for lines, count in self._lines(codes)]
        return np.concatenate(parts)

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes of every step's output for a batch, by tensor name."""
        parts = [wire.tapped(self.graph, lines, count) for lines, count in self._lines(codes, tap=True)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Raise DeviceError: how long an emulator takes says nothing about a device."""
        raise DeviceError(f"{self.machine.name} is emulated, and emulated time is not time; it counts instructions.")

    def instructions(self, codes: Array) -> tuple[int, ...]:
        """Return the instructions of each inference of a batch, without those of calling an empty function."""
        return self._runner.instructions(wire.to_device(self.graph, codes))

    def steps(self, codes: Array) -> tuple[tuple[str, int], ...]:
        """Return each step's name and instructions for the first of a batch, a few to call the marker included.

        The marker keeps steps apart, so that their sum can differ a little from what an inference takes without it.
        """
        found = self._runner.steps(wire.to_device(self.graph, codes[:1]))
        names = [step.name for step in lower(self.graph).steps]
        if max((number for number, _ in found), default=0) >= len(names):
            raise DeviceError(f"{self.machine.name}: the program ended a step that none of the {len(names)} is.")
        return tuple((names[number], count) for number, count in found)

    def stack_bytes(self, codes: Array) -> int:
        """Return the deepest stack of the inferences of a batch: from the call downwards, painted before each."""
        return max(wire.stack_bytes(lines) for lines, _ in self._lines(codes))

    def footprint(self) -> Footprint:
        """Return what the part takes of flash and RAM, without the runner and without stack."""
        return self._runner.footprint()

    def close(self) -> None:
        """Remove the work folder."""
        self.scratch.cleanup()

    @property
    def _runner(self) -> Runner:
        return Runner(self.machine, self.folder, self.name, Path(self.scratch.name), self.limit_s)

    def _lines(self, codes: Array, *, tap: bool = False) -> Iterator[tuple[tuple[wire.Line, ...], int]]:
        return self._runner.lines(wire.to_device(self.graph, codes), tap=tap)


def _chunks(images: Array) -> Iterator[Array]:
    if not len(images):
        raise DeviceError("there are no input codes to run.")
    step = max(1, min(CHUNK_IMAGES, CHUNK_BYTES // images[0].nbytes))
    for start in range(0, len(images), step):
        yield images[start : start + step]


def open_part(machine: Machine, folder: Path, name: str, graph: Graph, limit_s: float = RUN_LIMIT_S) -> EmulatedSession:
    """Open the part `name` in `folder`; it is compiled when it is first run.

    Raises:
        DeviceError: a tool is missing.
    """
    tools.require(machine.tools)
    scratch = tempfile.TemporaryDirectory(prefix="edgemill-")
    return EmulatedSession(machine, folder.resolve(), name, graph, scratch, limit_s)
