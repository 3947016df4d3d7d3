"""Several streaming cores in one Verilated binary, so that the compiler's start is paid once; each is fed on its own.

Every core is run without waits, and again with random waits on both sides after a reset in the middle of other frames.
"""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export.errors import ExportError
from export.parity_labels import labels_of
from export.rtl.decode import stream_bits
from export.rtl.emit import fill
from export.rtl.stream.build import FRAMES, Core, build
from export.rtl.stream.device import XILINX, Device
from export.rtl.stream.folds import Fold
from export.rtl.stream.output import Output
from export.rtl.stream.streams import stream_codes, streams, tensor_codes
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower
from quant.reference import fast_dot, run

_MAIN = (Path(__file__).parent / "fpga_batch.cpp").read_text(encoding="utf-8")
LIMIT_S = 3600
#: Simulations of fewer clocks take far longer to compile than to run.
SMALL_CLOCKS = 100_000
#: The phases of a simulation: without waits, then with.
PHASES = ("plain", "waits")


@dataclass(frozen=True, eq=False)
class Case:
    """A network, the input codes [N, ...] of its frames, how it is folded, and whether labels come out."""

    graph: Graph
    codes: Array
    folds: Mapping[str, Fold] = field(default_factory=dict)
    input_lanes: int = 1
    device: Device = XILINX
    labels: bool = False


@dataclass(frozen=True, eq=False)
class Simulated:
    """A core, what came out of it by phase (codes [N, ...], or labels [N]), and when its frames began and ended."""

    case: Case
    core: Core
    codes: dict[str, Array]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def latency(self) -> int:
        """Clocks from the first beat in to the last beat out of the first frame, both included."""
        return self.ends[0] - self.begins[0] + 1

    @property
    def interval(self) -> int:
        """Clocks between the ends of the frames from which the schedule takes what it states."""
        return int(np.diff(self.ends[:FRAMES])[-2:].max())


def simulate(cases: Sequence[Case], folder: Path, *, fast: bool = True) -> list[Simulated]:
    """Build all cores into one binary and run them. `fast`: products by multiplication instead of by their gates."""
    cores = [_core(f"c{index}", case) for index, case in enumerate(cases)]
    for index, (case, core) in enumerate(zip(cases, cores, strict=True)):
        for name, text in core.files().items():
            (folder / name).write_text(text)
        words = stream_codes(core.plan, core.plan.program.input, case.codes)
        words.astype("<u2").tofile(folder / f"in_{index}.bin")
    (folder / "bench.v").write_text(_wrapper(cores))
    frames = [len(case.codes) for case in cases]
    (folder / "main.cpp").write_text(fill(_MAIN, {"PORTS": _ports(cores, frames)}))
    clocks = max(core.schedule.interval * count for core, count in zip(cores, frames, strict=True))
    _compile(folder, [f"{core.name}.v" for core in cores], fast, "-O0" if clocks < SMALL_CLOCKS else "-O1")
    _call([str(folder / "build" / "bench")], folder)
    return [_result(case, core, index, folder) for index, (case, core) in enumerate(zip(cases, cores, strict=True))]


def _core(name: str, case: Case) -> Core:
    program = lower(case.graph)
    results = (Output(program.output, case.labels),)
    return build(name, program, case.folds, case.input_lanes, case.device, results)


def _compile(folder: Path, files: list[str], fast: bool, level: str) -> None:
    flags = "--cc --exe --build -O3 -Wno-fatal --x-assign unique --x-initial unique --top-module bench --Mdir build"
    define = ["-DEDGEMILL_FAST"] if fast else []
    optimise = ["-MAKEFLAGS", f"OPT_FAST={level} OPT_SLOW=-O0 OPT_GLOBAL=-O0"]
    command = ["verilator", *flags.split(), *define, *optimise, "-o", "bench", "bench.v", *files, "main.cpp"]
    _call(command, folder)


def _call(command: list[str], folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode or "%Warning" in done.stderr:
        raise ExportError(f"{Path(command[0]).name} failed: {(done.stdout + done.stderr)[-3000:]}")


def _wrapper(cores: list[Core]) -> str:
    """Return a module that has the ports of every core, all with the same widths."""
    ports, body = ["input wire clk", "input wire rst"], []
    for index, core in enumerate(cores):
        program = core.plan.program
        width = core.plan.input_lanes * stream_bits(program.quant(program.input).format)
        result = streams(core.plan)[0].bits
        assert width <= 64
        ports += [f"input wire {name}_{index}" for name in ("s_valid", "s_last", "m_ready")]
        ports += [f"output wire {name}_{index}" for name in ("s_ready", "m_valid", "m_last", "m_user", "error")]
        ports += [f"input wire [63:0] s_data_{index}", f"output wire [31:0] m_data_{index}"]
        body += [
            f"  wire [{result - 1}:0] data_{index};",
            f"  assign m_data_{index} = {{{32 - result}'b0, data_{index}}};",
            f"  {core.name} core_{index} (.clk(clk), .rst(rst), .s_axis_tdata(s_data_{index}[{width - 1}:0]), "
            f".s_axis_tvalid(s_valid_{index}), .s_axis_tready(s_ready_{index}), .s_axis_tlast(s_last_{index}), "
            f".m_axis_tdata(data_{index}), .m_axis_tvalid(m_valid_{index}), .m_axis_tready(m_ready_{index}), "
            f".m_axis_tlast(m_last_{index}), .m_axis_tuser(m_user_{index}), .frame_error(error_{index}));",
        ]
    text = ",\n    ".join(ports)
    return f"module bench (\n    {text}\n);\n" + "\n".join(body) + "\nendmodule\n"


def _ports(cores: list[Core], frames: list[int]) -> str:
    names = ("s_data", "s_valid", "s_last", "m_ready", "s_ready", "m_data", "m_valid", "m_last", "m_user", "error")
    lines = []
    for index, (core, count) in enumerate(zip(cores, frames, strict=True)):
        plan, program = core.plan, core.plan.program
        sizes = (
            plan.input_lanes,
            stream_bits(program.quant(program.input).format),
            plan.codes(program.input) // plan.input_lanes,
            streams(plan)[0].beats,
            count,
            core.schedule.latency + core.schedule.interval,
        )
        signals = ", ".join(f"top.{name}_{index}" for name in names)
        lines.append(f"      {{{signals}, {', '.join(map(str, sizes))}}},")
    return "\n".join(lines)


def _result(case: Case, core: Core, index: int, folder: Path) -> Simulated:
    codes = {}
    for phase in PHASES:
        words = np.fromfile(folder / f"{phase}_{index}.bin", dtype="<u2")
        codes[phase] = words if case.labels else tensor_codes(core.plan, core.plan.program.output, words)
    clocks = np.loadtxt(folder / f"clocks_{index}.txt", dtype=np.int64, ndmin=2)
    begins, ends = (tuple(int(n) for n in clocks[:, column]) for column in (0, 1))
    return Simulated(case, core, codes, begins, ends)


def wrong(simulated: Simulated) -> str:
    """Return what differs from the reference, or in clocks from what the core states; empty where nothing does."""
    case, core = simulated.case, simulated.core
    program = core.plan.program
    expected = run(program, case.codes, fast_dot)[program.output]
    if case.labels:
        expected = labels_of(program.quant(program.output), expected)
    found = []
    for phase in PHASES:
        places = np.argwhere(simulated.codes[phase] != expected)
        if len(places):
            found.append(f"{phase}: {len(places)} of {expected.size} codes differ, first at {places[0].tolist()}")
    stated, clocks = core.schedule, (simulated.latency, simulated.interval)
    if clocks != (stated.latency, stated.interval):
        found.append(f"latency and interval are {clocks}, not {(stated.latency, stated.interval)}")
    return "; ".join(found)
