"""How far the estimates are off that choose a folding: every unit of small cores as yosys counts it, beside them.

    python -m benchmarks.fpga_fold [--only int8_few ...]     results to results/fpga_fold.{json,md}

A unit takes yosys seconds to minutes; finished counts are kept in `--work`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.results import environment, write_results
from devices.synthesis.family import ECP5, XC7, Family, usage
from devices.synthesis.stat import parse_text, total
from export.rtl.stream.build import Core, build
from export.rtl.stream.device import LATTICE_ECP5, XILINX, Device
from export.rtl.stream.folds import Fold
from export.rtl.stream.resources import unit_resources
from quant import operators as ops
from quant.formats import find_format
from quant.graph import Graph
from quant.program import lower
from tests.rtl_graphs import INF, Net

LIMIT_S = 1800
#: Foldings of the network's seven units: few products in look-up tables, many of them, and products in DSP blocks.
FEW = {"n0": Fold(4, 4), "n1": Fold(2), "n2": Fold(4, 4), "n3": Fold(2), "n4": Fold(2), "n5": Fold(2), "n6": Fold(1, 2)}
MANY = {
    "n0": Fold(16, 2),
    "n1": Fold(16),
    "n2": Fold(2, 16),
    "n3": Fold(8),
    "n4": Fold(8),
    "n5": Fold(8),
    "n6": Fold(5, 8),
}
BLOCKS = {
    "n0": Fold(8, 8, "dsp"), "n1": Fold(4, 1, "dsp"), "n2": Fold(8, 2, "dsp"), "n3": Fold(4), "n4": Fold(4),
    "n5": Fold(4), "n6": Fold(2, 4, "dsp"),
}  # fmt: skip
#: Name, format of activations and weights, folding, device, and yosys' family.
CASES: tuple[tuple[str, str, dict[str, Fold], Device, Family], ...] = (
    ("int8_few", "int8", FEW, XILINX, XC7),
    ("int8_many", "int8", MANY, XILINX, XC7),
    ("int8_blocks", "int8", BLOCKS, XILINX, XC7),
    ("int8_blocks_ecp5", "int8", BLOCKS, LATTICE_ECP5, ECP5),
    ("int4_many", "int4", MANY, XILINX, XC7),
    ("e4m3_few", "e4m3", FEW, XILINX, XC7),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One unit: what yosys counts, and the estimate."""

    case: str
    unit: str
    lut: int
    dsp: int
    bram: float
    estimated_lut: float
    estimated_dsp: int
    estimated_bram: float


def network(name: str) -> Graph:
    """Return a network that has every kind of layer, with realistic numbers of channels and a small image."""
    fmt = find_format(name)
    net = Net((1, 8, 12, 12), fmt, 0 if fmt.is_minifloat else 1, seed=1)
    a = net.conv("x", 16, (3, 3), fmt, fmt, -1, (0.0, INF), pads=(1, 1, 1, 1))
    b = net.conv(a, 16, (3, 3), fmt, fmt, 1, groups=16, pads=(1, 1, 1, 1))
    c = net.conv(b, 16, (1, 1), fmt, fmt, 1, (0.0, INF))
    d = net.add(a, c, fmt, 1)
    e = net.pool(d, ops.MaxPool(kernel=(2, 2), strides=(2, 2)))
    net.gemm(net.mean(e, fmt, 1), 10, fmt, fmt)
    return net.graph()


def counted(core: Core, index: int, family: Family, work: Path) -> dict[str, int]:
    """Return the cells of one unit as yosys makes them, from `work` where it was counted before."""
    files = core.files()
    key = hashlib.sha256(json.dumps([files, index, family.command]).encode()).hexdigest()[:24]
    kept = work / f"{key}.json"
    if kept.exists():
        cells: dict[str, int] = json.loads(kept.read_text())
        return cells
    top = f"{core.name}_u{index}"
    with tempfile.TemporaryDirectory(prefix="edgemill-") as scratch:
        for name, text in files.items():
            (Path(scratch) / name).write_text(text)
        script = f"read_verilog {core.name}.v; {family.command} -top {top}; tee -o stat.txt stat"
        subprocess.run(["yosys", "-q", "-p", script], cwd=scratch, check=True, timeout=LIMIT_S, capture_output=True)
        cells = total(parse_text((Path(scratch) / "stat.txt").read_text()), top)
    kept.write_text(json.dumps(cells))
    return cells


def rows(case: str, name: str, folds: dict[str, Fold], device: Device, family: Family, work: Path) -> list[Row]:
    """Return the rows of one core."""
    core = build("c", lower(network(name)), folds, 8, device)
    found = []
    for index, unit in enumerate(core.plan.units):
        used, guess = usage(family, counted(core, index, family, work)), unit_resources(core.plan, unit, device)
        kind = type(unit.step).__name__.removesuffix("Step")
        found.append(
            Row(
                case, f"{unit.step.name} {kind}", used.lut, used.dsp, used.bram, round(guess.lut), guess.dsp, guess.bram
            )
        )
        print(found[-1], flush=True)
    return found


def table(found: list[Row]) -> str:
    """Return the rows as Markdown, and each core's sum."""
    lines = [
        "| core | unit | LUT | estimated | DSP | estimated | BRAM | estimated |",
        "|---|---|--:|--:|--:|--:|--:|--:|",
    ]
    for case in dict.fromkeys(row.case for row in found):
        own = [row for row in found if row.case == case]
        both = Row(case, "together", *(sum(getattr(row, key) for row in own) for key in list(asdict(own[0]))[2:]))
        lines += [
            f"| {row.case} | {row.unit} | {row.lut} | {row.estimated_lut:.0f} | {row.dsp} | {row.estimated_dsp} "
            f"| {row.bram:g} | {row.estimated_bram:g} |"
            for row in (*own, both)
        ]
    return "# Estimates that choose a folding, beside yosys\n\n" + "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("build/fpga_fold"), help="where counts are kept")
    parser.add_argument("--only", nargs="*", default=[], help="names of cores")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    cases = [case for case in CASES if not args.only or case[0] in args.only]
    found = [row for case in cases for row in rows(*case, args.work)]
    record = {"environment": environment(), "rows": [asdict(row) for row in found]}
    write_results("fpga_fold", record, table(found))


if __name__ == "__main__":
    main()
