"""The report of a search: one HTML file without links to anywhere."""

from __future__ import annotations

from pathlib import Path

from devices.report import units
from devices.report.paired import standard_error
from devices.report.sections import Plot, Section, sections_html
from devices.report.table import Column, Table, cells
from edge.splitting.plots import accuracy_drawings, break_even_drawing
from edge.splitting.record import SplitRecord
from edge.splitting.table import columns_of, filled, link_text, ordered, row, summary
from export.atomic import write_text

REPORT = "report.html"
#: Kinds of marks, as the legend names them.
MARKS = (("integers", "integer link"), ("minifloats", "minifloat link"), ("mixed", "whole network"))


def write_page(found: SplitRecord, path: Path) -> None:
    """Write the report to `path`, whole or not at all.

    Raises:
        DeviceError: jinja2 is not installed.
        ExportError: `path` cannot be written.
    """
    write_text(path, html(found))


def html(found: SplitRecord) -> str:
    """Return the page. Every word is escaped."""
    return sections_html(f"{found.whole}: where to cut", summary(found), _facts(found), _sections(found))


def _facts(found: SplitRecord) -> tuple[tuple[str, str], ...]:
    error = standard_error(max(one.accuracy for one in found.choices), found.images)
    sure = "" if error is None else f"; one standard error is about {100 * error:.1f} points"
    return (
        ("link", link_text(found)),
        ("device", found.device),
        ("server", found.server),
        ("whole network", found.whole),
        ("accuracy", f"{units.count(found.images)} test images of {found.data}, drawn by seed {found.seed}{sure}"),
        ("ranges of the link", f"{units.count(found.calibration)} training images"),
    )


def _sections(found: SplitRecord) -> tuple[Section, ...]:
    even, scatters = break_even_drawing(found), accuracy_drawings(found)
    lines = Plot(even.title, even.svg, tuple((f"s{i + 1}", name) for i, name in enumerate(even.names)))
    marks = tuple(
        Plot(item.title, item.svg, tuple(mark for mark in MARKS if mark[0] in item.names), "kinds") for item in scatters
    )
    made = (
        Section("Break-even", "The dashed line is the link's own rate.", (lines,)),
        Section("Accuracy against cost", "Large marks are on the front.", marks),
        Section(
            "Choices",
            f"Fastest first; * is on the front of {', '.join(found.objectives)}: no other choice is as good in all.",
            tables=(_table(found),),
        ),
        Section("What the figures are", items=tuple(("", note) for note in found.notes)),
    )
    return (*made, Section("Left out", items=found.left_out)) if found.left_out else made


def _table(found: SplitRecord) -> Table:
    heads, rows = filled(columns_of(found), [row(choice) for choice in ordered(found.choices)])
    texts = ("", "way", "cut", "link")
    columns = tuple(Column(head, number=head not in texts, wide=head == "cut") for head in heads)
    return Table("All choices", columns, tuple(cells(*line) for line in rows))
