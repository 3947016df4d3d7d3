"""The report: one HTML file without links to anywhere, for the screen and for paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.board import MEMORIES
from devices.errors import DeviceError
from devices.report import tables_device, tables_energy, tables_model, tables_parity, units
from devices.report.front import Front, best_of, draw, fronts, short_count
from devices.report.joined import Entry, cost, entries, with_metric
from devices.report.over_time import lacking, time_plots
from devices.report.plots import LatencyPlot, latency_plots
from devices.report.power import power_plots
from devices.report.roofline import Roofline, rooflines, share
from devices.report.roofline import draw as draw_roofline
from devices.report.table import Table
from devices.report.tables_circuit import entry_tables
from devices.report.tables_steps import step_tables
from devices.report.verdict import Best, best, headline, tally
from devices.run_record import RunRecord
from export.atomic import write_text
from quant.luts import CAVEATS

_FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class FrontView:
    """A front with its drawing and the list that explains its numbers."""

    title: str
    drawing: str
    points: tuple[tuple[str, str, str, bool], ...]


@dataclass(frozen=True, slots=True)
class LatencyView:
    """Latencies of one method: their table and drawings, and the time of layers where a board gives it."""

    method: str
    table: Table
    plots: tuple[LatencyPlot, ...]
    layers: tuple[Table, ...]


def write_report(run: RunRecord, path: Path) -> None:
    """Write the report of a run to `path`, whole or not at all.

    Raises:
        DeviceError: jinja2 is not installed.
        ExportError: `path` cannot be written.
    """
    write_text(path, html(run))


def html(run: RunRecord) -> str:
    """Return the page. Every word of the run is escaped.

    Raises:
        DeviceError: jinja2 is not installed.
    """
    return render("template.html", _content(run))


def render(template: str, content: Mapping[str, object]) -> str:
    """Fill a template of this folder; every word of the content is escaped.

    Raises:
        DeviceError: jinja2 is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise DeviceError("the report needs jinja2: pip install 'edgemill[report]'") from error
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = (_FOLDER / "style.css").read_text()
    return environment.get_template(template).render(style=style, **content)


def _content(run: RunRecord) -> dict[str, object]:
    found, counted = entries(run), tally(run)
    return {
        "run": run,
        "facts": _facts(run),
        "tally": counted,
        "headline": headline(counted),
        "best": _best_text(best(run)),
        "fronts": tuple(_front_view(front) for front in fronts(run)),
        "caveats": CAVEATS if sum(record.cost is not None for record in run.schemes) >= 2 else (),
        "accuracy": tables_model.accuracy_table(run),
        "parity": tables_parity.parity_table(run),
        "refused": tables_parity.refusal_table(run),
        "sizes": _filled(
            tables_model.weights_table(run), tables_model.bundles_table(run), tables_model.memory_table(run)
        ),
        "latencies": _latencies(found),
        "courses": time_plots(found),
        "no_courses": lacking(found),
        "rooflines": tuple(_roofline_view(roofline) for roofline in rooflines(run)),
        "doubts": tables_device.doubt_rows(found),
        "counts": _counts(run, found),
        "circuits": entry_tables(found),
        "energy": tables_energy.energy_tables(found),
        "choices": tables_energy.choice_table(run),
        "power": power_plots(found),
        "energy_notes": tables_energy.note_rows(found),
        "no_energy": tables_device.absent_table(found, ("energy",)),
        "absent": tables_device.absent_table(found, ("latency", "instructions", "cycles", *MEMORIES)),
        "machines": tables_device.machines(found),
        "conditions": tables_device.condition_table(found),
    }


def _facts(run: RunRecord) -> tuple[tuple[str, str], ...]:
    images = f"{units.count(run.train_images)} training and {units.count(run.test_images)} test images"
    return (
        ("model", f"{run.model}: {units.count(run.parameters)} parameters, {units.count(run.macs)} MACs per inference"),
        ("data", f"{run.data}: {images}, {len(run.labels)} labels ({_label_list(run.labels)})"),
        ("cut", f"head and tail, cut after {run.cut}" if run.cut else "not divided"),
        ("schemes", ", ".join(record.scheme for record in run.schemes) or "none"),
        ("finished", f"{run.finished_at}, edgemill {run.version}"),
    )


def _label_list(labels: Sequence[str], most: int = 12) -> str:
    shown = ", ".join(labels[:most])
    return shown if len(labels) <= most else f"{shown}, and {len(labels) - most} more"


def _best_text(found: Best | None) -> str:
    if found is None:
        return "No scheme has an executed check that agrees, so no point is recommended."
    record = found.record
    accuracy = units.percent(record.accuracy.quantised_accuracy)
    text = f"{record.scheme}: {accuracy} top-1, {units.size(record.weight_bytes)} of weights"
    if found.fastest is None:
        return f"{text}; latency not measured"
    board = found.fastest.measurement.board
    return f"{text}, {units.seconds(cost(found.fastest, 'latency'))} median on {board} (measured)"


def _front_view(front: Front) -> FrontView:
    points = tuple(
        (point.name, front.text(point.cost), units.percent(point.accuracy), flag)
        for point, flag in zip(front.points, best_of(front.points), strict=True)
    )
    return FrontView(front.title, draw(front), points)


def _roofline_view(roofline: Roofline) -> FrontView:
    points = tuple(
        (
            spot.name,
            f"{short_count(spot.macs_per_s)}MAC/s",
            units.percent(share(spot, roofline.ceiling), 1),
            False,
        )
        for spot in roofline.spots
    )
    return FrontView(roofline.title, draw_roofline(roofline), points)


def _latencies(found: Sequence[Entry]) -> tuple[LatencyView, ...]:
    return tuple(
        LatencyView(
            method,
            tables_device.latency_table(method, group),
            latency_plots(method, group),
            step_tables("latency", group),
        )
        for method, group in with_metric(found, "latency")
    )


def _counts(run: RunRecord, found: Sequence[Entry]) -> tuple[tuple[str, tuple[Table, ...]], ...]:
    return tuple((metric, _count_tables(metric, run, found)) for metric in ("instructions", "cycles"))


def _count_tables(metric: str, run: RunRecord, found: Sequence[Entry]) -> tuple[Table, ...]:
    groups = with_metric(found, metric)
    whole = tuple(tables_device.count_table(metric, method, group, run.macs) for method, group in groups)
    return whole + tuple(table for _, group in groups for table in step_tables(metric, group))


def _filled(*tables: Table) -> tuple[Table, ...]:
    return tuple(table for table in tables if table.rows)
