"""The plot of `benchmarks.minifloat_fpga`: accuracy against synthesised look-up tables, the front as steps."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.minifloat_cases import Net
from benchmarks.minifloat_table import COSTS, Row, front
from devices.report.paired import standard_error
from export.atomic import write_text

#: Colour and marker by kind of formats.
LOOKS = {"integers": ("#1f6fb4", "o"), "minifloats": ("#d1662a", "s"), "mixed": ("#777777", "^")}
#: Accuracies below this share of float stand on the lower edge, with their value.
LOWEST = 0.92


def draw(found: Sequence[tuple[Net, Sequence[Row]]], path: Path) -> None:
    """Draw a row of panels for every network, a column for every cost; needs matplotlib."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "edgemill", "font.size": 8, "path.simplify": True})
    from matplotlib import pyplot

    found = [(net, made) for net, made in found if any(row.circuit for row in made)]
    if not found:
        return
    size = (4.6 * len(COSTS), 3.8 * len(found))
    figure, axes = pyplot.subplots(len(found), len(COSTS), figsize=size, squeeze=False, layout="constrained")
    for (net, made), panels in zip(found, axes, strict=True):
        for (title, cost), panel in zip(COSTS, panels, strict=True):
            _panel(panel, net.title, title, cost, [row for row in made if row.circuit])
    axes[0][0].legend(loc="lower right", frameon=False)
    text = io.StringIO()
    figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    pyplot.close(figure)
    write_text(path, "\n".join(line.rstrip() for line in text.getvalue().splitlines()) + "\n")


def _panel(panel: Any, net: str, title: str, cost: Callable[[Row], float], made: Sequence[Row]) -> None:
    floor = 100 * LOWEST * made[0].accuracy["float_accuracy"]
    for kind, (colour, marker) in LOOKS.items():
        chosen = [row for row in made if row.kind == kind]
        if not chosen:
            continue
        heights = [max(100 * row.share, floor) for row in chosen]
        shown = [height == 100 * row.share for row, height in zip(chosen, heights, strict=True)]
        spread = [100 * (standard_error(row.share, row.accuracy["images"]) or 0.0) for row in chosen]
        errors = [error if inside else 0.0 for error, inside in zip(spread, shown, strict=True)]
        panel.errorbar(
            [cost(row) for row in chosen], heights, errors, fmt=marker, color=colour, ms=4, elinewidth=0.6, label=kind
        )
        for row, height in zip(chosen, heights, strict=True):
            text = row.name if height == 100 * row.share else f"{row.name}, {100 * row.share:.0f} %"
            panel.annotate(text, (cost(row), height), (1, 4), textcoords="offset points", fontsize=6, rotation=60)
    best = [row for row in front(made, cost) if 100 * row.share >= floor]
    panel.step([cost(row) for row in best], [100 * row.share for row in best], where="post", color="#999999", lw=0.8)
    panel.axhline(100 * made[0].accuracy["float_accuracy"], color="#999999", lw=0.8, ls="--")
    panel.margins(x=0.08, y=0.12)
    panel.set(title=net, xlabel=f"{title} (yosys, UltraScale+)", ylabel="top-1, %")
