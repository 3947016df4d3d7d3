"""The end of a run in a terminal: rich tables with what matters, and what was not executed said plainly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from devices.board import MEMORIES
from devices.circuit import RESOURCES, Circuit
from devices.measurement import Measurement
from devices.report import units
from devices.report.joined import Entry, entries
from devices.report.paired import statement
from devices.report.tables_model import flips
from devices.report.verdict import Tally, headline, refusals, tally
from devices.run_record import BundleRecord, RunRecord
from devices.scenario import OFFLINE
from devices.stats import percentile, summarise

if TYPE_CHECKING:
    from rich.table import Table

Rows = list[tuple[str, ...]]
STYLES = {"good": "green", "warn": "yellow", "bad": "bold red"}


def measurement_rows(found: Sequence[Measurement]) -> tuple[tuple[str, ...], Rows]:
    """Return the columns and rows of a table of measurements, as text; columns without figures are left out."""
    columns = ("part", "board", "method", *_METRIC_COLUMNS)
    return _filled(columns, [(item.part, item.board, item.method, *_metrics(item)) for item in found])


def _filled(columns: tuple[str, ...], rows: Rows) -> tuple[tuple[str, ...], Rows]:
    kept = [i for i in range(len(columns)) if any(row[i] != units.DASH for row in rows)]
    return tuple(columns[i] for i in kept), [tuple(row[i] for i in kept) for row in rows]


_METRIC_COLUMNS = (
    "queries",
    "latency, median",
    "p90",
    "p99",
    "inferences/s",
    "instructions",
    "cycles",
    *MEMORIES,
    "clock",
    *RESOURCES,
)


def _metrics(item: Measurement) -> tuple[str, ...]:
    sizes = (item.value(name) for name in MEMORIES)
    return (
        _queries(item),
        *_latency(item),
        _throughput(item),
        _count(item.instructions),
        _count(item.cycles),
        *(units.size(size) if isinstance(size, int) else units.DASH for size in sizes),
        *_circuit(item.circuit),
    )


def _circuit(circuit: Circuit | None) -> tuple[str, ...]:
    """Return the clock and the resources of a core."""
    if circuit is None:
        return (units.DASH,) * (1 + len(RESOURCES))
    clock = units.DASH if circuit.clock_hz is None else f"{circuit.clock_hz / 1e6:.1f} MHz"
    return clock, *(units.count(getattr(circuit.counted, name)) for name in RESOURCES)


def _queries(item: Measurement) -> str:
    """Say how queries were put where a query is not one inference."""
    return units.DASH if item.samples_per_query == 1 else f"{item.scenario}, {item.samples_per_query} each"


def _throughput(item: Measurement) -> str:
    found = item.throughput_per_s
    return units.DASH if item.samples_per_query == 1 or found is None else units.significant(found)


def _latency(item: Measurement) -> tuple[str, str, str]:
    samples = item.samples_s
    if not samples:
        return units.DASH, units.DASH, units.DASH
    # Exact for a netlist, and one figure a window offline: no percentile to estimate.
    if item.method == "synthesised" or item.scenario == OFFLINE.name:
        return units.seconds(summarise(samples).median), units.DASH, units.DASH
    p90, p99 = (units.percentile(percentile(samples, p)) for p in (0.9, 0.99))
    return units.seconds(summarise(samples).median), p90, p99


def _count(samples: Sequence[int] | None) -> str:
    return units.DASH if samples is None else units.count(summarise(samples).median)


def summary_table(run: RunRecord) -> tuple[Table, ...]:
    """Return rich tables: accuracy of every scheme, parity of every bundle, what the boards gave."""
    found = [text_table("Accuracy", _ACCURACY_COLUMNS, [_accuracy(run), *_schemes(run)])]
    if run.bundles:
        found.append(text_table("Bundles", _BUNDLE_COLUMNS, list(dict.fromkeys(map(_bundle, run.bundles)))))
    found += _profiles(entries(run))
    return tuple(found)


_ACCURACY_COLUMNS = ("scheme", "top-1", "points", "flips", "size", "against float")
_BUNDLE_COLUMNS = ("target", "scheme", "parts", "bundle", "parity")


def _accuracy(run: RunRecord) -> tuple[str, ...]:
    return ("float", units.percent(run.float_accuracy), "", "", units.size(run.float_bytes), "")


def _schemes(run: RunRecord) -> Rows:
    return [
        (
            record.scheme,
            units.percent(record.accuracy.quantised_accuracy),
            units.points(record.accuracy.quantised_accuracy - record.accuracy.float_accuracy),
            str(flips(record.accuracy)),
            units.size(record.weight_bytes),
            statement(record.accuracy),
        )
        for record in run.schemes
    ]


def _bundle(bundle: BundleRecord) -> tuple[str, ...]:
    if bundle.refused is not None:
        return bundle.target, bundle.scheme, "", "refused", bundle.refused
    size = units.size(bundle.size_bytes) if bundle.size_bytes is not None else units.DASH
    return bundle.target, bundle.scheme, "+".join(bundle.parts), size, _checks(bundle)


def _checks(bundle: BundleRecord) -> str:
    """List the runtimes by what they found."""
    names: dict[str, list[str]] = {}
    for parity in bundle.parity:
        part = f" {parity.part}" if len(bundle.parts) > 1 else ""
        names.setdefault(parity.status, []).append(parity.runtime + part)
    return "; ".join(f"{status}: {', '.join(names[status])}" for status in names) or "not run: nothing here executes it"


def _profiles(found: Sequence[Entry]) -> list[Table]:
    """Return a table for each method: measured and simulated figures do not meet. Columns without figures go."""
    tables = []
    for method in dict.fromkeys(entry.measurement.method for entry in found):
        rows = [_profile(entry) for entry in found if entry.measurement.method == method]
        tables.append(text_table(f"Profile, {method}", *_filled(("scheme", "part", "board", *_METRIC_COLUMNS), rows)))
    return tables


def _profile(entry: Entry) -> tuple[str, ...]:
    return (entry.scheme, entry.measurement.part, entry.measurement.board, *_metrics(entry.measurement))


def text_table(title: str, columns: Sequence[str], rows: Rows) -> Table:
    """Return a rich table of plain text; long cells fold."""
    from rich.table import Table as RichTable
    from rich.text import Text

    table = RichTable(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def print_summary(run: RunRecord) -> None:
    """Print the tables and, last, what the checks prove."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    for table in summary_table(run):
        console.print(table)
    counted = tally(run)
    console.print(Text(headline(counted), style=STYLES[counted.kind]))
    for line in _open_ends(run, counted):
        console.print(Text(line))


def _open_ends(run: RunRecord, counted: Tally) -> list[str]:
    """Return a line for what was not executed and for what was refused."""
    missing, refused = counted.of("not run"), len(refusals(run))
    lines = []
    if missing or counted.unexecuted:
        bundles = _number(counted.unexecuted, "bundle")
        lines.append(f"Not executed here: {_number(missing, 'check')}, and {bundles} that no runtime here takes.")
    if refused:
        lines.append(f"Refused: {_number(refused, 'pair')} of target and scheme.")
    return lines


def _number(number: int, noun: str) -> str:
    return f"{number} {noun}{'s' if number != 1 else ''}"
