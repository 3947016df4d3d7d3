"""Tables of what boards gave: latency, instructions, cycles, what is absent, conditions, doubts."""

from __future__ import annotations

from collections.abc import Sequence

from devices.board import METRICS
from devices.doubts import doubts
from devices.measurement import Measurement
from devices.report import units
from devices.report.joined import Entry, cost, machine
from devices.report.plots import window_strip
from devices.report.table import Cell, Column, Table, cells, number_columns, text_columns, wide_columns
from devices.stats import percentile, summarise

SIMULATED_CAPTION = {
    "instructions": "Instructions per inference, {method}: counts from an emulator, not time",
    "cycles": "Clock cycles per inference, {method}: from a simulation of the circuit, not time",
}


def latency_table(method: str, found: Sequence[Entry]) -> Table:
    """Return latencies of one method, a row per part and board."""
    columns = (
        *text_columns("scheme", "part", "board"),
        *number_columns("n", "median", "p90 (99 % sure)", "p99 (99 % sure)"),
        Column("windows"),
        *number_columns("to open", "first run"),
        Column("load"),
        Column("doubts", wide=True),
    )
    what = "inference" if all(entry.measurement.samples_per_query == 1 for entry in found) else "query"
    caption = f"Latency, {method}: one {what} after another, batch 1"
    if method == "synthesised":
        caption = "Latency, synthesised: cycles at the highest clock that static timing allows, not run on the board"
    return Table(caption, columns, tuple(_latency_row(entry) for entry in found))


def _latency_row(entry: Entry) -> tuple[Cell, ...]:
    item, samples = entry.measurement, entry.measurement.samples_s
    found, warm, state = summarise(samples), item.warmup, item.conditions
    names = ", ".join(doubt.name for doubt in doubts(item))
    return cells(
        entry.scheme,
        item.part,
        Cell(item.board, _how(item)),
        units.count(found.n),
        Cell(units.seconds(found.median), f"± {units.seconds(found.mad)} MAD" if found.n > 1 else ""),
        *(_tail(samples, p) if item.method != "synthesised" else Cell(units.DASH, "exact") for p in (0.9, 0.99)),
        Cell("", _windows(len(item.latency_s or ())), drawing=window_strip(item)),
        units.seconds(warm.open_s) if warm else units.DASH,
        units.seconds(warm.first_s) if warm else units.DASH,
        f"{_load(state.load_before)} → {_load(state.load_after)}",
        Cell(names or "none", kind="warn" if names else ""),
    )


def _how(item: Measurement) -> str:
    """Name the runtime, and how queries were put where a query is not one inference."""
    if item.samples_per_query == 1:
        return item.runtime
    rate = "" if item.throughput_per_s is None else f", {units.significant(item.throughput_per_s)} inferences/s"
    return f"{item.runtime}, {item.scenario}: {item.samples_per_query} inferences a query{rate}"


def _load(average: float | None) -> str:
    return units.DASH if average is None else f"{average:.1f}"


def _windows(number: int) -> str:
    return f"{number} window{'s' if number != 1 else ''}"


def _tail(samples: Sequence[float], p: float) -> Cell:
    found = percentile(samples, p)
    if found.value is None or found.bound is None:
        return Cell("not enough samples", f"{found.n} of {found.n_min}", "absent")
    return Cell(units.seconds(found.value), f"at most {units.seconds(found.bound)}")


def count_table(metric: str, method: str, found: Sequence[Entry], macs: int) -> Table:
    """Return instructions or cycles of one method; per MAC where the whole network was executed."""
    columns = (
        *text_columns("scheme", "part", "board"),
        *number_columns("n", f"{metric} per inference", "per MAC"),
    )
    caption = SIMULATED_CAPTION[metric].format(method=method)
    return Table(caption, columns, tuple(_count_row(entry, metric, macs) for entry in found))


def _count_row(entry: Entry, metric: str, macs: int) -> tuple[Cell, ...]:
    item = entry.measurement
    counts = item.instructions if metric == "instructions" else item.cycles
    middle = cost(entry, metric)
    per_mac = Cell(units.significant(middle / macs)) if entry.is_whole and macs else Cell(units.DASH, "part only")
    figure = Cell(units.count(middle), units.span(counts or ()))
    board = Cell(item.board, item.runtime)
    return cells(entry.scheme, item.part, board, str(len(counts or ())), figure, per_mac)


def absent_table(found: Sequence[Entry], metrics: Sequence[str] = METRICS) -> Table:
    """Return why metrics are absent, one row for each reason with the boards it holds for."""
    boards: dict[tuple[str, str], dict[str, None]] = {}
    for metric in metrics:
        for entry in found:
            reason = dict(entry.measurement.absent).get(metric)
            if reason is not None:
                boards.setdefault((metric, reason), {})[entry.measurement.board] = None
    rows = tuple(cells(metric, ", ".join(names), reason) for (metric, reason), names in boards.items())
    return Table("Absent, and why", (Column("metric"), *wide_columns("boards", "reason")), rows)


def machines(found: Sequence[Entry]) -> tuple[str, ...]:
    """Return every machine that something ran on."""
    return tuple(dict.fromkeys(machine(entry.measurement) for entry in found))


def condition_table(found: Sequence[Entry]) -> Table:
    """Return, for every board, where its figures come from; the machine too, unless there is only one."""
    width = 4 if len(machines(found)) == 1 else 5
    rows = {_condition(entry.measurement)[:width]: None for entry in found}
    columns = (*text_columns("board", "method"), *wide_columns("source", "versions", "machine"))
    return Table("Boards and conditions", columns[:width], tuple(cells(*row) for row in rows))


def _condition(item: Measurement) -> tuple[str, ...]:
    versions = ", ".join(f"{name} {version}" for name, version in item.versions)
    return item.board, item.method, item.source, versions, machine(item)


def doubt_rows(found: Sequence[Entry]) -> tuple[tuple[str, str, str], ...]:
    """Return every doubt as its name, the measurements it concerns, and its text with the advice."""
    titles: dict[tuple[str, str], list[str]] = {}
    for entry in found:
        for doubt in doubts(entry.measurement):
            titles.setdefault((doubt.name, f"{doubt.text} {doubt.advice}"), []).append(entry.title)
    return tuple((name, ", ".join(where), text) for (name, text), where in sorted(titles.items()))
