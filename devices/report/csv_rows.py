"""Every measurement of a run as one row of plain figures, for a spreadsheet or a notebook: units stand in the names."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from devices.board import MEMORIES
from devices.doubts import doubts
from devices.report.joined import Entry, energy_method, entries
from devices.run_record import RunRecord, SchemeRecord
from devices.stats import percentile, summarise
from export.atomic import write_text

Value = str | int | float | None
#: A cell that begins with one of these is run as a formula by spreadsheets.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_IDENTITY = ("bundle", "part", "target", "board", "runtime", "method", "scenario", "started_at", "source")


def write_csv(run: RunRecord, path: Path) -> None:
    """Write one row per measurement to `path`, whole or not at all.

    Raises:
        ExportError: `path` cannot be written.
    """
    write_text(path, csv_text(run))


def csv_text(run: RunRecord) -> str:
    """Return the rows as CSV with a head line; what is absent is an empty cell, never 0."""
    rows = [row(entry, run) for entry in entries(run)]
    head = list(rows[0]) if rows else list(_IDENTITY)
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(head)
    writer.writerows([_cell(value) for value in found.values()] for found in rows)
    return stream.getvalue()


def row(entry: Entry, run: RunRecord) -> dict[str, Value]:
    """Return one measurement: who, how, accuracy, latency, counts, energy, memory, conditions, doubts."""
    item = entry.measurement
    return {
        "scheme": entry.scheme,
        **{name: getattr(item, name) for name in _IDENTITY},
        **_accuracy(entry, run),
        **_latency(item.samples_s, exact=item.method == "synthesised"),
        **{name: _median(getattr(item, name)) for name in ("instructions", "cycles", "energy_j")},
        **_energy(entry),
        **{f"{name}_bytes": getattr(item, f"{name}_bytes") for name in MEMORIES},
        "load_before": item.conditions.load_before,
        "load_after": item.conditions.load_after,
        "governor": item.conditions.governor,
        "doubts": " ".join(doubt.name for doubt in doubts(item)),
    }


def _accuracy(entry: Entry, run: RunRecord) -> Mapping[str, Value]:
    """Return the top-1 accuracy of the network; a part of it has none of its own."""
    found: Mapping[str, SchemeRecord] = {record.scheme: record for record in run.schemes}
    record = found.get(entry.scheme) if entry.is_whole else None
    return {"top1_accuracy": None if record is None else record.accuracy.quantised_accuracy}


def _latency(samples: tuple[float, ...], *, exact: bool) -> Mapping[str, Value]:
    names = ("latency_n", "latency_median_s", "latency_mad_s")
    middle: tuple[Value, ...] = (None, None, None)
    if samples:
        found = summarise(samples)
        middle = (found.n, found.median, found.mad)
    return dict(zip(names, middle, strict=True)) | {
        f"latency_p{round(100 * p)}_{what}": value
        for p in (0.9, 0.99)
        for what, value in _tail(samples, p, exact=exact or not samples).items()
    }


def _energy(entry: Entry) -> Mapping[str, Value]:
    """Return what stands behind `energy_j`: its own method, net energy, expanded uncertainty, power, meter."""
    item = entry.measurement
    energy = item.energy
    return {
        "energy_method": energy_method(entry) if item.energy_j is not None else None,
        "energy_net_j": energy.median_net_j if energy else None,
        "energy_expanded_j": energy.expanded_j if energy else None,
        "power_w": _median(energy.power_w) if energy else None,
        "meter": energy.meter if energy else None,
    }


def _tail(samples: tuple[float, ...], p: float, *, exact: bool) -> Mapping[str, Value]:
    if exact:
        return {"s": None, "bound_s": None}
    found = percentile(samples, p)
    return {"s": found.value, "bound_s": found.bound}


def _median(samples: tuple[float, ...] | tuple[int, ...] | None) -> Value:
    return None if samples is None else summarise(samples).median


def _cell(value: Value) -> str:
    """Return a value as text that no spreadsheet takes for a formula; floats keep every digit."""
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return repr(value)
