"""Instructions, flash and RAM of the generated C on emulated Cortex-M and Cortex-A cores, bit-exact everywhere.

    python -m benchmarks.arm --data FOLDER

FOLDER holds the networks (see benchmarks/networks.py) and imagenet/mobilenet_v1_0.25_128_quant.tflite. Needs QEMU and
the two cross compilers. Writes `benchmarks/results/arm.json` and `.md`. Counts repeat exactly; they are not time.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.arm_networks import Case, cases
from benchmarks.arm_table import table
from benchmarks.results import FOLDER, environment, write_results
from devices import tools
from devices.emulators import qemu_system, qemu_user
from devices.emulators.machine import Machine, open_part
from devices.emulators.trial import missing
from export import arm_a, arm_m
from export.errors import ExportError
from export.runtimes.tflm import TFLITE_MICRO
from export.runtimes.tflm_arena import measure_arena
from export.target import Facts, Source
from quant.formats import Array
from quant.graph import Graph, macs
from quant.program import lower
from quant.reference import fast_dot, run

#: Machines in the order of the table, and what hides their vector instructions from the compiler.
MACHINES: tuple[tuple[str, Machine, tuple[str, ...]], ...] = (
    ("M3", qemu_system.M3, ()),
    ("M4", qemu_system.M4, ("-U__ARM_FEATURE_SIMD32",)),
    ("M7", qemu_system.M7, ("-U__ARM_FEATURE_SIMD32",)),
    ("M33", qemu_system.M33, ("-U__ARM_FEATURE_SIMD32",)),
    ("M55", qemu_system.M55, ("-U__ARM_FEATURE_MVE", "-U__ARM_FEATURE_SIMD32")),
    ("A53", qemu_user.A53, ("-U__ARM_NEON",)),
    ("A72", qemu_user.A72, ("-U__ARM_NEON",)),
    ("A76", qemu_user.A76, ("-U__ARM_NEON", "-U__ARM_FEATURE_DOTPROD")),
)
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--network", action="append", help="only this one (again for more); rows of the others are kept"
    )
    options = parser.parse_args()
    rows, memory = _kept(options.network)
    for case in cases(options.data):
        if options.network and case.name not in options.network:
            continue
        with tempfile.TemporaryDirectory() as place:
            rows += _measured(case, Path(place))
            memory.append(_memory(case, Path(place)))
        record = {"environment": environment() | {"tools": _tools()}, "rows": rows, "memory": memory}
        write_results("arm", record, table(rows, memory))


def _kept(networks: list[str] | None) -> tuple[list[Row], list[Row]]:
    """Return what an earlier run found about other networks, where only some are run."""
    path = FOLDER / "arm.json"
    if not networks or not path.exists():
        return [], []
    old = json.loads(path.read_text())
    rows, memory = ([row for row in old[key] if row["network"] not in networks] for key in ("rows", "memory"))
    return rows, memory


def _tools() -> dict[str, str]:
    used = (tools.ARM_GCC, tools.AARCH64_GCC, tools.QEMU_SYSTEM_ARM, tools.QEMU_AARCH64)
    return {tool.name: tools.first_line([tool.name, "--version"]) for tool in used}


def _measured(case: Case, place: Path) -> list[Row]:
    codes, expected = case.codes, run(lower(case.graph), case.codes, fast_dot)[case.graph.output]
    _check_varied(case, expected)
    facts = arm_m.TARGET.write(Source("net", case.graph, codes, expected), place)
    found = []
    for core, machine, plain in MACHINES:
        reason = missing(machine)
        if reason is not None:
            print(f"{case.name} on {core}: not run: {reason}", flush=True)
            continue
        row = _row(case, place, facts, machine, expected)
        row |= {"network": case.name, "core": core}
        if plain:
            hidden = replace(machine, flags=(*machine.flags, *plain))
            row["plain"] = _row(case, place, facts, hidden, expected)["instructions"]
        found.append(row)
        print(f"{case.name} {core}: {row['instructions']:,} instructions, {row['per_mac']:.3f} per MAC", flush=True)
    return found


def _check_varied(case: Case, expected: Array) -> None:
    """Equality of constants proves nothing."""
    ordinals = case.graph.quant(case.graph.output).format.to_ordinals(expected).reshape(len(expected), -1)
    if len(np.unique(ordinals.argmax(axis=1))) < 2:
        raise SystemExit(f"{case.name}: every input has the same label; choose other inputs.")


def _row(case: Case, place: Path, facts: Facts, machine: Machine, expected: Array) -> Row:
    session = open_part(machine, place, "net", case.graph)
    try:
        if not np.array_equal(session.run(case.codes), expected):
            raise SystemExit(f"{case.name} on {machine.name}: not the reference's codes.")
        counts, footprint = session.instructions(case.codes[:1]), session.footprint()
    finally:
        session.close()
    weights = facts["weight_bytes"]
    assert isinstance(weights, int)
    return {
        "instructions": counts[0],
        "macs": _macs(case.graph),
        "per_mac": counts[0] / _macs(case.graph),
        "flash_bytes": footprint.flash_bytes,
        "code_bytes": footprint.flash_bytes - weights,
        "weight_bytes": weights,
        "exact_inputs": len(expected),
        "flags": " ".join(machine.flags),
    }


def _macs(graph: Graph) -> int:
    return sum(macs(graph).values())


def _memory(case: Case, place: Path) -> Row:
    """Bytes of the arena, what no plan can go below, and what TFLite-Micro takes for the same network."""
    source = Source("net", case.graph, case.codes, case.codes[:0])
    facts = arm_m.TARGET.write(source, place)
    row: Row = {"network": case.name} | {key: facts[key] for key in ("arena_bytes", "busiest_bytes")}
    if TFLITE_MICRO.missing() is not None:
        return row | {"tflite_micro": "not run: it is not installed"}
    try:
        arm_a.TARGET.write(source, place)
        arena = measure_arena(place, "net", case.graph)
    except ExportError as error:
        return row | {"tflite_micro": f"not run: {error}"}
    return row | {"tflite_micro": arena.total_bytes, "tflite_micro_activations": arena.head_bytes}


if __name__ == "__main__":
    main()
