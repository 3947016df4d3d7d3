"""The verilator runtime: builds the core's own bench in a temporary folder and runs any codes through it.

Simulated cycles are not time, so `timed` is refused; `cycles` counts clocks of one inference instead.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.errors import ExportError
from export.rtl.bench import beats, codes_of_beats
from export.rtl.cycles import cycles
from export.rtl.emit import MEMORIES
from export.rtl.layout import Layout, layout, tensor_words
from export.runtimes.session import Runtime
from quant.formats import Array
from quant.graph import Graph

_BUILD_S = 600
_CLOCKS_PER_S = 100_000  # far below what simulation reaches, for the time limit of a run
_MINIMUM_RUN_S = 120


def missing() -> str | None:
    """Return None when Verilator reads a module and a C++ compiler answers, else what is missing and how to get it."""
    for tool in ("verilator", "make", "g++"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed; on Debian: apt-get install verilator make g++"
    with tempfile.TemporaryDirectory(prefix="edgemill-verilator-") as folder:
        (Path(folder) / "probe.v").write_text("module probe(input wire a, output wire b); assign b = a; endmodule\n")
        commands = (["verilator", "--lint-only", "probe.v"], ["make", "--version"], ["g++", "--version"])
        return next((reason for command in commands if (reason := _failure(command, folder))), None)


def _failure(command: list[str], folder: str) -> str | None:
    """Return why a command does not work here, or None."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} does not run: {error}"
    if done.returncode != 0:
        return f"{' '.join(command)} fails: {(done.stderr or done.stdout).strip()[:200]}"
    return None


@dataclass(frozen=True, eq=False)
class VerilatorSession:
    """A built bench of one core. The folder holds copies; the bundle is only read."""

    name: str
    graph: Graph
    plan: Layout
    folder: tempfile.TemporaryDirectory[str]

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch, simulated without waits."""
        return self._execute(codes)[0]

    def run_with_waits(self, codes: Array, seed: int) -> Array:
        """Return the output codes of a batch while both streams wait at random (`seed` > 0)."""
        return self._execute(codes, ("--seed", str(seed)))[0]

    def cycles(self, codes: Array) -> int:
        """Return the clocks of one inference of `codes[:1]`, first beat in to last beat out, without waits."""
        return self._execute(codes[:1])[1][0]

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes of the input and of every step's output, by tensor name, as the core wrote them."""
        path = Path(self.folder.name) / "taps.bin"
        self._execute(codes, ("--tap", str(path)))
        return _tensors(self.plan, path, len(codes))

    def timed(self, codes: Array) -> Callable[[], None]:
        """Refuse: how long a simulation takes says nothing about the core.

        Raises:
            ExportError: always.
        """
        raise ExportError(
            f"verilator: '{self.name}' is simulated, and simulated cycles are not time. Ask `cycles` for the clocks of "
            "one inference and divide by the clock rate that place and route reaches."
        )

    def close(self) -> None:
        """Remove the temporary folder."""
        self.folder.cleanup()

    def _execute(self, codes: Array, extra: tuple[str, ...] = ()) -> tuple[Array, list[int]]:
        program, folder = self.plan.program, Path(self.folder.name)
        shape, quant = program.tensors[program.input].shape, program.quant(program.input)
        if codes.shape[1:] != shape[1:] or len(codes) == 0:
            raise ExportError(
                f"verilator: codes have shape {codes.shape}; '{self.name}' takes [N, {str(shape[1:])[1:-1]}]."
            )
        quant.format.to_ordinals(codes)
        beats(quant.format, codes).astype("<u2").tofile(folder / "in.bin")
        tool = str(folder / "build" / f"{self.name}_tb")
        limit_s = _MINIMUM_RUN_S + len(codes) * cycles(self.plan) // _CLOCKS_PER_S
        out = _run(
            [tool, "--in", "in.bin", "--out", "out.bin", *extra], folder, limit_s, f"simulation of '{self.name}'"
        )
        data = np.fromfile(folder / "out.bin", dtype="<u2")
        result = codes_of_beats(program.quant(program.output).format, data)
        return result.reshape(len(codes), *program.tensors[program.output].shape[1:]), [int(n) for n in out.split()]


def open_session(folder: Path, name: str, graph: Graph) -> VerilatorSession:
    """Build the core `name` of `folder` and its bench in a temporary folder.

    Raises:
        ExportError: a file is missing, or Verilator or the compiler refuses it.
    """
    plan = layout(graph)
    files = [f"{name}.v", f"{name}_tb.cpp", f"{name}_vectors.h", *(f"{name}_{kind}.mem" for kind in MEMORIES)]
    for file in files:
        if not (folder / file).is_file():
            raise ExportError(f"verilator: {folder / file} is missing; export part '{name}' to fpga again.")
    build = tempfile.TemporaryDirectory(prefix="edgemill-verilator-")
    try:
        for file in files:
            shutil.copyfile(folder / file, Path(build.name) / file)
        _run(_build_command(name), Path(build.name), _BUILD_S, f"building '{name}'")
    except BaseException:
        build.cleanup()
        raise
    return VerilatorSession(name, graph, plan, build)


def _build_command(name: str) -> list[str]:
    command = "verilator --cc --exe --build -O3 --x-assign unique --x-initial unique -DEDGEMILL_TAP --Mdir build"
    optimise = ["-MAKEFLAGS", "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O0"]  # only the model's code is worth the time
    flags = [*optimise, "-CFLAGS", "-I.. -DEDGEMILL_TAP", "--top-module", name, "-o", f"{name}_tb"]
    return [*command.split(), *flags, f"{name}.v", f"{name}_tb.cpp"]


def _run(command: list[str], folder: Path, limit_s: int, what: str) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=limit_s, check=False)
    except FileNotFoundError as error:
        raise ExportError(f"verilator: {command[0]} is not there; {missing() or 'open the part again'}.") from error
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"verilator: {what} took more than {limit_s} s.") from error
    if done.returncode != 0:
        tail = (done.stderr or done.stdout).strip()[-1500:]
        raise ExportError(f"verilator: {what} failed with code {done.returncode}: {tail}")
    return done.stdout


def _tensors(plan: Layout, path: Path, frames: int) -> dict[str, Array]:
    """Sort the writes the core reported into tensors: a write belongs to the output of its operation's step.

    Drafts belong to nobody.
    """
    records = np.fromfile(path, dtype="<u4").reshape(-1, 2)
    operations, codes, addresses = records[:, 0] >> 16, (records[:, 0] & 0xFFFF).astype(np.uint16), records[:, 1]
    owners = [plan.program.input, *("" if op.draft else plan.program.steps[op.step].y for op in plan.operations)]
    places = {name: place for place, name in enumerate(plan.program.tensors)}
    owner_of = np.array([places.get(name, -1) for name in owners])[operations]
    return {
        name: _tensor(plan, name, codes[owner_of == index], addresses[owner_of == index], frames)
        for index, name in enumerate(plan.program.tensors)
    }


def _tensor(
    plan: Layout, name: str, codes: npt.NDArray[np.uint16], addresses: npt.NDArray[np.uint32], frames: int
) -> Array:
    words = tensor_words(plan, name)
    if len(codes) != frames * words:
        raise ExportError(f"verilator: the core wrote {len(codes)} codes of '{name}', not {frames} x {words}.")
    table = np.zeros((frames, words), dtype=np.uint16)
    frame = np.repeat(np.arange(frames), words)
    table[frame, addresses.astype(np.int64) - plan.arena.offsets[name]] = codes
    shape = plan.program.tensors[name].shape[1:]
    return codes_of_beats(plan.program.quant(name).format, table).reshape(frames, *shape)


RUNTIME = Runtime(name="verilator", target="fpga", exact=True, missing=missing, open=open_session)
