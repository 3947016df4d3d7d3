"""The rows and the table of `benchmarks/fpga_parity.py`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RealRow:
    """A real network in Verilator: clocks of the simulation, seconds, and what differs, or ""."""

    name: str
    scheme: str
    frames: int
    labels: int
    latency: int
    interval: int
    bottleneck: int
    export_s: float
    check_s: float
    cpu_s: float
    wrong: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomRow:
    """A random network in Verilator: clocks of the simulation, and what differs, or ""."""

    seed: int
    family: str
    units: int
    frames: int
    latency: int
    interval: int
    bottleneck: int
    wrong: str


def table(real: Sequence[RealRow], random: Sequence[RandomRow]) -> str:
    """Return both tables in Markdown."""
    lines = ["# Streaming FPGA cores in Verilator against the reference", ""]
    lines += [
        "Every code of every frame with random waits on both sides, and of the first four frames without. Clocks are "
        "simulated; exact means that the core stated the same numbers before. Wall seconds are of a shared machine of "
        "two cores with several times as many processes: export, and Verilator's build with the run with waits. "
        "Processor seconds are those of both.",
        "",
        "| network | scheme | frames (labels) | bit- and clock-exact | latency, clocks | clocks a frame | export s | "
        "build and check s | processor s |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.name} | {row.scheme} | {row.frames} ({row.labels}) | {row.wrong or 'yes'} | {row.latency:,} | "
        f"{row.interval:,} | {row.export_s} | {row.check_s} | {row.cpu_s} |"
        for row in real
    ]
    return "\n".join([*lines, "", *_random(random)]) + "\n"


def _random(rows: Sequence[RandomRow]) -> list[str]:
    if not rows:
        return []
    exact = [row for row in rows if not row.wrong]
    waiting = [row for row in rows if row.interval > row.bottleneck]
    frames, units = sum(row.frames for row in rows), sum(row.units for row in rows)
    lines = [
        f"{len(exact)} of {len(rows)} random networks (seeds {rows[0].seed} to {rows[-1].seed}, {units} units, "
        f"{frames} frames, random folds for three families) are bit- and clock-exact.",
        f"In {len(rows) - len(waiting)} of them the slowest unit or stream sets the clocks of a frame.",
    ]
    lines += [f"Seed {row.seed}: {row.wrong}" for row in rows if row.wrong]
    return lines + [
        f"Seed {row.seed} takes {row.interval:,} clocks a frame; its slowest place takes {row.bottleneck:,}."
        for row in waiting
    ]
