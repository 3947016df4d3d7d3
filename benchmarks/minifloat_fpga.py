"""Accuracy against synthesised look-up tables for every number format of 3 to 8 bits, on two networks.

    python -m benchmarks.minifloat_fpga --data DATA --work WORK [--only circuit] [--net fashion] [--pair e4m3]

WORK keeps the accuracy and the circuit of every network and pair, and every synthesised module, so that a run that
was killed goes on where it was; `--check` makes circuits again whose Verilog has changed, from the modules that have
not. `--only table` writes the results of what is finished. Needs yosys. DSP blocks are off: look-up tables tell all.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.fpga_ours import LUTS, cells
from benchmarks.kept_modules import Store, synthesise
from benchmarks.minifloat_cases import NETS, PASSES, Net, Pair, accuracy, bench, order
from benchmarks.minifloat_plot import draw
from benchmarks.minifloat_table import Row, difference, page, read, rows
from benchmarks.results import environment, write_results
from devices.synthesis import commands
from devices.synthesis.family import usage
from export.atomic import write_text
from export.rtl.stream.build import Core, build
from export.rtl.stream.device import XILINX
from export.rtl.stream.fold import for_cycles
from export.rtl.stream.units import Layer
from quant.errors import QuantError
from quant.program import lower
from quant.steps import ConvStep

NAME = "m"
PLOT = Path(__file__).parent.parent / "docs" / "minifloats.svg"
#: Pairs whose core is synthesised flat as well, to see what keeping modules apart changes.
FLAT = (("int4", "int4"), ("e2m1", "e2m1"), ("int8", "int8"), ("e4m3", "e4m3"))


def main() -> None:
    """Do what is missing, and write the results."""
    given = _arguments()
    given.work.mkdir(parents=True, exist_ok=True)
    makers = {"accuracy": _accuracy, "circuit": _circuit, "flat": _flat}
    kinds = [kind for kind in makers if not given.only or kind in given.only]
    nets = tuple(net for net in NETS if given.net in (None, net.name))
    cases = [(net, pair) for net, pair in order(nets) if not given.pair or _word(pair) in given.pair]
    todo = [(kind, net, pair) for kind in kinds for net, pair in cases if kind != "flat" or pair in FLAT]
    for done, (kind, net, pair) in enumerate(todo, 1):
        if given.check and kind != "accuracy":
            forget(given, kind, net, pair)
        if keep(given.work, kind, net, pair, partial(makers[kind], given, net, pair)):
            what = f"{kind} {net.name} {' x '.join(pair)}"
            print(f"{time.strftime('%H:%M:%S')} {done} of {len(todo)}: {what}", flush=True)
    if not given.only or "table" in given.only:
        write(given.work)


def forget(given: argparse.Namespace, kind: str, net: Net, pair: Pair) -> None:
    """Remove a record whose core is not the one that is generated today."""
    found = read(given.work, kind, net, pair)
    if found is not None and "core" in found and found["core"] != digest(core_of(given, net, pair)):
        (given.work / f"{kind}-{net.name}-{'-'.join(pair)}.json").unlink()


def _word(pair: Pair) -> str:
    """Return a pair as it is asked for."""
    return pair[0] if pair[0] == pair[1] else "-".join(pair)


def write(work: Path) -> None:
    """Write the results of all that is finished, and the plot."""
    found = [(net, rows(work, net)) for net in NETS]
    flat = [one for net, made in found for row in made if (one := _compared(work, net, row)) is not None]
    kept = {net.name: [_kept(row, made[0]) for row in made] for net, made in found}
    record = {"environment": environment(), "passes": PASSES, "results": kept, "flat": flat}
    tool = next((row.circuit["tool"] for _, made in found for row in made if row.circuit), "yosys")
    write_results("minifloat_fpga", record, page(found, flat, tool))
    draw(found, PLOT)


def _compared(work: Path, net: Net, row: Row) -> dict[str, Any] | None:
    """Return a flat netlist beside the sum of modules, None where one of them was not made."""
    made = read(work, "flat", net, row.pair)
    if made is None or row.circuit is None or made["core"] != row.circuit["core"]:
        return None
    return {"net": net.title, "name": row.name, "kept": row.luts(), "lut": made["lut"], "ff": made["ff"]}


def _kept(row: Row, best: Row) -> dict[str, Any]:
    """Return a row for the record, with its paired difference to int8, without every image and without seconds."""
    accuracy = {key: value for key, value in row.accuracy.items() if key not in ("right", "wall_s")}
    circuit = {key: value for key, value in (row.circuit or {}).items() if key not in ("wall_s", "new_modules")}
    against = dict(zip(("difference", "error", "p"), difference(row, best), strict=True))
    formats = {"weight": row.pair[0], "activation": row.pair[1]}
    return {**formats, **accuracy, "against_int8": against, "circuit": circuit or None}


def keep(work: Path, kind: str, net: Net, pair: Pair, make: Callable[[], dict[str, Any]]) -> bool:
    """Make a record unless it is there; return whether it was made."""
    path = work / f"{kind}-{net.name}-{'-'.join(pair)}.json"
    if path.is_file():
        return False
    write_text(path, json.dumps(make(), indent=1, sort_keys=True) + "\n")
    return True


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="keeps records and modules")
    parser.add_argument("--only", choices=("accuracy", "circuit", "flat", "table"), action="append")
    parser.add_argument("--check", action="store_true", help="make circuits again whose Verilog has changed")
    parser.add_argument("--net", choices=[net.name for net in NETS])
    parser.add_argument("--pair", action="append", help="only these formats: e4m3, or e2m1-int8 (weights, activations)")
    return parser.parse_args()


def _accuracy(given: argparse.Namespace, net: Net, pair: Pair) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    begin, case = time.perf_counter(), bench(net, given.data, given.work)
    found = accuracy(case, pair)
    return {**found, "float_accuracy": float(case.float_right.mean()), "wall_s": time.perf_counter() - begin}


def core_of(given: argparse.Namespace, net: Net, pair: Pair) -> Core:
    """Build the core of a network and pair, folded to the network's clocks.

    Raises:
        QuantError: an accumulator is too long for any hardware here.
    """
    import torch

    torch.set_num_threads(1)
    program = lower(bench(net, given.data, given.work).quantised(pair))
    found = for_cycles(program, net.cycles, XILINX)
    return build(NAME, program, found.folds, found.input_lanes)


def _circuit(given: argparse.Namespace, net: Net, pair: Pair) -> dict[str, Any]:
    try:
        core = core_of(given, net, pair)
    except QuantError as error:
        return {"refused": str(error)}
    tool = f"yosys {commands.version(commands.YOSYS)}"
    made = synthesise(NAME, core.files(), LUTS, tool, Store(given.work / "modules.json"))
    convs = [unit for unit in core.plan.units if isinstance(unit, Layer) and isinstance(unit.step, ConvStep)]
    parts = {kind: asdict(usage(LUTS, found)) for kind, found in made.pop("parts").items()}
    return {
        **made,
        "tool": tool,
        "options": LUTS.command,
        "core": digest(core),
        "cycles": core.schedule.interval,
        "products": sum(unit.fold.pe * unit.fold.simd for unit in convs),
        "parts": parts,
        **{key: sum(part[key] for part in parts.values()) for key in ("lut", "ff", "bram", "dsp")},
    }


def digest(core: Core) -> str:
    """Return a digest of everything that is synthesised."""
    return hashlib.sha256(json.dumps(core.files(), sort_keys=True).encode()).hexdigest()[:24]


def _flat(given: argparse.Namespace, net: Net, pair: Pair) -> dict[str, Any]:
    core = core_of(given, net, pair)
    files = core.files()
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / name for name in files}
        for name, text in files.items():
            paths[name].write_text(text)
        memories = tuple(path for name, path in paths.items() if name.endswith(".mem"))
        return {**cells((paths[f"{NAME}.v"],), NAME, LUTS, memories), "core": digest(core)}


if __name__ == "__main__":
    main()
