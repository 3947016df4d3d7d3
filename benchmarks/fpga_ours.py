"""Our side of the comparison with FPGA peers: a part folder of the target fpga, simulated and synthesised."""

from __future__ import annotations

import resource
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from benchmarks.fpga_peer_nets import Case
from devices.synthesis.core import core_of
from devices.synthesis.family import XCUP, Family, usage
from devices.synthesis.netlist import Design, flat
from export.fpga import write
from export.rtl.stream.device import Resources
from export.rtl.stream.request import CircuitRequest
from export.runtimes.verilator import open_session
from export.target import Source
from quant.formats import Array

#: The same options for every tool: multipliers in look-up tables, or in DSP blocks where yosys puts them there.
LUTS = replace(XCUP, command=f"{XCUP.command} -nodsp")
DSPS = XCUP
NAME = "model"
#: Room enough for every folding: what it takes is the result.
ROOM = Resources(1_000_000, 4_000, 1_000)


@contextmanager
def timed(record: dict[str, object], key: str) -> Iterator[None]:
    """Put wall seconds, and CPU seconds of this process and its children, under `key`."""

    def cpu_s() -> float:
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(sum(resource.getrusage(kind)[:2]) for kind in kinds)

    wall, cpu = time.perf_counter(), cpu_s()
    yield
    record[f"{key}_wall_s"], record[f"{key}_cpu_s"] = time.perf_counter() - wall, cpu_s() - cpu


def cells(sources: tuple[Path, ...], top: str, family: Family, memories: tuple[Path, ...] = ()) -> dict[str, object]:
    """Synthesise Verilog files as one flat netlist; returns LUT, FF, BRAM, DSP and the seconds it took."""
    record: dict[str, object] = {"options": family.command}
    with tempfile.TemporaryDirectory() as folder, timed(record, "yosys"):
        work = Path(folder)
        for file in (*sources, *memories):
            shutil.copyfile(file, work / file.name)
        made = flat(Design(work, tuple(file.name for file in sources), top), family, write=False)
    return {**asdict(usage(family, made.cells)), **record}


def agreement(outputs: Array, wanted: Array) -> dict[str, float]:
    """How far output codes are from the reference's."""
    flat_, other = (codes.reshape(len(codes), -1).astype(np.int64) for codes in (outputs, wanted))
    gap = np.abs(flat_ - other)
    labels = float((flat_.argmax(axis=1) == other.argmax(axis=1)).mean())
    return {"codes_off_max": float(gap.max()), "codes_off_share": float((gap > 0).mean()), "labels_equal": labels}


def export(case: Case, folder: Path, cycles: int | None) -> dict[str, object]:
    """Write a part folder: a streaming core of at most so many clocks a frame, or (None) the sequential core."""
    request = CircuitRequest("sequential") if cycles is None else CircuitRequest("stream", budget=ROOM, cycles=cycles)
    source = Source(NAME, case.graph, case.inputs[:16], case.outputs[:16], circuit=request)
    return dict(write(source, folder))


def measure(case: Case, folder: Path) -> dict[str, object]:
    """Simulate all inputs of a case in the core of a part folder, and synthesise it in LUTs and with DSP blocks."""
    record: dict[str, object] = {}
    with timed(record, "simulated"):
        session = open_session(folder, NAME, case.graph)
        try:
            record |= agreement(session.run(case.inputs), case.outputs)
            record["cycles"] = session.cycles(case.inputs)
        finally:
            session.close()
    core = core_of(folder, NAME)
    record["luts only"] = cells(core.sources, core.top, LUTS, core.memories)
    record["with dsps"] = cells(core.sources, core.top, DSPS, core.memories)
    return record
