"""What Vela estimated at export, taken from the bundle: no NPU is executed, and the source says so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from devices.board import Board
from devices.errors import DeviceError
from devices.found import Found
from devices.measurement import Step
from devices.plan import Plan
from export.errors import ExportError
from export.ethos_u import estimates_file, read_estimates
from export.runtimes.session import Runtime, Session
from export.vela import Estimate
from quant.graph import Graph


def read_estimate(board: Board, plan: Plan, versions: Mapping[str, str]) -> Found:
    """Return the estimate for a board that lies in a bundle's part; its Vela goes with the `versions` of this machine.

    Raises:
        DeviceError: the part holds none for this board, or it is damaged.
    """
    path = plan.folder / estimates_file(plan.files)
    try:
        estimates = read_estimates(path)
    except ExportError as error:
        raise DeviceError(str(error)) from error
    if board.name not in estimates.npus:
        held = f"the part holds estimates for {', '.join(estimates.npus)} only."
        raise DeviceError(estimates.refused.get(board.name, f"{board.name}: {held}"))
    found = estimates.npus[board.name]
    return Found(
        source=_source(board, found),
        versions=tuple(sorted({**versions, "ethos-u-vela": estimates.vela}.items())),
        cycles=(found.cycles,),
        arena_bytes=found.sram_bytes,
        flash_bytes=found.flash_bytes if "flash" in board.metrics else None,
        steps=tuple(Step(layer.name, layer.macs, None, layer.cycles) for layer in found.layers),
    )


def _source(board: Board, found: Estimate) -> str:
    """Say what stands behind the figures, and what is not in them."""
    cpu = [f"{layer.operator} {layer.name}" for layer in found.on_cpu]
    rest = f"{len(cpu)} operations stay on the CPU and are in no figure: {', '.join(cpu)}" if cpu else "all on the NPU"
    dram = f", {found.dram_bytes:,} bytes of DRAM" if found.dram_bytes else ""
    return f"Vela's estimate, nothing was executed; clock of the reference {found.clock_hz / 1e6:g} MHz{dram}; {rest}"


def _open(folder: Path, name: str, graph: Graph) -> Session:
    raise DeviceError(f"'{name}': Vela estimates an Ethos-U and executes nothing; verify with tflite-micro-ethos-u.")


#: Not in `devices.runtimes.RUNTIMES`: nothing can be verified with it.
RUNTIME = Runtime(name="vela", target="ethos-u", exact=False, missing=lambda: None, open=_open)
