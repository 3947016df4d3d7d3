"""The report of a bundle with rules: one HTML file without links to anywhere, drawn from `dynamic.json`."""

from __future__ import annotations

from pathlib import Path

from devices.dynamic_record import DynamicRecord, Sweep
from devices.report import tables_dynamic, units
from devices.report.curves import Axis, Chart, ChartView, Curve, Spot, percent_axis, view
from devices.report.front import short_count
from devices.report.page import render
from export.atomic import write_text

TOGETHER = "all rules, each letting the same share leave"


def write_dynamic_report(found: DynamicRecord, path: Path) -> None:
    """Write the report to `path`, whole or not at all.

    Raises:
        DeviceError: jinja2 is not installed.
        ExportError: `path` cannot be written.
    """
    write_text(path, dynamic_html(found))


def dynamic_html(found: DynamicRecord) -> str:
    """Return the page. Every word of the record is escaped.

    Raises:
        DeviceError: jinja2 is not installed.
    """
    return render(
        "dynamic.html",
        {
            "found": found,
            "facts": _facts(found),
            "headline": headline(found),
            "parts": tables_dynamic.parts_table(found),
            "charts": charts(found),
            "beside": tables_dynamic.beside_table(found),
            "verdict": equal_macs(found),
            "costs": tables_dynamic.costs_table(found) if found.costs else None,
            "stops": tuple(tables_dynamic.stops_table(costs) for costs in found.costs if costs.stops),
            "memory": tables_dynamic.memory_table(found),
        },
    )


def _facts(found: DynamicRecord) -> tuple[tuple[str, str], ...]:
    return (
        ("bundle", f"{found.name} for {found.target}, {found.bundle[:12]}"),
        ("data", f"{found.data}: {units.count(found.images)} test images"),
        ("decided by", found.executed_by),
        ("finished", f"{found.finished_at}, edgemill {found.version}"),
    )


def headline(found: DynamicRecord) -> str:
    """Say in one line what the rules do."""
    share = units.percent(found.macs / found.every_macs, 1) if found.every_macs else units.DASH
    text = f"{units.percent(found.accuracy)} top-1 with {short_count(found.macs)}MACs an image, {share} of all parts'"
    return f"{text}; {units.percent(found.dropped, 1)} of the images dropped" if found.dropped else text


def charts(found: DynamicRecord) -> tuple[ChartView, ...]:
    """Return accuracy over mean MACs, and accuracy over the threshold of every rule."""
    return (_over_macs(found), *(_over_threshold(sweep) for sweep in found.sweeps if sweep.part))


def _over_macs(found: DynamicRecord) -> ChartView:
    sweeps = [sweep for sweep in found.sweeps if not sweep.part] or list(found.sweeps[:1])
    curves = tuple(Curve(_name(sweep), _by_macs(sweep)) for sweep in sweeps)
    alone = tuple(
        Spot(f"up to {part.name}, alone", float(part.path_macs), part.alone)
        for part in found.parts
        if part.alone is not None
    )
    singles = tuple(Spot(single.name, float(single.macs), single.accuracy) for single in found.singles)
    spots = (Spot("this bundle", found.macs, found.accuracy), *alone, *singles)
    x = Axis("MACs an image, mean", lambda value: units.short(short_count(value)))
    return view(Chart("Accuracy over MACs", x, percent_axis("top-1"), curves, spots))


def _name(sweep: Sweep) -> str:
    return f"threshold of {sweep.part}" if sweep.part else TOGETHER


def _by_macs(sweep: Sweep) -> tuple[tuple[float, float], ...]:
    return tuple(sorted((point.macs, point.accuracy) for point in sweep.points))


def _over_threshold(sweep: Sweep) -> ChartView:
    curve = Curve(f"threshold of {sweep.part}, other rules as they are", _by_threshold(sweep))
    x = Axis(f"threshold of {sweep.part}", lambda value: f"{value:g}")
    return view(Chart(f"Accuracy over the threshold of {sweep.part}", x, percent_axis("top-1"), (curve,)))


def _by_threshold(sweep: Sweep) -> tuple[tuple[float, float], ...]:
    return tuple(sorted((point.setting, point.accuracy) for point in sweep.points))


def equal_macs(found: DynamicRecord) -> str:
    """Say how this bundle compares with the network beside it whose MACs are nearest to its own; who is ahead."""
    if not found.singles or not found.macs:
        return "No network of equal MACs was put beside it (edgemill dynamic --beside MODEL)."
    near = min(found.singles, key=lambda single: abs(single.macs / found.macs - 1))
    change = found.accuracy - near.accuracy
    ahead = "this bundle is ahead" if change > 0 else "that one is ahead" if change < 0 else "both are alike"
    return (
        f"{near.name} has {units.percent(near.macs / found.macs, 1)} of its mean MACs and "
        f"{units.percent(near.accuracy)} top-1: {ahead} by {100 * abs(change):.2f} points."
    )
