"""One run on an FPGA board: synthesis of the part's core, its cycles, and the latency at the clock that was reached."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from devices.board import Board
from devices.boards_fpga import find_fpga
from devices.circuit import Circuit, Layer
from devices.errors import DeviceError
from devices.found import Found
from devices.part_files import load_graph, load_inputs
from devices.plan import Plan
from devices.synthesis import commands
from devices.synthesis.core import core_of
from devices.synthesis.flow import Synthesised, over, silent, synthesise
from export.atomic import new_folder
from export.errors import ExportError
from export.runtimes import verilator
from export.runtimes.session import Runtime, Session
from quant.graph import Graph

SIMULATED = "simulated"
STATED = "stated by the exporter"
_COMMANDS = ("yosys", "nextpnr-ecp5", "nextpnr-ice40", "ecppack", "icepack")


def read_synthesis(board: Board, plan: Plan, versions: Mapping[str, str], say: Callable[[str], None] = silent) -> Found:
    """Synthesise the core of a part for a board's FPGA and return what the tools said; `versions` go with theirs.

    Cycles are simulated where Verilator is here; else they are what the exporter noted, which is exact for its cores
    and checked by simulation wherever that runs.

    Raises:
        DeviceError: yosys is missing or fails, or the part has no core.
    """
    fpga = find_fpga(board)
    made = synthesise(core_of(plan.folder, plan.files), fpga, say=say)
    cycles, cycles_from = _cycles(plan)
    interval = plan.interval_cycles
    layers = tuple(_named(layer, plan) for layer in made.circuit.layers)
    circuit = replace(made.circuit, cycles_from=cycles_from, interval_cycles=interval, layers=layers)
    clock = circuit.clock_hz
    latency = None if clock is None or cycles is None else (tuple(count / clock for count in cycles),)
    return Found(
        source=_source(circuit, made),
        versions=tuple(sorted({**versions, **dict(made.versions)}.items())),
        latency_s=latency,
        cycles=cycles,
        circuit=circuit,
        absent=_absent(circuit, cycles, latency),
    )


def _named(layer: Layer, plan: Plan) -> Layer:
    """Return an instance by the name of its step, with the clocks that the exporter states."""
    noted = next((noted for noted in plan.layers if noted.instance == layer.name), None)
    return layer if noted is None else replace(layer, name=noted.step, cycles=noted.cycles)


def copy_results(board: Board, plan: Plan, folder: Path) -> Path:
    """Copy the reports and the bitstream of a part on a board into a new folder of `folder`; return it.

    Raises:
        DeviceError: as `read_synthesis`, or the placer failed, so that there is nothing to copy.
        ExportError: the new folder exists or cannot be written.
    """
    made = synthesise(core_of(plan.folder, plan.files), find_fpga(board))
    if made.folder is None:
        raise DeviceError(f"'{plan.part}' on {board.name}: {made.circuit.clock_reason}.")
    with new_folder(folder / f"{plan.part}-{board.name}") as copy:
        for path in sorted(made.folder.iterdir()):
            shutil.copyfile(path, copy / path.name)
    return folder / f"{plan.part}-{board.name}"


def _cycles(plan: Plan) -> tuple[tuple[int, ...] | None, str]:
    """Return the cycles of the first inferences and where they come from; (None, "") where nothing says."""
    if verilator.missing() is None:
        return _simulated(plan), SIMULATED
    return (None, "") if plan.cycles is None else ((plan.cycles,), STATED)


def _simulated(plan: Plan) -> tuple[int, ...]:
    graph = load_graph(plan.folder)
    codes = load_inputs(plan.folder, graph)[: plan.images]
    try:
        session = verilator.open_session(plan.folder, plan.files, graph)
        try:
            return tuple(session.cycles(codes[i : i + 1]) for i in range(len(codes)))
        finally:
            session.close()
    except ExportError as error:
        raise DeviceError(str(error)) from error


def _absent(circuit: Circuit, cycles: object, latency: object) -> tuple[tuple[str, str], ...]:
    found = []
    if cycles is None:
        found.append(("cycles", f"the part does not state them, and {verilator.missing()}"))
    if latency is None:
        found.append(("latency", circuit.clock_reason or "without cycles there is no time"))
    return tuple(found)


def _source(circuit: Circuit, made: Synthesised) -> str:
    """Say which tools stand behind the figures, and what they leave open."""
    tools = ", ".join(name for name, _ in made.versions if name in _COMMANDS)
    clock = f"clock of static timing at the slow corner, seed {circuit.seed}" if circuit.clock_hz else "no clock"
    cycles = f"cycles {circuit.cycles_from}" if circuit.cycles_from else "no cycles"
    excess = circuit.beyond
    fit = f"does not fit ({over(circuit.counted, circuit.available)})" if excess else "fits"
    notes = "".join(f"; {note}" for note in circuit.notes)
    return f"netlist of {circuit.device}, {fit}: {tools}; {clock}, {cycles}; not run on the board{notes}"


def _open(folder: Path, name: str, graph: Graph) -> Session:
    raise DeviceError(f"'{name}': yosys synthesises a core and executes nothing; verify with verilator.")


#: Not in `devices.runtimes.RUNTIMES`: nothing can be verified with it.
RUNTIME = Runtime(
    name="yosys", target="fpga", exact=False, missing=lambda: commands.missing(commands.YOSYS), open=_open
)
