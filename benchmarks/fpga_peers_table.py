"""The table of the comparison with FPGA peers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

HEAD = (
    "| tool | kind | LUT (no DSP) | FF | LUT + DSP + BRAM | clocks | clocks between frames | LUTs x clocks | "
    "codes off by one | labels equal | simulated by | wall to a simulated result | of it CPU |"
)


def table(record: Mapping[str, Any]) -> str:
    """Return the results as markdown."""
    pins = ", ".join(pin.replace("==", " ") for pin in record["pins"][:2])
    lines = [
        "# Beside hls4ml and da4ml",
        "",
        f"{pins}. Two networks trained on digits, w8a8 per tensor, scales of powers of two (all that the peers know). "
        "Every tool gets the same weights; output codes are compared with the integer reference on all test images.",
        "",
        "LUT: yosys 0.23, xcup, `-noiopad -noclkbuf -flatten -nowidelut -nodsp` for every tool, LUTRAM and inverters "
        "counted. LUT + DSP + BRAM: the same without `-nodsp`. *LUTs x clocks*: LUT (no DSP) times clocks between "
        "frames, what a frame costs. Wall times are of a shared machine with other work on it: trust CPU times.",
    ]
    for name, case in record["results"].items():
        lines += ["", f"## {name}: {case['inputs']} images, {case['accuracy']:.1%} right", "", HEAD]
        lines.append("|" + "---|" * (HEAD.count("|") - 1))
        lines += [_row(row) for row in sorted(case["rows"].values(), key=lambda row: row["tool"] != "edgemill")]
    return "\n".join([*lines, "", *NOTES, ""])


def _row(row: Mapping[str, Any]) -> str:
    if "failed" in row:
        return f"| {row['tool']} | {row['kind']} | failed: {row['failed']} " + "| " * 11 + "|"
    plain, dsps = row.get("luts only"), row.get("with dsps")
    none = "not without a vendor tool" if row["tool"] == "hls4ml" else "-"
    estimate = f"its own estimate {row['own_lut_estimate']:,.0f}" if "own_lut_estimate" in row else none
    lut = f"{plain['lut']:,}" if plain else estimate
    product = f"{plain['lut'] * row['interval_cycles']:,}" if plain else "-"
    cells = [
        row["tool"],
        row["kind"],
        lut,
        f"{plain['ff']:,}" if plain else "-",
        f"{dsps['lut']:,} + {dsps['dsp']} + {dsps['bram']:g}" if dsps else "-",
        f"{row['cycles']:,}" if "cycles" in row else "-",
        f"{row['interval_cycles']:,}" if "interval_cycles" in row else "-",
        product,
        "none" if not row["codes_off_max"] else f"{row['codes_off_share']:.2%}",
        f"{row['labels_equal']:.1%}",
        row.get("simulated_by", "Verilator"),
        f"{row.get('written_wall_s', 0) + row['simulated_wall_s']:.1f} s",
        f"{row.get('written_cpu_s', 0) + row['simulated_cpu_s']:.1f} s",
    ]
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


NOTES = (
    "- *exact* rounding of da4ml is ours to write: its users round sums once, halves up, unlike TFLite's rule.",
    "- hls4ml's project is written by `export.hls4ml`, whose biases make layers behind a Relu round as the reference",
    "  does; only the last one's codes can differ. Its wall time has the execution by qonnx in it.",
    "- Our cores hold weights in block memories where that pays, with or without DSP blocks; da4ml has only constants.",
    "  Without DSP blocks our 31-bit requantisation multipliers are look-up tables; da4ml shifts, as scales are powers",
    "  of two, and our cores would multiply by any scale.",
    "- da4ml has no folding: it takes a new frame every clock. Its conv net is synthesised with `--conv-synthesis`.",
)
