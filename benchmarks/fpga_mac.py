"""LUTs of one multiply-accumulate for every format, synthesised again, beside a reference generator's.

    python -m benchmarks.fpga_mac [--family xcup] [--lanes 1] [--style lut] [--processes 2]

Every synthesis is kept in `results/fpga_mac.csv` as soon as it is done and not repeated while the Verilog and the tool
are the same; the table follows from that file. `fpga_mac_reference.csv` holds, for the same ports, K = 512 products,
options and yosys 0.23, the best of three plain multiplier styles of an earlier generator (`*`, AND rows, a table).
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import re
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.results import FOLDER
from devices.tools import call, first_line
from export.rtl.lanes.lanes import Lanes
from export.rtl.lanes.mac import mac_bits, mac_latency, mac_verilog
from quant.formats import find_format

TERMS = 512
#: yosys commands by family, the lanes' family, and which cells are LUTs: every LUT, inverter and shift register on
#: xcup; on ecp5 LUT4 and the two in every CCU2C.
OPTIONS = {
    "xcup": ("synth_xilinx -family xcup -nodsp -noiopad -noclkbuf -flatten -nowidelut", "xc"),
    "ecp5": ("synth_ecp5 -nodsp -abc9 -nowidelut", "ecp5"),
}
COLUMNS = ("weight", "activation", "family", "lanes", "style", "luts", "flip_flops", "carries", "dsp", "acc_bits")
COLUMNS += ("latency", "tool", "seconds", "digest")
Row = dict[str, str]
REFERENCE = Path(__file__).parent / "fpga_mac_reference.csv"
#: Weight and activation formats: those of the reference, and others the cost model is fitted to.
PAIRS = (
    *((name, name) for name in ("int8", "int7", "int6", "int5", "int4", "int3", "int2")),
    *((name, name) for name in ("e5m2", "e4m3", "e3m4", "e2m5", "e4m2", "e3m3", "e2m4", "e3m2", "e2m3", "e3m1")),
    *((name, name) for name in ("e2m2", "e2m1", "e2m0", "e5m1", "e4m1", "e3m0", "e1m6", "e1m2")),
    *(("int4", "int8"), ("e4m3", "int8"), ("e3m2", "int8"), ("e2m1", "int8"), ("e2m1", "e4m3")),
)


def read(path: Path) -> list[Row]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def synthesise(weight: str, activation: str, family: str, lanes: int, style: str, done: list[Row], tool: str) -> Row:
    """Return the counts of one unit, from the file if it has been synthesised already."""
    options, structure = OPTIONS[family]
    if style == "dsp":
        options = options.replace(" -nodsp", "")
    made = Lanes(find_format(weight), find_format(activation), lanes, style, structure)
    text = mac_verilog(made, TERMS, "mac")
    digest = hashlib.sha256(f"{tool} {options}\n{text}".encode()).hexdigest()[:16]
    for row in done:
        if row["digest"] == digest:
            return row
    started = time.monotonic()
    cells = count_cells(text, options)
    if any(cell.startswith(("RAMB", "DP16")) for cell in cells):
        raise SystemExit(f"{weight} x {activation} became block memory on {family}: its LUTs would mean nothing.")
    luts = sum(count for cell, count in cells.items() if re.fullmatch(r"LUT\d|INV|SRL.*", cell))
    return {
        "weight": weight,
        "activation": activation,
        "family": family,
        "lanes": str(lanes),
        "style": style,
        "luts": str(luts + 2 * cells.get("CCU2C", 0)),
        "flip_flops": str(cells.get("FDRE", 0) + cells.get("TRELLIS_FF", 0)),
        "carries": str(cells.get("CARRY4", 0) + cells.get("CCU2C", 0)),
        "dsp": str(sum(count for cell, count in cells.items() if cell.startswith(("DSP48", "MULT18")))),
        "acc_bits": str(mac_bits(made, TERMS)),
        "latency": str(mac_latency(made)),
        "tool": tool,
        "seconds": f"{time.monotonic() - started:.1f}",
        "digest": digest,
    }


def count_cells(text: str, options: str) -> dict[str, int]:
    """Return how often each cell occurs after synthesis of the module `mac`."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "mac.v").write_text(text)
        script = f"read_verilog mac.v; {options} -top mac; tee -q -o mac.stat stat"
        call(("yosys", "-q", "-p", script), "synthesis", 900.0, folder)
        said = (folder / "mac.stat").read_text()
    return {cell: int(count) for cell, count in re.findall(r"^\s+([A-Z][A-Z0-9_]+)\s+(\d+)$", said, re.MULTILINE)}


def write(path: Path, rows: Iterable[Row]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    partial = path.with_suffix(".partial")
    partial.write_text(text.getvalue())
    partial.replace(path)


def table(rows: list[Row], reference: list[Row]) -> str:
    """Return the Markdown: every unit beside the reference's."""
    key = ("weight", "activation", "family", "lanes")
    others = {tuple(row[name] for name in key): row for row in reference}
    lines = [
        "# Look-up tables of a multiply-accumulate unit",
        "",
        f"Sums of {TERMS} products, exact; {rows[0]['tool']}. Style `lut` has no DSP blocks; nor has the reference.",
        "LUTs are LUT cells, inverters and",
        "shift registers (xcup), or LUT4 and two for every CCU2C (ecp5), of all lanes together. `ref.` is the",
        "best of three plain multiplier styles with the same ports and options. yosys packs no two functions into one",
        "table, so these are not a vendor tool's counts: use ratios. Clocks are those of the whole unit; the",
        "reference has 3.",
        "",
        "| weight x activation | family | lanes | style | DSP | LUTs | ref. | ratio | FF | ref. | acc bits | clocks |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        other = others.get(tuple(row[name] for name in key)) if row["style"] == "lut" else None
        luts, flops, ratio = (
            (other["luts"], other["flip_flops"], f"{int(row['luts']) / int(other['luts']):.2f}")
            if other
            else ("-",) * 3
        )
        cells = [f"{row['weight']} x {row['activation']}", *(row[name] for name in ("family", "lanes", "style", "dsp"))]
        cells += [row["luts"], luts, ratio, row["flip_flops"], flops, row["acc_bits"], row["latency"]]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--family", choices=tuple(OPTIONS), action="append")
    parser.add_argument("--lanes", type=int, action="append")
    parser.add_argument("--style", choices=("lut", "dsp"), action="append")
    parser.add_argument("--processes", type=int, default=2, choices=(1, 2))
    given = parser.parse_args()
    path, tool = FOLDER / "fpga_mac.csv", " ".join(first_line(("yosys", "-V")).split()[:2])
    done = read(path)
    wanted = [
        (weight, activation, family, lanes, style)
        for style in given.style or ("lut", "dsp")
        for lanes in given.lanes or (1, 8)
        for family in given.family or tuple(OPTIONS)
        for weight, activation in PAIRS
    ]
    rows = {tuple(row[name] for name in COLUMNS[:5]): row for row in done}
    with ThreadPoolExecutor(given.processes) as pool:
        for row in pool.map(lambda key: synthesise(*key, done, tool), wanted):
            rows[tuple(row[name] for name in COLUMNS[:5])] = row
            write(path, rows.values())
            print(
                row["weight"],
                row["activation"],
                row["family"],
                row["lanes"],
                row["style"],
                row["luts"],
                row["dsp"],
                flush=True,
            )
    (FOLDER / "fpga_mac.md").write_text(table(list(rows.values()), read(REFERENCE)))


if __name__ == "__main__":
    main()
