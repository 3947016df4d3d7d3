"""Instructions of one inference on emulated Cortex-A: LiteRT, tflite-runtime, ONNX Runtime, OpenVINO, generated C.

    python -m benchmarks.arm_a --data FOLDER

All are counted between the same markers (getppid) by the same plugin in qemu-aarch64, one thread, batch 1, the same
quantised network and inputs. Needs `python -m devices.pi.setup`. Writes `benchmarks/results/arm_a.json` and `.md`.
Counts are not time: an emulator has no pipeline, no cache and no memory waits.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.networks import Network, keyword_spotting, resnet8
from benchmarks.results import environment, write_results
from devices.emulators import icount, qemu_user
from devices.emulators.machine import open_part
from devices.errors import DeviceError
from devices.pi import session as pi
from devices.pi.cores import Core
from devices.pi.system import GUESTS, PAIRS, Guest, counter_options, execute, missing, runtime_name
from devices.runtimes import find_runtime
from export import arm_a, arm_m, host
from export.runtimes.tflite_part import TINY_INPUT, TINY_MODEL
from export.target import Source
from quant.formats import Array
from quant.graph import Graph, macs
from quant.onnx_import import load_onnx
from quant.program import lower
from quant.ptq import quantise
from quant.reference import quantise_input, run
from quant.scheme import parse_scheme

NETWORKS: tuple[Callable[[Path], Network], ...] = (resnet8, keyword_spotting)
SCHEME = "w8a8"
CALIBRATION, IMAGES = 200, 8
C_MACHINES = {"cortex-a72": qemu_user.A72, "cortex-a76": qemu_user.A76}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    rows: list[Row] = []
    fixed = _fixed_costs()
    for load in NETWORKS:
        rows += _network(load(data))
        record = {"environment": environment(), "images": IMAGES, "scheme": SCHEME, "rows": rows, "fixed": fixed}
        write_results("arm_a", record, _table(rows, fixed))


def _network(network: Network) -> list[Row]:
    graph = quantise(load_onnx(network.path), parse_scheme(SCHEME), network.calibration[:CALIBRATION])
    codes = quantise_input(graph.quant(graph.input), network.test[:IMAGES])
    expected = run(lower(graph), codes)[graph.output]
    total = sum(macs(graph).values())
    with tempfile.TemporaryDirectory() as work:
        for target in (arm_a.TARGET, arm_m.TARGET, host.TARGET):
            folder = Path(work) / target.name
            folder.mkdir()
            target.write(Source("net", graph, codes, expected), folder)
        found = [_ours(cpu, Path(work), graph, codes) for cpu in C_MACHINES]
        found += [_runtime(guest, core, Path(work), graph, codes) for guest, core in PAIRS]
        here = {guest.name: _steps_here(guest, Path(work), graph, codes, expected) for guest in GUESTS}
    rows = [_row(network.name, total, expected, *item) for item in found]
    return [{**row, "steps_here": here.get(row["executed_by"].split(" ")[0].removeprefix("ai-edge-"))} for row in rows]


def _steps_here(guest: Guest, work: Path, graph: Graph, codes: Array, expected: Array) -> int | None:
    """Return how far the runtime of the same name on this machine is from the reference, if it works here."""
    runtime = find_runtime(guest.name)
    if runtime.missing() is not None:
        return None
    session = runtime.open(work / guest.target, "net", graph)
    made = session.run(codes)
    session.close()
    return int(np.abs(made.astype(int) - expected.astype(int)).max())


def _ours(cpu: str, work: Path, graph: Graph, codes: Array) -> tuple[str, str, Any, Any]:
    session = open_part(C_MACHINES[cpu], work / "arm-m", "net", graph)
    try:
        flags = " ".join(C_MACHINES[cpu].flags)
        return cpu, f"generated C, gcc {flags}", session.instructions(codes), session.run(codes)
    finally:
        session.close()


def _runtime(guest: Any, core: Any, work: Path, graph: Graph, codes: Array) -> tuple[str, str, Any, Any]:
    reason = missing(guest, core)
    if reason:
        return core.cpu, f"{guest.name}: not run, {reason}", None, None
    session = pi.open_session(guest, core, work / guest.target, "net", graph)
    try:
        return core.cpu, guest.packages[0].replace("==", " "), session.instructions(codes), session.run(codes)
    except DeviceError as error:
        return core.cpu, f"{guest.name}: not run, {error}", None, None


def _row(network: str, total: int, expected: Array, cpu: str, name: str, counts: Any, codes: Any) -> Row:
    row: Row = {"network": network, "macs": total, "cpu": cpu, "executed_by": name, "instructions": None}
    if counts is not None:
        middle = statistics.median(counts)
        difference = np.abs(codes.astype(int) - expected.astype(int))
        row |= {"instructions": middle, "least": min(counts), "most": max(counts), "per_mac": middle / total}
        row |= {"differing": int((difference > 0).sum()), "outputs": difference.size, "steps": int(difference.max())}
        row["labels_kept"] = int((codes.argmax(1) == expected.argmax(1)).sum())
        row["labels"] = len(set(expected.argmax(1).tolist()))
    print(row, flush=True)
    return row


def _fixed_costs() -> dict[str, float]:
    """Return the instructions of one QUANTIZE of one value: what a call of a runtime takes whatever the network."""
    costs = {}
    for guest, core in PAIRS:
        if guest.suffix == ".tflite" and missing(guest, core) is None:
            costs[runtime_name(guest, core)] = _tiny(guest, core)
    return costs


def _tiny(guest: Guest, core: Core) -> float:
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "tiny.tflite").write_bytes(TINY_MODEL)
        np.save(work / "in.npy", np.full((4, 1), TINY_INPUT, np.int8))
        files = (work / "tiny.tflite", work / "in.npy", work / "out.npz")
        execute(guest, core, files, options=counter_options(work / "icount.txt"))
        return statistics.median(icount.per_inference(icount.read(work / "icount.txt")))


def _table(rows: list[Row], fixed: dict[str, float]) -> str:
    lines = [
        "# Instructions of one inference on emulated Cortex-A",
        "",
        f"qemu-aarch64 with the counting plugin, one thread, batch 1, median of {IMAGES} inputs. `steps`: the largest",
        "difference of an output from the integer reference in steps of its grid, `here`: the same on the machine that",
        "emulates, `labels`: how many of the inputs keep their label. ONNX Runtime and OpenVINO include quantising the",
        "float32 input and making the output.",
        "Counts are not time. A call of the runtime alone (a network of one operation on one value) takes:",
        f"{', '.join(f'{name} {count:,.0f}' for name, count in fixed.items())}.",
        "",
        "| network | core | executed by | instructions | per MAC | spread | steps | here | labels |",
        "|---|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    return "\n".join([*lines, *map(_line, sorted(rows, key=lambda r: (r["network"], r["cpu"])))]) + "\n"


def _line(row: Row) -> str:
    if row["instructions"] is None:
        return f"| {row['network']} | {row['cpu']} | {row['executed_by']} | | | | | | |"
    here = "" if row["steps_here"] is None else row["steps_here"]
    spread = (row["most"] - row["least"]) / row["instructions"]
    return (
        f"| {row['network']} | {row['cpu']} | {row['executed_by']} | {row['instructions']:,.0f} | {row['per_mac']:.3f} "
        f"| {100 * spread:.2f} % | {row['steps']} | {here} | {row['labels_kept']}/{IMAGES} |"
    )


if __name__ == "__main__":
    main()
