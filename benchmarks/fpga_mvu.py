"""A matrix-vector unit of 64 inputs and 32 outputs on ECP5: LUTs by part, DSP blocks, and the clock by placement seed.

    python -m benchmarks.fpga_mvu [--seeds 6]      results to results/fpga_mvu.{json,md}

Four outputs of four products each at once, int8 x int8, products in DSP blocks, weights of random codes. The unit is
synthesised by yosys and placed by nextpnr alone, as `REFERENCE` was: an earlier generator's unit with the same folding,
AXI-Stream without frame errors, one multiplier for the layer, no bias, no zero points and halves rounded upwards. Its
figures are of one placement seed. Each case is also simulated (Verilator, with and without waits) against the integer
reference before it is synthesised.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.fpga_batch import Case, simulate, wrong
from benchmarks.results import environment, write_results
from devices.boards_fpga import FPGAS
from devices.circuit import Usage
from devices.synthesis.family import ECP5, usage
from devices.synthesis.flow import versions
from devices.synthesis.netlist import Design, flat, layers, look
from devices.synthesis.place import Report, place
from export.rtl.stream.build import Core
from export.rtl.stream.device import LATTICE_ECP5
from export.rtl.stream.folds import Fold
from quant import operators as ops
from quant.formats import INT8, Array
from quant.graph import Graph, Node, Quant, Tensor, check

INPUTS, OUTPUTS, FOLD = 64, 32, Fold(4, 4, "dsp")
FRAMES = 24
#: LUTs (TRELLIS_COMB), flip-flops, block memories, DSP blocks and MHz of the reference.
REFERENCE = (916, 930, 4, 24, 90.6)
#: The device the reference was placed on.
FPGA = replace(
    next(one for one in FPGAS if one.name == "ulx3s-25k"),
    name="LFE5U-25F",
    package="CABGA256",
    speed="6",
    target_hz=150e6,
)


@dataclass(frozen=True, slots=True)
class Content:
    """What a case holds: whether each channel has its own multiplier, a bias, and tensors zero points; its module."""

    name: str
    by_channel: bool
    bias: bool
    zeros: tuple[int, int]
    top: str = "c0_u0"


CASES = (
    Content("unit, what the reference holds: one multiplier, no bias, no zero points", False, False, (0, 0)),
    Content("unit, whole rule: multiplier and bias by channel, zero points", True, True, (-3, 3)),
    Content("whole core: that unit between AXI-Streams with tlast and damaged frames", True, True, (-3, 3), "c0"),
)


@dataclass(frozen=True, slots=True)
class Result:
    """One case: what was simulated, the netlist's parts, and what every seed reached."""

    name: str
    exact: str
    interval: int
    latency: int
    parts: tuple[tuple[str, Usage], ...]
    netlist: Usage
    reports: tuple[Report, ...]


def network(content: Content) -> Graph:
    """Return one fully connected layer of random weights."""
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.001, 0.01, OUTPUTS) if content.by_channel else [0.005]
    codes = rng.integers(-127, 128, (OUTPUTS, INPUTS))
    bias = rng.integers(-5000, 5000, OUTPUTS) if content.bias else np.zeros(OUTPUTS)
    tensors = {
        "x": Tensor((1, INPUTS), Quant(INT8, (_f32(0.02),), content.zeros[0])),
        "y": Tensor((1, OUTPUTS), Quant(INT8, (_f32(0.1),), content.zeros[1])),
        "w": Tensor((OUTPUTS, INPUTS), Quant(INT8, tuple(map(_f32, scales)), 0, 0 if content.by_channel else None)),
        "b": Tensor((OUTPUTS,)),
    }
    weights: dict[str, Array] = {"w": codes.astype(np.int8), "b": bias.astype(np.int32)}
    return check(Graph("mvu", "x", "y", (Node("fc", ops.Gemm(), ("x", "w", "b"), "y"),), tensors, weights))


def _f32(value: float) -> float:
    return float(np.float32(value))


def simulated(content: Content, folder: Path) -> tuple[Core, str]:
    """Simulate the core and leave its files in the folder; return it and how many codes were exact."""
    codes = np.random.default_rng(1).integers(-128, 128, (FRAMES, INPUTS)).astype(np.int8)
    case = Case(network(content), codes, {"fc": FOLD}, FOLD.simd, LATTICE_ECP5)
    (made,) = simulate([case], folder, fast=False)
    found = wrong(made)
    if found:
        raise SystemExit(f"{content.name}: {found}")
    seen = made.codes["plain"]
    return made.core, f"{seen.size} codes of {len(seen)} frames, {len(np.unique(seen))} different ones"


def measure(content: Content, seeds: int) -> Result:
    """Simulate, synthesise and place one case."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        core, exact = simulated(content, folder)
        design = Design(folder, (f"{core.name}.v",), content.top)
        parts = _parts(design)
        made = flat(design, ECP5, write=True)
        reports = tuple(place(design, ECP5, FPGA, made.file, seed) for seed in range(1, seeds + 1))
    clocks = core.schedule
    return Result(content.name, exact, clocks.interval, clocks.latency, parts, usage(ECP5, made.cells), reports)


def _parts(design: Design) -> tuple[tuple[str, Usage], ...]:
    """Return what each instance in the module takes, synthesised with its borders kept; equal ones together."""
    found, _ = layers(design, ECP5, look(design), 0)
    sums: dict[str, Usage] = {}
    for layer in found:
        name = layer.name.partition("[")[0]
        sums[name] = _sum(sums[name], layer.usage) if name in sums else layer.usage
    return tuple(sorted(sums.items()))


def _sum(one: Usage, other: Usage) -> Usage:
    return Usage(one.lut + other.lut, one.ff + other.ff, one.bram + other.bram, one.dsp + other.dsp)


#: What the instances of a unit are.
MEANINGS = {
    "window": "line buffer of two vectors, walk",
    "rom": "weights",
    "lanes": "16 products, sums of four",
    "(top)": "accumulators, register of a finished group",
    "flags": "first and last term, delayed",
    "valid": "valid bits, delayed",
    "finish": "requantisation with its constants",
    "fifo": "output FIFO with credits",
    "source": "AXI-Stream in: damaged frames",
    "sink": "AXI-Stream out: tlast, tuser",
    "unit0": "the unit",
}


def table(results: list[Result], tools: dict[str, str]) -> str:
    """Return the Markdown."""
    lut, ff, bram, dsp, clock = REFERENCE
    lines = [
        "# A matrix-vector unit on ECP5",
        "",
        f"{INPUTS} inputs, {OUTPUTS} outputs, int8 x int8, {FOLD.pe} outputs of {FOLD.simd} products at once, all",
        f"in DSP blocks. {', '.join(f'{name} {said}' for name, said in sorted(tools.items()))}; {FPGA.name},",
        f"{FPGA.package}, speed grade {FPGA.speed}, asked for {FPGA.target_hz / 1e6:g} MHz. LUT, FF, BRAM and DSP are",
        "what nextpnr placed (TRELLIS_COMB, TRELLIS_FF, DP16KD, MULT18X18D). The reference is an earlier generator's",
        "unit, placed with one seed: AXI-Stream with tlast, a vector's buffer, one 16-bit multiplier for the layer,",
        "no bias, no zero points, halves rounded upwards, no FIFO. Ours rounds as the integer reference does.",
        "",
        "| | LUT | FF | BRAM | DSP | MHz by seed | lowest | clocks a vector | latency |",
        "|---|---|---|---|---|---|---|---|---|",
        f"| reference | {lut} | {ff} | {bram} | {dsp} | {clock} | {clock} | 128 | 9 + 128 |",
        *map(_row, results),
        "",
        "Simulated before that, with the gates and with random waits, all codes exact:",
        *(f"- {one.name}: {one.exact}." for one in results),
    ]
    for one in results:
        lines += ["", f"## Parts: {one.name}", "", *_part_rows(one)]
    return "\n".join(lines) + "\n"


def _row(one: Result) -> str:
    placed, clocks = one.reports[0].placed, [f"{report.clock_hz / 1e6:.1f}" for report in one.reports]
    lowest = min(report.clock_hz for report in one.reports) / 1e6
    cells = (one.name, placed.lut, placed.ff, f"{placed.bram:g}", placed.dsp, " ".join(clocks), f"{lowest:.1f}")
    return f"| {' | '.join(map(str, (*cells, one.interval, one.latency)))} |"


def _part_rows(one: Result) -> list[str]:
    """Return the table of parts; what placement adds are the ends of carry chains, two cells each."""
    rows: list[tuple[object, ...]] = [("part", "LUT", "FF", "BRAM", "DSP"), ("---",) * 5]
    rows += [(f"{name}: {MEANINGS[name]}" if name in MEANINGS else name, *_cells(used)) for name, used in one.parts]
    placed = one.reports[0].placed
    rows += [
        ("all parts as one netlist", *_cells(one.netlist)),
        ("placed, with the ends of carry chains", *_cells(placed)),
    ]
    return [f"| {' | '.join(map(str, row))} |" for row in rows]


def _cells(used: Usage) -> tuple[object, ...]:
    return used.lut, used.ff, f"{used.bram:g}", used.dsp


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=6)
    seeds = parser.parse_args().seeds
    results = []
    for content in CASES:
        results.append(measure(content, seeds))
        print(_row(results[-1]), flush=True)
    tools = versions(ECP5)
    record = {"environment": environment(), "tools": tools, "results": [asdict(one) for one in results]}
    write_results("fpga_mvu", record, table(results, tools))


if __name__ == "__main__":
    main()
