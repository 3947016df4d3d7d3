"""Put two runs side by side: accuracy, size, latency, instructions, cycles, parity. Unlike things are not compared."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from devices.board import MEMORIES
from devices.comparable import differing_conditions, differing_versions, is_exact
from devices.doubts import doubts
from devices.latency_ratio import LEAST_WINDOWS, latency_ratio, verdict, window_medians
from devices.measurement import Measurement
from devices.report import units
from devices.report.joined import entries
from devices.report.paired import standard_error
from devices.report.summary import Rows, text_table
from devices.run_record import RunRecord
from edge.comparison import (
    NOT_COMPARED,
    AccuracyChange,
    Comparison,
    CountChange,
    LatencyChange,
    ParityChange,
    SizeChange,
)

if TYPE_CHECKING:
    from rich.console import Group

V = TypeVar("V")
#: What a figure belongs to: target, scheme, part, board.
Key = tuple[str, ...]


def compare(base: RunRecord, other: RunRecord) -> Comparison:
    """Compare two runs; a ratio is always other / base.

    Latencies are compared only between measurements taken under the same conditions, and accuracies only on the same
    data; otherwise the condition that differs is named.
    """
    latencies, gone = _latencies(_measured(base, "latency"), _measured(other, "latency"))
    return Comparison(
        base=f"{base.name}, {base.finished_at}",
        other=f"{other.name}, {other.finished_at}",
        notes=_notes(base, other),
        accuracies=_accuracy_changes(base, other),
        sizes=_size_changes(_sizes(base), _sizes(other)),
        latencies=latencies,
        counts=(*_counts(base, other, "instructions"), *_counts(base, other, "cycles")),
        parities=_parity_changes(_parities(base), _parities(other)),
        unmatched=(*gone, *_only_in_one(base, other)),
    )


def compare_measured(base: tuple[str, Sequence[Measurement]], other: tuple[str, Sequence[Measurement]]) -> Comparison:
    """Compare latencies, instructions, cycles and memory of two runs that hold measurements only.

    Args:
        base: name of the base run, and what it measured.
        other: of the other one.
    """
    figures = [[_of(found, metric) for metric in ("latency", "instructions", "cycles")] for _, found in (base, other)]
    latencies, gone = _latencies(figures[0][0], figures[1][0])
    counted = tuple(zip(("instructions", "cycles"), figures[0][1:], figures[1][1:], strict=True))
    memories = [_memories(_of(found, None)) for _, found in (base, other)]
    lonely = [line for metric, old, new in counted for line in _unmatched(metric, old, new)]
    lonely += _unmatched("size", memories[0], memories[1])
    return Comparison(
        base=base[0],
        other=other[0],
        notes=(),
        accuracies=(),
        sizes=_size_changes(memories[0], memories[1]),
        latencies=latencies,
        counts=tuple(change for metric, old, new in counted for change in _count_changes(metric, old, new)),
        parities=(),
        unmatched=(*gone, *lonely),
    )


def _of(found: Sequence[Measurement], metric: str | None) -> dict[Key, Measurement]:
    """Return the measurements that have a metric; None: all. Of several alike the last one."""
    return {(m.target, m.scenario, m.part, m.board): m for m in found if metric is None or m.value(metric) is not None}


def _memories(found: Mapping[Key, Measurement]) -> dict[Key, int]:
    sizes = {(name, *key): item.value(name) for key, item in found.items() for name in MEMORIES}
    return {key: size for key, size in sizes.items() if isinstance(size, int)}


def _only_in_one(base: RunRecord, other: RunRecord) -> tuple[str, ...]:
    pairs: tuple[tuple[str, Mapping[Key, object], Mapping[Key, object]], ...] = (
        ("accuracy", _accuracies(base), _accuracies(other)),
        ("size", _sizes(base), _sizes(other)),
        ("instructions", _measured(base, "instructions"), _measured(other, "instructions")),
        ("cycles", _measured(base, "cycles"), _measured(other, "cycles")),
        ("parity", _parities(base), _parities(other)),
    )
    return tuple(line for name, ours, theirs in pairs for line in _unmatched(name, ours, theirs))


def _common(base: Mapping[Key, V], other: Mapping[Key, V]) -> list[tuple[Key, V, V]]:
    return [(key, base[key], other[key]) for key in base if key in other]


def _unmatched(what: str, base: Mapping[Key, object], other: Mapping[Key, object]) -> list[str]:
    sides = (("the base run", base, other), ("the other run", other, base))
    return [f"{what} of {' '.join(key)}: only in {run}" for run, a, b in sides for key in a if key not in b]


def _notes(base: RunRecord, other: RunRecord) -> tuple[str, ...]:
    pairs = (
        ("model", base.model, other.model),
        ("parameters", base.parameters, other.parameters),
        ("MACs", base.macs, other.macs),
        ("data", base.data, other.data),
        ("test images", base.test_images, other.test_images),
        ("edgemill", base.version, other.version),
    )
    return tuple(f"{name}: {old} against {new}" for name, old, new in pairs if old != new)


def _accuracies(run: RunRecord) -> dict[Key, float]:
    found: dict[Key, float] = {("float",): run.float_accuracy}
    return found | {(record.scheme,): record.accuracy.quantised_accuracy for record in run.schemes}


def _accuracy_changes(base: RunRecord, other: RunRecord) -> tuple[AccuracyChange, ...]:
    data = (("data", base.data, other.data), ("test images", base.test_images, other.test_images))
    named = [f"{name}: {old} against {new}" for name, old, new in data if old != new]
    refused = "; ".join(named) or None
    return tuple(
        AccuracyChange(
            scheme=key[0],
            base=old,
            other=new,
            difference=None if refused else new - old,
            standard_error=None if refused else _difference_error(old, new, base.test_images),
            refused=refused,
        )
        for key, old, new in _common(_accuracies(base), _accuracies(other))
    )


def _difference_error(base: float, other: float, images: int) -> float | None:
    errors = standard_error(base, images), standard_error(other, images)
    return None if None in errors else sum(error**2 for error in errors if error is not None) ** 0.5


def _sizes(run: RunRecord) -> dict[Key, int]:
    found: dict[Key, int] = {("float", "model"): run.float_bytes}
    found |= {("weights", record.scheme): record.weight_bytes for record in run.schemes}
    for bundle in run.bundles:
        if bundle.size_bytes is not None:
            found["bundle", bundle.target, bundle.scheme, "+".join(bundle.parts)] = bundle.size_bytes
    keyed: dict[Key, Measurement] = {
        (e.measurement.target, e.scheme, e.measurement.part, e.measurement.board): e.measurement for e in entries(run)
    }
    return found | _memories(keyed)


def _size_changes(base: Mapping[Key, int], other: Mapping[Key, int]) -> tuple[SizeChange, ...]:
    return tuple(SizeChange(" ".join(key), old, new, _ratio(old, new)) for key, old, new in _common(base, other))


def _ratio(base: float, other: float) -> float | None:
    return other / base if base else None


def _measured(run: RunRecord, metric: str) -> dict[Key, Measurement]:
    return {
        (entry.measurement.target, entry.scheme, entry.measurement.part, entry.measurement.board): entry.measurement
        for entry in entries(run)
        if entry.measurement.value(metric) is not None
    }


def _latencies(
    base: Mapping[Key, Measurement], other: Mapping[Key, Measurement]
) -> tuple[tuple[LatencyChange, ...], tuple[str, ...]]:
    """Compare latencies by target, scheme, part and board; a part that changed its board is refused by name."""
    changes = [_latency(key, old, new) for key, old, new in _common(base, other)]
    before, after = ({k: v for k, v in a.items() if k not in b} for a, b in ((base, other), (other, base)))
    for key in list(before):
        moved = next((new for new in after if new[:3] == key[:3]), None)
        if moved is not None:
            changes.append(_latency(key, before.pop(key), after.pop(moved)))
    return tuple(changes), tuple(_unmatched("latency", before, after))


def _latency(key: Key, base: Measurement, other: Measurement) -> LatencyChange:
    old, new = window_medians(base), window_medians(other)
    refused = "; ".join(differing_conditions(base, other)) or _too_fast(old, new)
    found = None if refused else latency_ratio(old, new)
    windows = LEAST_WINDOWS if is_exact(base) else min(len(old), len(new))
    target, scheme, part, board = key
    return LatencyChange(
        target=target,
        scheme=scheme,
        part=part,
        board=board,
        method=base.method,
        base_s=statistics.median(old),
        other_s=statistics.median(new),
        ratio=found.value if found else None,
        low=found.low if found else None,
        high=found.high if found else None,
        verdict=verdict(found, windows) if found else NOT_COMPARED,
        refused=refused or None,
        doubts=tuple(dict.fromkeys(doubt.name for item in (base, other) for doubt in doubts(item))),
    )


def _too_fast(base: Sequence[float], other: Sequence[float]) -> str:
    return "" if min(*base, *other) > 0 else "a window's median is 0 s: faster than the clock can see"


def _counts(base: RunRecord, other: RunRecord, metric: str) -> tuple[CountChange, ...]:
    return _count_changes(metric, _measured(base, metric), _measured(other, metric))


def _count_changes(
    metric: str, base: Mapping[Key, Measurement], other: Mapping[Key, Measurement]
) -> tuple[CountChange, ...]:
    return tuple(_count(metric, key, old, new) for key, old, new in _common(base, other))


def _count(metric: str, key: Key, base: Measurement, other: Measurement) -> CountChange:
    old, new = ((m.instructions if metric == "instructions" else m.cycles) or () for m in (base, other))
    named = [f"method: {base.method} against {other.method}"] if base.method != other.method else []
    named += [f"inferences: {len(old)} against {len(new)}"] if len(old) != len(new) else []
    target, scheme, part, board = key
    return CountChange(
        metric=metric,
        target=target,
        scheme=scheme,
        part=part,
        board=board,
        method=base.method,
        inferences=len(old),
        base=sum(old),
        other=sum(new),
        ratio=None if named else _ratio(sum(old), sum(new)),
        versions=differing_versions(base, other),
        refused="; ".join(named) or None,
    )


def _parities(run: RunRecord) -> dict[Key, str]:
    return {
        (bundle.target, bundle.scheme, parity.part, parity.runtime): parity.status
        for bundle in run.bundles
        for parity in bundle.parity
    }


def _parity_changes(base: Mapping[Key, str], other: Mapping[Key, str]) -> tuple[ParityChange, ...]:
    changed = [(key, old, new) for key, old, new in _common(base, other) if old != new]
    return tuple(ParityChange(key[0], key[1], key[2], key[3], old, new) for key, old, new in changed)


def comparison_table(found: Comparison) -> Group:
    """Return rich tables of a comparison, one below the other, with what was not compared and why."""
    from rich.console import Group
    from rich.text import Text

    head = [Text(f"base:  {found.base}"), Text(f"other: {found.other}"), *(Text(f"note: {n}") for n in found.notes)]
    tables = [text_table(title, columns, rows) for title, columns, rows in _tables(found) if rows]
    return Group(*head, *tables, *(Text(line) for line in found.unmatched))


def _tables(found: Comparison) -> tuple[tuple[str, tuple[str, ...], Rows], ...]:
    accuracy = ("scheme", "base", "other", "points", "standard error at most")
    size = ("what", "base", "other", "ratio")
    latency = ("figure", "method", "base", "other", "ratio (95 %)", "verdict", "doubts")
    count = ("figure", "method", "inferences", "base", "other", "ratio", "tools that differ")
    return (
        ("Accuracy", accuracy, [_accuracy_row(item) for item in found.accuracies]),
        ("Size", size, [_size_row(item) for item in found.sizes]),
        ("Latency, runs not interleaved", latency, [_latency_row(item) for item in found.latencies]),
        ("Instructions and cycles, all inferences together", count, [_count_row(item) for item in found.counts]),
        ("Parity that changed", ("check", "base", "other"), [_parity_row(item) for item in found.parities]),
    )


def _accuracy_row(item: AccuracyChange) -> tuple[str, ...]:
    change = f"{NOT_COMPARED}: {item.refused}" if item.difference is None else units.points(item.difference)
    error = units.DASH if item.standard_error is None else f"{100 * item.standard_error:.2f}"
    return item.scheme, units.percent(item.base), units.percent(item.other), change, error


def _size_row(item: SizeChange) -> tuple[str, ...]:
    return item.what, units.size(item.base_bytes), units.size(item.other_bytes), _times(item.ratio)


def _latency_row(item: LatencyChange) -> tuple[str, ...]:
    name = f"{item.target} {item.scheme} {item.part} {item.board}"
    interval = units.DASH if item.ratio is None else f"{_times(item.ratio)} ({_times(item.low)} to {_times(item.high)})"
    judged = item.verdict if item.refused is None else f"{item.verdict}: {item.refused}"
    times = units.seconds(item.base_s), units.seconds(item.other_s)
    return name, item.method, *times, interval, judged, ", ".join(item.doubts) or "none"


def _count_row(item: CountChange) -> tuple[str, ...]:
    name = f"{item.metric} {item.target} {item.scheme} {item.part} {item.board}"
    ratio = f"{NOT_COMPARED}: {item.refused}" if item.refused else _times(item.ratio)
    totals = str(item.inferences), units.count(item.base), units.count(item.other)
    return name, item.method, *totals, ratio, ", ".join(item.versions) or "none"


def _parity_row(item: ParityChange) -> tuple[str, ...]:
    return f"{item.target} {item.scheme} {item.part} {item.runtime}", item.base, item.other


def _times(ratio: float | None) -> str:
    return units.DASH if ratio is None else units.significant(ratio, 4)
