"""The report of a sweep: one HTML file without links to anywhere, and its end in a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devices.report import units
from devices.report.cloud import KINDS, Cloud, draw, front_of
from devices.report.page import render
from devices.report.paired import standard_error
from devices.report.summary import Rows, text_table
from devices.report.sweep_fronts import bits_matrix, clouds, matrix, refusals, variants
from devices.sweep_record import SweepCell, SweepRecord, measured
from export.atomic import write_text
from quant.formats import find_format
from quant.luts import CAVEATS, find_family, mac_luts

REPORT = "report.html"
#: Sweeps of at most so many cells are printed whole.
FEW = 40


@dataclass(frozen=True, slots=True)
class CloudView:
    """A drawing and the list that explains its numbers."""

    title: str
    drawing: str
    points: tuple[tuple[str, str, str], ...]


def write_sweep_report(sweep: SweepRecord, path: Path) -> None:
    """Write the report of a sweep to `path`, whole or not at all.

    Raises:
        DeviceError: jinja2 is not installed.
        ExportError: `path` cannot be written.
    """
    write_text(path, sweep_html(sweep))


def sweep_html(sweep: SweepRecord) -> str:
    """Return the page. Every word of the sweep is escaped.

    Raises:
        DeviceError: jinja2 is not installed.
    """
    known = measured(sweep.cells)
    error = standard_error(sweep.float_accuracy, sweep.test_images)
    pairs = {(find_format(cell.weight), find_format(cell.activation)) for cell in sweep.cells}
    family = find_family(sweep.family)
    return render(
        "sweep.html",
        {
            "sweep": sweep,
            "facts": _facts(sweep),
            "kinds": KINDS,
            "error": "?" if error is None else f"{100 * error:.1f}",
            "clouds": tuple(_view(cloud) for cloud in clouds(sweep)),
            "caveats": CAVEATS,
            "luts_measured": sum(mac_luts(*pair, family).method == "measured" for pair in pairs),
            "pairs": len(pairs),
            "bits": bits_matrix(sweep) if known else None,
            "matrices": tuple(matrix(sweep, variant) for variant in variants(sweep)),
            "refusals": refusals(sweep),
        },
    )


def _facts(sweep: SweepRecord) -> tuple[tuple[str, str], ...]:
    inexact = sum(not cell.exact for cell in sweep.cells)
    images = f"{units.count(sweep.calibration_images)} images calibrate, {units.count(sweep.test_images)} test"
    return (
        ("model", f"{units.count(sweep.parameters)} parameters, {units.count(sweep.macs)} MACs per inference"),
        ("data", f"{sweep.data}: {images} (calibration drawn by seed {sweep.seed})"),
        ("float", f"{units.percent(sweep.float_accuracy)} top-1 on the same test images"),
        (
            "cells",
            f"{len(sweep.cells)}, of which {inexact} fit no accumulator of the integer reference (emulation only)",
        ),
    )


def _view(cloud: Cloud) -> CloudView:
    points = tuple((point.name, cloud.text(point.cost), units.percent(point.accuracy)) for point in front_of(cloud))
    return CloudView(f"{cloud.title}: {cloud.axis}", draw(cloud), points)


def print_sweep(sweep: SweepRecord) -> None:
    """Print every cell of a small sweep, the fronts of any, and what the LUT figures leave out."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    if len(sweep.cells) <= FEW:
        console.print(text_table("Cells", _COLUMNS, [_row(cell) for cell in sweep.cells]))
    for cloud in clouds(sweep):
        rows: Rows = [
            (
                point.name,
                cloud.text(point.cost),
                units.percent(point.accuracy),
                units.points(point.accuracy - cloud.baseline),
            )
            for point in front_of(cloud)
        ]
        columns = ("scheme", cloud.axis, "top-1", "points")
        console.print(text_table(f"Front: {cloud.title}", columns, rows))
    for caveat in CAVEATS:
        console.print(Text(f"LUTs: {caveat}", style="dim"))
    refused = len(refusals(sweep))
    console.print(
        Text(
            f"{len(sweep.cells)} cells, {refused} refused; float {units.percent(sweep.float_accuracy)} on the same "
            f"{sweep.test_images} test images. Emulated in float, not by the integer reference."
        )
    )


_COLUMNS = ("scheme", "passes", "top-1", "points", "size", "LUTs per MAC", "exact")


def _row(cell: SweepCell) -> tuple[str, ...]:
    luts = units.significant(cell.cost.luts_per_mac) + ("" if cell.cost.luts_measured == 1.0 else " fitted")
    size = units.size(cell.cost.parameter_bytes)
    exact = "yes" if cell.exact else "no"
    if cell.accuracy is None:
        return cell.scheme, cell.method, units.DASH, cell.refused or "", size, luts, exact
    value = cell.accuracy.quantised_accuracy
    change = units.points(value - cell.accuracy.float_accuracy)
    return cell.scheme, cell.method, units.percent(value), change, size, luts, exact
