"""The verilator runtime: builds the core's own bench in a temporary folder and runs any codes through it.

Simulated cycles are not time, so `timed` is refused; `cycles` counts clocks of one inference instead.
"""

from __future__ import annotations

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
from export.rtl.stream.fulfil import core_of
from export.rtl.stream.part import FOLDING
from export.runtimes.session import Runtime
from export.runtimes.verilator_stream import StreamSession
from export.runtimes.verilator_tool import build_bench, execute, missing, refuse_timing
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower

__all__ = ["RUNTIME", "VerilatorSession", "missing", "open_session"]

_CLOCKS_PER_S = 100_000  # far below what simulation reaches, for the time limit of a run
_MINIMUM_RUN_S = 120


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
        self._execute(codes, ("+tap",))
        return _tensors(self.plan, Path(self.folder.name) / "taps.bin", len(codes))

    def timed(self, codes: Array) -> Callable[[], None]:
        """Refuse: how long a simulation takes says nothing about the core.

        Raises:
            ExportError: always.
        """
        raise refuse_timing(self.name)

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
        command = [tool, "--in", "in.bin", "--out", "out.bin", *extra]
        out = execute(command, folder, limit_s, f"simulation of '{self.name}'")
        data = np.fromfile(folder / "out.bin", dtype="<u2")
        result = codes_of_beats(program.quant(program.output).format, data)
        clocks = [[int(clock) for clock in line.split()] for line in out.splitlines()]
        taken = [end - begin + 1 for begin, end in clocks]
        return result.reshape(len(codes), *program.tensors[program.output].shape[1:]), taken


def open_session(folder: Path, name: str, graph: Graph) -> VerilatorSession | StreamSession:
    """Build the core `name` of `folder` and its bench in a temporary folder.

    Raises:
        ExportError: a file is missing or damaged, or Verilator or the compiler refuses it.
    """
    files = [f"{name}.v", f"{name}_tb.cpp", f"{name}_vectors.h"]
    if (folder / FOLDING).is_file():
        core = core_of(name, lower(graph), folder / FOLDING)
        return StreamSession(
            core, build_bench(name, folder, [*files, *(file for file in core.files() if file.endswith(".mem"))])
        )
    plan = layout(graph)
    memories = [f"{name}_{kind}.mem" for kind in MEMORIES]
    return VerilatorSession(name, graph, plan, build_bench(name, folder, [*files, *memories]))


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
