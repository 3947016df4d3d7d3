"""Instructions of one inference on emulated Cortex-A: LiteRT, tflite-runtime, ONNX Runtime, OpenVINO, generated C.

    python -m benchmarks.arm_a --data FOLDER [--network resnet8 ...]

All are counted between the same markers (getppid) by the same plugin in qemu-aarch64, one thread, batch 1, the same
quantised network and inputs. The quantised file of another tool (Coral's MobileNet) runs as it is. Needs
`python -m devices.pi.setup`. Writes `benchmarks/results/arm_a.json` and `.md`.
Counts are not time: an emulator has no pipeline, no cache and no memory waits.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import arm_a_original
from benchmarks.arm_networks import MOBILENET, Case, mobilenet
from benchmarks.networks import Network, keyword_spotting, resnet8
from benchmarks.results import FOLDER, environment, write_results
from devices.emulators import icount, qemu_user
from devices.emulators.machine import open_part
from devices.errors import DeviceError
from devices.pi import session as pi
from devices.pi.cores import CORES, Core
from devices.pi.system import GUESTS, LITERT, PAIRS, Guest, counter_options, execute, missing, runtime_name
from devices.runtimes import find_runtime
from export import arm_a, arm_m, host
from export.runtimes.tflite_part import TINY_INPUT, TINY_MODEL
from export.target import Source
from quant.formats import Array
from quant.graph import Graph, macs
from quant.onnx_import import load_onnx
from quant.program import lower
from quant.ptq import quantise
from quant.reference import fast_dot, quantise_input, run
from quant.scheme import parse_scheme

NETWORKS: tuple[tuple[str, Callable[[Path], Network]], ...] = (("resnet8", resnet8), ("kws_dscnn", keyword_spotting))
#: Coral's file, and its name in the table.
ORIGINAL = "mobilenet_coral"
SCHEME = "w8a8"
CALIBRATION, IMAGES = 200, 8
C_MACHINES = {"cortex-a72": qemu_user.A72, "cortex-a76": qemu_user.A76}
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    names = [name for name, _ in NETWORKS] + [ORIGINAL]
    parser.add_argument("--network", action="append", choices=names, help="only this one; rows of others are kept")
    options = parser.parse_args()
    wanted = options.network or names
    rows, notes = _kept(wanted)
    fixed = _fixed_costs()
    for name in wanted:
        if name == ORIGINAL:
            found, notes = _original(options.data)
            rows += found
        else:
            rows += _network(name, dict(NETWORKS)[name](options.data))
        record = {"environment": environment(), "images": IMAGES, "scheme": SCHEME, "rows": rows, "fixed": fixed}
        write_results("arm_a", record | {"delegates": notes}, _table(rows, fixed, notes))


def _kept(wanted: list[str]) -> tuple[list[Row], dict[str, str]]:
    """Return the rows of other networks, and what delegates took, from an earlier run."""
    path = FOLDER / "arm_a.json"
    old = json.loads(path.read_text()) if path.exists() else {"rows": []}
    rows = [row for row in old["rows"] if row["network"] not in wanted]
    return rows, {} if ORIGINAL in wanted else old.get("delegates", {})


def _original(data: Path) -> tuple[list[Row], dict[str, str]]:
    """Return rows of a file that another tool quantised, and which of its operators no delegate took, by core."""
    case = mobilenet(data)
    expected = run(lower(case.graph), case.codes, fast_dot)[case.graph.output]
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "arm-m").mkdir()
        arm_m.TARGET.write(Source("net", case.graph, case.codes, expected), Path(work) / "arm-m")
        found = [_ours(cpu, Path(work), case.graph, case.codes) for cpu in C_MACHINES]
    notes: dict[str, str] = {}
    found += [each for core in CORES for each in _bodies(core, data / MOBILENET, case, notes)]
    return [_row(ORIGINAL, sum(macs(case.graph).values()), expected, *item) for item in found], notes


def _bodies(core: Core, path: Path, case: Case, notes: dict[str, str]) -> Iterator[tuple[str, str, Any, Any]]:
    """Run the file in the runtimes of a core; only codes of logits can be compared with the reference's."""
    for part, body in arm_a_original.bodies(path, case.graph.output):
        for guest in arm_a_original.GUESTS:
            name, reason = f"{_package(guest)}, {part}", missing(guest, core)
            if reason:
                yield core.cpu, f"{name}: not run, {reason}", None, None
                continue
            counts, codes = arm_a_original.measure(guest, core, body, case.codes)
            yield core.cpu, name, counts, codes if part == arm_a_original.AT_LOGITS else None
            if guest is LITERT:
                own = arm_a_original.left_over(arm_a_original.operators(core, body))
                notes[f"{core.cpu}, {part}"] = ", ".join(own) or "none"


def _network(name: str, network: Network) -> list[Row]:
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
    rows = [_row(name, total, expected, *item) for item in found]
    return [row | {"steps_here": here.get(row["executed_by"].split(" ")[0].removeprefix("ai-edge-"))} for row in rows]


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
        return core.cpu, _package(guest), session.instructions(codes), session.run(codes)
    except DeviceError as error:
        return core.cpu, f"{guest.name}: not run, {error}", None, None


def _package(guest: Guest) -> str:
    return guest.packages[0].replace("==", " ")


def _row(network: str, total: int, expected: Array, cpu: str, name: str, counts: Any, codes: Any) -> Row:
    row: Row = {"network": network, "macs": total, "cpu": cpu, "executed_by": name, "instructions": None}
    if counts is not None:
        middle = statistics.median(counts)
        row |= {"instructions": middle, "least": min(counts), "most": max(counts), "per_mac": middle / total}
    if codes is not None:
        difference = np.abs(codes.astype(int) - expected.astype(int))
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


def _table(rows: list[Row], fixed: dict[str, float], notes: dict[str, str]) -> str:
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
    lines += map(_line, sorted(rows, key=lambda r: (r["network"], r["cpu"])))
    return "\n".join([*lines, *_delegates(notes)]) + "\n"


def _delegates(notes: dict[str, str]) -> list[str]:
    if not notes:
        return []
    lines = [
        "",
        f"`{ORIGINAL}` is a file that another tool quantised (uint8, weights with zero points), run as it is; the",
        "generated C is of the imported network, which ends at the logits. Operators that LiteRT's XNNPACK delegate",
        "did not take, and LiteRT's own kernels executed:",
        "",
    ]
    return lines + [f"- {where}: {names}" for where, names in notes.items()]


def _line(row: Row) -> str:
    if row["instructions"] is None:
        return f"| {row['network']} | {row['cpu']} | {row['executed_by']} | | | | | | |"
    here = "" if row.get("steps_here") is None else row["steps_here"]
    kept = f"{row['labels_kept']}/{IMAGES}" if "labels_kept" in row else ""
    spread = (row["most"] - row["least"]) / row["instructions"]
    return (
        f"| {row['network']} | {row['cpu']} | {row['executed_by']} | {row['instructions']:,.0f} | {row['per_mac']:.3f} "
        f"| {100 * spread:.2f} % | {row.get('steps', '')} | {here} | {kept} |"
    )


if __name__ == "__main__":
    main()
