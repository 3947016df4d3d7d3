"""The table of the ARM benchmark, with what others need beside it."""

from __future__ import annotations

from typing import Any

Row = dict[str, Any]

#: Instructions per MAC of the pointwise layer, counted by the same plugin in QEMU 7.2 with GCC 12.2 at -O2: a plain
#: loop in C, and CMSIS-NN (19.1.0 of 27 March 2026, `arm_convolve_wrapper_s8`).
PLAIN_LOOP = {"M3": 8.23, "M4": 7.26, "M7": 7.26, "M55": 6.42, "A72": 2.01, "A76": 2.01}
CMSIS_NN = {"M3": 3.71, "M4": 2.76, "M7": 2.72, "M55": 0.62}
#: What must hold, instructions per MAC.
LIMITS = {
    "pointwise": {"M3": 3.5, "M4": 2.5, "M7": 2.5, "M55": 0.60, "A72": 0.9, "A76": 0.30},
    "ResNet-8": {"M4": 2.6},
    "DS-CNN": {"M4": 3.2},
    "MobileNetV1-0.25-128 (Coral)": {"M4": 3.2},
}


def table(rows: list[Row], memory: list[Row]) -> str:
    """Return the Markdown of the results."""
    lines = [
        "# Generated C on emulated ARM cores",
        "",
        "Instructions of one inference, counted in QEMU between two markers, GCC -O2; every row gives the reference's",
        "codes on all its inputs. `plain` is the same file with the vector instructions hidden from the compiler.",
        "Counts are not time. `code` is the flash of the part without its constants; on cores with vector units it",
        "holds the other half of 4-bit weights, which lie there in whole bytes.",
        "",
        "| network | core | instructions | per MAC | limit | plain, per MAC | code, bytes | constants, bytes |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in rows]
    lines += [
        "",
        "## The pointwise layer beside others, instructions per MAC",
        "",
        "A plain loop and CMSIS-NN were counted by the same plugin, QEMU, compiler and flags on the same layer.",
        "",
        "| core | this project | CMSIS-NN | plain loop |",
        "|---|---|---|---|",
    ]
    for row in rows:
        if row["network"].startswith("pointwise"):
            core = row["core"]
            lines.append(f"| {core} | {row['per_mac']:.2f} | {CMSIS_NN.get(core, '-')} | {PLAIN_LOOP.get(core, '-')} |")
    lines += [
        "",
        "## Working memory, bytes",
        "",
        "`busiest` is alive at the busiest step: no plan of the same buffers can be smaller. TFLite-Micro's figures",
        "are its own record for the same network on a 64-bit machine; of `all`, bookkeeping is smaller on a board.",
        "",
        "| network | arena | busiest | TFLite-Micro, activations | TFLite-Micro, all |",
        "|---|---|---|---|---|",
    ]
    for row in memory:
        head = row.get("tflite_micro_activations", "-")
        whole = row["tflite_micro"] if isinstance(row["tflite_micro"], int) else "not run"
        lines.append(f"| {row['network']} | {row['arena_bytes']} | {row['busiest_bytes']} | {head} | {whole} |")
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    name, core = row["network"], row["core"]
    limits = LIMITS["pointwise"] if name.startswith("pointwise") else LIMITS.get(name, {})
    limit = limits.get(core)
    verdict = "-" if limit is None else f"{limit} ({'met' if row['per_mac'] <= limit else 'MISSED'})"
    plain = f"{row['plain'] / row['macs']:.2f}" if "plain" in row else "-"
    return (
        f"| {name} | {core} | {row['instructions']:,} | {row['per_mac']:.2f} | {verdict} | {plain} | "
        f"{row['code_bytes']:,} | {row['weight_bytes']:,} |"
    )
