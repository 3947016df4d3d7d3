"""What a part costs on a board, through a bundle and a run there; kept in the search's folder under digests."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from devices import runner
from devices.board import Board
from devices.errors import DeviceError
from devices.inventory import RemoteBoard
from devices.measurement import Measurement
from devices.plan import plans
from devices.worker import versions
from edge.errors import EdgeError
from edge.evaluate import output_labels
from edge.exporting import fitted
from edge.quantizing import scheme_of
from edge.splitting.job import SplitJob, bare, digest_of
from edge.splitting.record import Cost, Figure
from edge.stages import Stages
from export.bundle import BundleSpec, write_bundle
from export.bundle_read import Bundle
from export.errors import ExportError
from export.target import Source, check_capability
from export.targets import find_target
from quant.errors import QuantError
from quant.graph import Graph

#: Clock of the boards that QEMU emulates, in MHz, from Arm's notes on their FPGA images (AN385, AN386, AN500, AN505,
#: AN547). At one instruction per clock, which few cores reach, they give the least time.
CLOCKS = {"mps2-an385": 25.0, "mps2-an386": 25.0, "mps2-an500": 25.0, "mps2-an505": 20.0, "mps3-an547": 32.0}
#: Boards whose target is any get this one's bundles: it has every format.
EVERY_FORMAT = "arm-m"

#: Of the device and of the server: a cost, or why there is none.
Costs = tuple[Cost | str, Cost | str]


def instruction_rate(board: Board, mips: float | None) -> tuple[float | None, str]:
    """Return instructions per second of a board that only counts them, and a note on it; None where times are measured.

    Raises:
        EdgeError: it gives neither times nor instructions, or nothing says how fast it is.
    """
    if "latency" in board.metrics:
        return None, ""
    if "instructions" not in board.metrics:
        given = ", ".join(board.metrics)
        raise EdgeError(f"board '{board.name}' gives {given}; a split is searched with latency or instructions.")
    rate = CLOCKS.get(board.name) if mips is None else mips
    if rate is None:
        raise EdgeError(f"board '{board.name}' counts instructions; say with --device-mips how many millions it does.")
    how = "one per clock of the board, which is the least time" if mips is None else "as given"
    return rate * 1e6, f"seconds on {board.name} are counted instructions at {rate:g} million per second ({how})"


def cost_stage(
    stages: Stages, job: SplitJob, title: str, graph: Graph, parts: Callable[[], tuple[Source, ...]]
) -> Costs:
    """Return what the first part costs on the device and the last one on the server, or why one of them cannot be.

    Args:
        stages: keeps the result.
        job: names boards and lengths.
        title: of the bundle; also the stage's.
        graph: all of the network, for the digest.
        parts: makes the parts when the result is not there yet.
    """
    sides = (bare(job.device), bare(job.server))
    inputs = {
        "graph": digest_of(graph),
        "boards": [side.name for side in sides],
        "versions": [versions(side) for side in sides],
        "measuring": asdict(job.measuring),
        "mips": job.mips,
    }
    try:
        result = stages.run(f"cost-{title}", inputs, lambda: _measured(stages.folder, job, title, parts()))
    except DeviceError as error:
        # Not kept: a board may be back the next time.
        return str(error), str(error)
    return _read(result["device"]), _read(result["server"])


def _measured(folder: Path, job: SplitJob, title: str, parts: tuple[Source, ...]) -> dict[str, Any]:
    device = _side(folder, job, title, parts, job.device, first=True)
    server = _side(folder, job, title, parts, job.server, first=False)
    return {"device": device, "server": server}


def _side(
    folder: Path, job: SplitJob, title: str, parts: tuple[Source, ...], side: Board | RemoteBoard, *, first: bool
) -> dict[str, Any]:
    """Return the cost of the first or the last part on a board, or why its target or the part refuses."""
    board = bare(side)
    try:
        bundle = _bundle(folder, job, title, parts, board)
    except (ExportError, QuantError) as error:
        if isinstance(error.__cause__, OSError):
            raise
        return {"refused": str(error)}
    plan = plans(bundle, board, images=1, **asdict(job.measuring))[0 if first else -1]
    (found,) = runner.profile_all(((plan, side),))
    if isinstance(found, DeviceError):
        raise found
    return asdict(cost_of(found, board, job.mips if first else None))


def _bundle(folder: Path, job: SplitJob, title: str, parts: tuple[Source, ...], board: Board) -> Bundle:
    target = find_target(board.target or EVERY_FORMAT)
    placed = tuple(fitted(part, target) for part in parts)
    for part, wanted in zip(placed, parts, strict=True):
        check_capability(target, part.graph)
        _check_link(part.graph, wanted.graph, target.name)
    last = parts[-1].graph
    spec = BundleSpec(
        name=c_name(title),
        scheme=scheme_of(parts[0].graph),
        preprocess=job.dataset.preprocess,
        labels=output_labels(last, job.dataset),
        parts=placed,
        postprocess="softmax",
    )
    return write_bundle(folder / "bundles" / f"{title}-{target.name}", spec, target, overwrite=True)


def _check_link(graph: Graph, wanted: Graph, target: str) -> None:
    """Refuse what a target stores wider than the link has it: packets would be longer than the search says."""
    made, fmt = (which.quant(which.output).format for which in (graph, wanted))
    if made != fmt:
        raise ExportError(f"target {target} stores {fmt.name} as {made.name}, so packets would have codes of that.")


def cost_of(found: Measurement, board: Board, mips: float | None = None) -> Cost:
    """Return the cost that a measurement shows; seconds of counted instructions are modelled."""
    absent = dict(found.absent)
    count = statistics.median(found.instructions) if found.instructions else None
    instructions = Figure(count, "counted") if count is not None else Figure(None, reason=absent["instructions"])
    return Cost(_seconds(found, board, mips), instructions, _energy(found, absent))


def _seconds(found: Measurement, board: Board, mips: float | None) -> Figure:
    if found.samples_s:
        each = statistics.median(found.samples_s) / found.samples_per_query
        return Figure(each, "measured" if found.method == "measured" else "modelled")
    rate, _ = instruction_rate(board, mips)
    if rate is None or not found.instructions:
        return Figure(None, reason=dict(found.absent).get("latency", "the board gave no time"))
    return Figure(statistics.median(found.instructions) / rate, "modelled")


def _energy(found: Measurement, absent: Mapping[str, str]) -> Figure:
    if found.energy is None:
        return Figure(None, reason=absent.get("energy", "the board has no meter"))
    method = "measured" if found.energy.method == "measured" else "modelled"
    return Figure(statistics.median(found.energy.gross_j), method)


def _read(record: Mapping[str, Any]) -> Cost | str:
    if "refused" in record:
        return str(record["refused"])
    return Cost(**{key: Figure(**record[key]) for key in ("seconds", "instructions", "energy_j")})


def slug(text: str) -> str:
    """Return text as a part of a file's name."""
    return re.sub(r"[^A-Za-z0-9.]+", "_", text).strip("_") or "x"


def c_name(text: str) -> str:
    """Return text as what names in C can begin with."""
    found = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")
    return f"net_{found}"[:40].strip("_")
