"""Tables of what each step of a network costs, beside its multiply-accumulates."""

from __future__ import annotations

from collections.abc import Sequence

from devices.measurement import Step
from devices.report import svg, units
from devices.report.joined import Entry
from devices.report.table import Cell, Column, Table, cells, number_columns

CAPTIONS = {
    "instructions": "Instructions by step of {label}, {method}: share of the sum, and per MAC",
    "cycles": "Cycles by step of {label}, {method}: share of the sum, and per MAC",
    "latency": "Time by layer of {label}, {method}: share of the sum, in a run of its own with a profiler",
}

#: A bar that fills its width is the whole inference.
BAR_WIDTH, BAR_HEIGHT = 92.0, 5.0


def step_tables(metric: str, found: Sequence[Entry]) -> tuple[Table, ...]:
    """Return a table for each part that was counted step by step, with a column for every board that counted alike.

    Boards stand in one table when they ran the same bundle's part and cut it into the same steps.
    """
    groups: dict[tuple[object, ...], list[Entry]] = {}
    for entry in found:
        item = entry.measurement
        if item.steps and _counts(item.steps, metric) is not None:
            key = (item.bundle, item.part, item.method, tuple((step.name, step.macs) for step in item.steps))
            groups.setdefault(key, []).append(entry)
    return tuple(_table(metric, group) for group in groups.values())


def _counts(steps: Sequence[Step], metric: str) -> tuple[float, ...] | None:
    """Return the steps' counts or seconds, None where they hold another metric."""
    found = tuple(
        {"instructions": step.instructions, "cycles": step.cycles, "latency": step.time_s}[metric] for step in steps
    )
    return None if None in found else tuple(count for count in found if count is not None)


def _table(metric: str, group: Sequence[Entry]) -> Table:
    first, steps = group[0], group[0].measurement.steps
    columns = [_column(metric, _counts(entry.measurement.steps, metric) or (), steps) for entry in group]
    rows = tuple(
        cells(step.name, units.count(step.macs) if step.macs else units.DASH, *column)
        for step, *column in zip(steps, *columns, strict=True)
    )
    caption = CAPTIONS[metric].format(
        label=f"{first.label} ({first.measurement.target})", method=first.measurement.method
    )
    heads = number_columns("MACs", *(entry.measurement.board for entry in group))
    return Table(caption, (Column("step", wide=True), *heads), rows)


def _column(metric: str, counts: Sequence[float], steps: Sequence[Step]) -> list[Cell]:
    total = sum(counts) or 1
    pairs = [(count, count / total, step.macs) for count, step in zip(counts, steps, strict=True)]
    return [_time(count, share) if metric == "latency" else _cell(count, share, macs) for count, share, macs in pairs]


def _time(time_s: float, share: float) -> Cell:
    return Cell(units.seconds(time_s), units.percent(share, 1), drawing=_bar(share))


def _cell(count: float, share: float, macs: int) -> Cell:
    per_mac = f", {units.significant(count / macs)} per MAC" if macs else ""
    return Cell(units.count(count), f"{units.percent(share, 1)}{per_mac}", drawing=_bar(share))


def _bar(share: float) -> str:
    """Return a bar as long as the step's share of the whole; the cell's note says the same in words."""
    track = svg.tag("rect", {"class": "track", "x": 0, "y": 0, "width": BAR_WIDTH, "height": BAR_HEIGHT})
    part = svg.tag("rect", {"class": "bar", "x": 0, "y": 0, "width": BAR_WIDTH * share, "height": BAR_HEIGHT})
    shape = {"class": "share", "viewBox": f"0 0 {BAR_WIDTH:g} {BAR_HEIGHT:g}", "aria-hidden": "true"}
    return svg.tag("svg", shape, track, part)
