"""The tables of `benchmarks.fpga_boards`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

HEAD = """# Whole networks on FPGA boards

Synthesised: what yosys and nextpnr say of the netlist; nothing ran on a board. Clocks are simulated, with 16 frames of
every network compared with the reference under random waits. Frames per second are the clock through the clocks of a
frame: the clock of static timing at the slow corner where open tools place the device, else the 100 MHz that the rate
was asked for, which a vendor's tool has yet to confirm.

"""
COLUMNS = (
    "network", "scheme", "board", "asked, frames/s", "exact", "latency, clocks", "clocks a frame", "clock, MHz",
    "frames/s", "LUT", "FF", "DSP", "BRAM", "bitstream, B",
)  # fmt: skip
ASSUMED_HZ = 100e6


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return one line for every network, and its layers below."""
    heads = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|\n"
    return HEAD + heads + "".join(map(_line, rows)) + "".join(map(_layers, rows)) + _versions(rows)


def _line(row: dict[str, Any]) -> str:
    circuit = row["circuit"]
    used, clock = circuit["placed"] or circuit["used"], circuit["clock_hz"]
    rate = (clock or ASSUMED_HZ) / row["interval_cycles"]
    exact = row["exact"] and row["cycles"] == row["cycles_stated"]
    cells = (
        row["network"], row["scheme"], row["board"], f"{row['rate']:,.0f}",
        f"{row['frames']} frames, {row['labels']} labels" if exact else "NO",
        f"{row['cycles']:,}", f"{row['interval_cycles']:,}",
        f"{clock / 1e6:.1f}" if clock else "(100, not timed)", f"{rate:,.0f}",
        *(f"{used[name]:,g}" for name in ("lut", "ff", "dsp", "bram")),
        f"{circuit['bitstream_bytes']:,}" if circuit["bitstream_bytes"] else "none",
    )  # fmt: skip
    return f"| {' | '.join(cells)} |\n"


def _layers(row: dict[str, Any]) -> str:
    head = (
        f"\n## {row['network']} {row['scheme']} on {row['board']} at {row['rate']:,.0f}/s, by layer\n\n"
        "Each synthesised on its own; a flat netlist shares across layers, so the sum can exceed the whole.\n\n"
        "| layer | LUT | FF | DSP | BRAM | clocks |\n|---|---|---|---|---|---|\n"
    )
    return head + "".join(_layer(layer, row["steps"]) for layer in row["circuit"]["layers"])


def _layer(layer: dict[str, Any], steps: dict[str, Any]) -> str:
    used, step = layer["usage"], steps.get(layer["name"], {})
    counts = " | ".join(f"{used[name]:,g}" for name in ("lut", "ff", "dsp", "bram"))
    clocks = f"{step['cycles']:,}" if isinstance(step.get("cycles"), int) else ""
    return f"| {step.get('step', layer['name'])} | {counts} | {clocks} |\n"


def _versions(rows: Sequence[dict[str, Any]]) -> str:
    found = {name: text for row in rows for name, text in row["versions"].items()}
    return "\nTools: " + "; ".join(f"{name}: {text}" for name, text in sorted(found.items())) + ".\n"
