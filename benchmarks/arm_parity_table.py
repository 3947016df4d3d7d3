"""What `arm_parity` found, as plain data and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.batch import Verdict


@dataclass(frozen=True, slots=True)
class Row:
    """All networks on one CPU; `not_executed` is the reason why none ran, or ""."""

    cpu: str
    not_executed: str
    compiler: str
    emulator: str
    verdicts: tuple[Verdict, ...]

    @property
    def wrong(self) -> tuple[Verdict, ...]:
        """Return the networks whose codes differ."""
        return tuple(verdict for verdict in self.verdicts if verdict.wrong)

    @property
    def codes(self) -> int:
        """Return how many codes were compared."""
        return sum(verdict.codes for verdict in self.verdicts)


def as_json(row: Row) -> dict[str, object]:
    """Return a row for the results file."""
    if row.not_executed:
        return {"cpu": row.cpu, "not_executed": row.not_executed}
    return {
        "cpu": row.cpu,
        "compiler": row.compiler,
        "emulator": row.emulator,
        "networks": len(row.verdicts),
        "codes_compared": row.codes,
        "mismatches": [{"network": one.recipe, "what": one.wrong} for one in row.wrong],
    }


def table(rows: Sequence[Row], real: Sequence[str], seeds: range) -> str:
    """Return the Markdown of a run: real networks by title, random ones by seed."""
    lines = [
        "# Generated C against the integer reference, bit for bit",
        "",
        f"{len(seeds)} random networks (seeds {seeds.start} to {seeds.stop - 1}, 5 inputs each) over all operators,",
        "formats, shapes, strides, dilations and paddings of target arm-m, and real ones (2 inputs, of two labels):",
        "",
        *(f"- {title}" for title in real),
        "",
        "Every tensor that the C makes is compared, and what the caller gets. Outputs vary and labels differ in each",
        "network. `host-sanitized` stops at undefined behaviour and at accesses outside of any array. Made by",
        "`python -m benchmarks.arm_parity`; emulators are QEMU's, and say nothing about time.",
        "",
        "| CPU | networks | codes compared | networks that differ | compiler | runs on |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_line(row) for row in rows]
    lines += [f"- {row.cpu}, {one.recipe}: {one.wrong}" for row in rows for one in row.wrong]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    if row.not_executed:
        return f"| {row.cpu} | not executed here: {row.not_executed} | | | | |"
    figures = f"{len(row.verdicts)} | {row.codes} | {len(row.wrong)}"
    return f"| {row.cpu} | {figures} | {row.compiler} | {row.emulator} |"
