"""A built Verilator bench of a streaming core."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.errors import ExportError
from export.rtl.stream.bench import stream_codes, tensor_codes
from export.rtl.stream.build import Core
from export.runtimes.verilator_tool import execute, refuse_timing
from quant.formats import Array

_CLOCKS_PER_S = 3_000  # far below what simulation reaches, for the time limit of a run
_MINIMUM_RUN_S = 120


@dataclass(frozen=True, eq=False)
class StreamSession:
    """A built bench of one core. The folder holds copies; the bundle is only read."""

    core: Core
    folder: tempfile.TemporaryDirectory[str]

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch, simulated without waits."""
        return self._execute(codes)[0]

    def run_with_waits(self, codes: Array, seed: int) -> Array:
        """Return the output codes of a batch while both streams wait at random (`seed` > 0)."""
        return self._execute(codes, ("--seed", str(seed)))[0]

    def cycles(self, codes: Array) -> int:
        """Return the clocks of one inference of `codes[:1]`, first beat in to last beat out, without waits."""
        begin, end = self._execute(codes[:1])[1][0]
        return end - begin + 1

    def intervals(self, codes: Array) -> list[int]:
        """Return the clocks between the last beats of frames that follow each other, without waits."""
        ends = [end for _, end in self._execute(codes)[1]]
        return [after - before for before, after in itertools.pairwise(ends)]

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes of the input and of every unit's output, by tensor name, as the streams carried them."""
        plan, folder = self.core.plan, Path(self.folder.name)
        self._execute(codes, ("+tap",))
        names = [plan.program.input, *(unit.step.y for unit in plan.units)]
        return {
            name: self._tapped(folder / f"tap_{place}.hex", place - 1, name, len(codes))
            for place, name in enumerate(names)
        }

    def timed(self, codes: Array) -> Callable[[], None]:
        """Refuse: how long a simulation takes says nothing about the core.

        Raises:
            ExportError: always.
        """
        raise refuse_timing(self.core.name)

    def close(self) -> None:
        """Remove the temporary folder."""
        self.folder.cleanup()

    def _tapped(self, path: Path, source: int, tensor: str, frames: int) -> Array:
        plan = self.core.plan
        bits, lanes = plan.format_bits(tensor), plan.outputs(source)[0].from_lanes
        words = [int(line, 16) for line in path.read_text(encoding="ascii").split()]
        mask = (1 << bits) - 1
        codes = np.array([word >> lane * bits & mask for word in words for lane in range(lanes)], dtype=np.uint16)
        if len(codes) < frames * plan.codes(tensor):
            raise ExportError(f"verilator: the core made {len(codes)} codes of '{tensor}', not {frames} frames.")
        return tensor_codes(plan, tensor, codes[: frames * plan.codes(tensor)])

    def _execute(self, codes: Array, extra: tuple[str, ...] = ()) -> tuple[Array, list[tuple[int, int]]]:
        plan, folder, name = self.core.plan, Path(self.folder.name), self.core.name
        program = plan.program
        shape, quant = program.tensors[program.input].shape, program.quant(program.input)
        if codes.shape[1:] != shape[1:] or len(codes) == 0:
            raise ExportError(f"verilator: codes have shape {codes.shape}; '{name}' takes [N, {str(shape[1:])[1:-1]}].")
        quant.format.to_ordinals(codes)
        stream_codes(plan, program.input, codes).astype("<u2").tofile(folder / "in.bin")
        limit_s = _MINIMUM_RUN_S + len(codes) * self.core.schedule.latency // _CLOCKS_PER_S
        command = [str(folder / "build" / f"{name}_tb"), "--in", "in.bin", "--out", "out.bin", *extra]
        out = execute(command, folder, limit_s, f"simulation of '{name}'")
        times = [(int(begin), int(end)) for begin, end in (line.split() for line in out.splitlines())]
        return tensor_codes(plan, program.output, np.fromfile(folder / "out.bin", dtype="<u2")), times
