"""What a search found, in a terminal."""

from __future__ import annotations

from devices.report import units
from devices.report.front import short_count
from devices.report.summary import Rows, text_table
from edge.searching import Choice, SearchResult
from quant.luts import CAVEATS

_COLUMNS = ("found by", "spent", "size", "bit operations", "LUTs per MAC", "divergence", "top-1", "points", "exact")
#: How a budget of each kind is written.
_TEXTS = {"bytes": lambda value: units.size(round(value)), "luts": units.significant, "bops": short_count}


def print_search(result: SearchResult) -> None:
    """Print all choices, how well the predictor ranks, and the schemes to use."""
    from rich.console import Console
    from rich.text import Text

    console, write = Console(), _TEXTS[result.kind]
    rows: Rows = [_row(result, choice) for choice in result.choices]
    console.print(text_table(f"At most {write(result.budget)} ({result.kind})", _COLUMNS, rows))
    tau = "no predictor (too few samples)" if result.tau is None else f"Kendall's tau of the predictor {result.tau:.2f}"
    console.print(
        Text(
            f"{result.measured} networks measured on calibration images, {tau} on networks it had not seen. "
            "Emulated in float; not exact: beyond the integer reference's accumulators."
        )
    )
    if result.kind == "luts":
        for caveat in CAVEATS:
            console.print(Text(f"LUTs: {caveat}", style="dim"))
    for choice in result.choices[:2]:
        console.print(Text(f"\n{choice.found_by}: {choice.scheme}"), soft_wrap=True)


def _row(result: SearchResult, choice: Choice) -> tuple[str, ...]:
    found, cost = choice.accuracy, choice.cost
    return (
        choice.scheme.partition(";")[0] if choice.found_by == "same for all" else choice.found_by,
        units.percent(choice.spent / result.budget, 1),
        units.size(cost.parameter_bytes),
        short_count(cost.bit_operations),
        units.significant(cost.luts_per_mac) + ("" if cost.luts_measured == 1.0 else " fitted"),
        f"{choice.divergence:.2g}",
        units.percent(found.quantised_accuracy),
        units.points(found.quantised_accuracy - found.float_accuracy),
        "yes" if choice.exact else "no",
    )
