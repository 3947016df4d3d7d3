"""A page of sections: a headline, facts, and sections with a note, drawings, tables and a list each."""

from __future__ import annotations

from dataclasses import dataclass

from devices.report.page import render
from devices.report.table import Table


@dataclass(frozen=True, slots=True)
class Plot:
    """A drawing (SVG made by this project, escaped already) and its legend: pairs of style and name.

    `legend` is `kinds` where the names are of marks and not of lines.
    """

    title: str
    drawing: str
    names: tuple[tuple[str, str], ...] = ()
    legend: str = ""


@dataclass(frozen=True, slots=True)
class Section:
    """A title and what stands below it, in this order; `items` are pairs of a name, perhaps empty, and a text."""

    title: str
    note: str = ""
    plots: tuple[Plot, ...] = ()
    tables: tuple[Table, ...] = ()
    items: tuple[tuple[str, str], ...] = ()


def sections_html(title: str, headline: str, facts: tuple[tuple[str, str], ...], sections: tuple[Section, ...]) -> str:
    """Return the page. Every word is escaped.

    Raises:
        DeviceError: jinja2 is not installed.
    """
    return render("sections.html", {"title": title, "headline": headline, "facts": facts, "sections": sections})
