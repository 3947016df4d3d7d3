"""A built Verilator bench of a streaming core."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.errors import ExportError
from export.rtl.stream.build import Core
from export.rtl.stream.streams import stream_codes, streams, tensor_codes
from export.runtimes.session import StreamOut
from export.runtimes.verilator_tool import execute, refuse_timing
from quant.formats import Array

_CLOCKS_PER_S = 3_000  # far below what simulation reaches, for the time limit of a run
_MINIMUM_RUN_S = 120


@dataclass(frozen=True, eq=False)
class StreamSession:
    """A built bench of one core. The folder holds copies; the bundle is only read.

    Where labels leave the core, its output codes are read inside it, before they become labels; `streams` shows what
    comes out.
    """

    core: Core
    folder: tempfile.TemporaryDirectory[str]

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch, simulated without waits."""
        return self._output(codes)

    def run_with_waits(self, codes: Array, seed: int) -> Array:
        """Return the output codes of a batch while all streams wait at random (`seed` > 0)."""
        return self._output(codes, ("--seed", str(seed)))

    def streams(self, codes: Array, seed: int = 0) -> tuple[StreamOut, ...]:
        """Return what every stream out of the core carried for a batch; all wait at random where `seed` is not 0."""
        return self._execute(codes, ("--seed", str(seed)) if seed else ())[0]

    def beyond(self, codes: Array) -> tuple[StreamOut, ...]:
        """Return what `run` does not show of a batch: the streams, where they are not the output's codes alone."""
        plain = len(self.core.plan.results) == 1 and not self.core.plan.results[0].labels
        return () if plain else self.streams(codes)

    def cycles(self, codes: Array) -> int:
        """Return the clocks of one inference of `codes[:1]`, first beat in to last beat out, without waits."""
        return self.latencies(codes)[0]

    def latencies(self, codes: Array) -> tuple[int, ...]:
        """Return the clocks of one inference of `codes[:1]` to the last beat of every stream, without waits."""
        begin, *ends = self._execute(codes[:1])[1][0]
        return tuple(end - begin + 1 for end in ends)

    def intervals(self, codes: Array) -> list[int]:
        """Return the clocks between the last beats of frames that follow each other, without waits."""
        ends = [times[1] for times in self._execute(codes)[1]]
        return [after - before for before, after in itertools.pairwise(ends)]

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes of the input and of every unit's output, by tensor name, as the streams carried them."""
        plan = self.core.plan
        self._execute(codes, ("+tap",))
        names = [plan.program.input, *(unit.step.y for unit in plan.units)]
        return {name: self._tapped(place - 1, name, len(codes)) for place, name in enumerate(names)}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Refuse: how long a simulation takes says nothing about the core.

        Raises:
            ExportError: always.
        """
        raise refuse_timing(self.core.name)

    def close(self) -> None:
        """Remove the temporary folder."""
        self.folder.cleanup()

    def _tapped(self, source: int, tensor: str, frames: int) -> Array:
        """Read the codes that left a unit (-1: the input) in the last simulation."""
        plan, path = self.core.plan, Path(self.folder.name) / f"tap_{source + 1}.hex"
        bits, lanes = plan.format_bits(tensor), plan.outputs(source)[0].from_lanes
        words = [int(line, 16) for line in path.read_text(encoding="ascii").split()]
        mask = (1 << bits) - 1
        codes = np.array([word >> lane * bits & mask for word in words for lane in range(lanes)], dtype=np.uint16)
        if len(codes) < frames * plan.codes(tensor):
            raise ExportError(f"verilator: the core made {len(codes)} codes of '{tensor}', not {frames} frames.")
        return tensor_codes(plan, tensor, codes[: frames * plan.codes(tensor)])

    def _output(self, codes: Array, extra: tuple[str, ...] = ()) -> Array:
        plan = self.core.plan
        if not plan.results[0].labels:
            return self._execute(codes, extra)[0][0].values
        self._execute(codes, (*extra, "+tap"))
        return self._tapped(plan.ends()[0].source, plan.program.output, len(codes))

    def _execute(
        self, codes: Array, extra: tuple[str, ...] = ()
    ) -> tuple[tuple[StreamOut, ...], list[tuple[int, ...]]]:
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
        return self._carried(), [tuple(int(clock) for clock in line.split()) for line in out.splitlines()]

    def _carried(self) -> tuple[StreamOut, ...]:
        """Read what every stream carried in the last simulation."""
        plan, found = self.core.plan, []
        for index, stream in enumerate(streams(plan)):
            file = f"out.bin{f'.{index}' if index else ''}"
            words = np.fromfile(Path(self.folder.name) / file, dtype="<u2")
            values = words.astype(np.int64) if stream.labels else tensor_codes(plan, stream.tensor, words)
            found.append(StreamOut(stream.port, stream.tensor, stream.labels, values))
        return tuple(found)
