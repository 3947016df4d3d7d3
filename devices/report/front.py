"""Accuracy against cost: which points no other point beats, as values and as a drawing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from devices.report import svg, units
from devices.report.joined import Entry, cost, energy_method, entries, machine, with_metric
from devices.report.paired import standard_error
from devices.report.scale import WIDE, Scale, fitted
from devices.report.verdict import has_wrong
from devices.run_record import RunRecord, SchemeRecord
from quant.cost import Summary
from quant.luts import XCUP

RADIUS = 8.0
#: Points closer than this many pixels get one mark.
SAME_PLACE = 4.0
#: Costs that lie closer together than this factor are not stretched over the whole axis.
LEAST_SPAN = 1.2


@dataclass(frozen=True, slots=True)
class Point:
    """One choice: its name, cost (smaller is better), accuracy as a share and its standard error.

    `cost_error` is the expanded uncertainty of the cost, where it has one.
    `sound` is False when a check of it is wrong: it is shown, but never on the front.
    """

    name: str
    cost: float
    accuracy: float
    error: float | None
    sound: bool = True
    cost_error: float | None = None


@dataclass(frozen=True, slots=True)
class Front:
    """Points of one device class. `text` writes a cost; `baseline` is the float accuracy."""

    title: str
    axis: str
    points: tuple[Point, ...]
    baseline: float
    text: Callable[[float], str]


def best_of(points: Sequence[Point]) -> tuple[bool, ...]:
    """Say for each sound point whether no other sound one is at least as good in both and better in one."""
    sound = [point for point in points if point.sound]
    return tuple(point.sound and not any(_beats(other, point) for other in sound) for point in points)


def _beats(one: Point, other: Point) -> bool:
    no_worse = one.cost <= other.cost and one.accuracy >= other.accuracy
    return no_worse and (one.cost < other.cost or one.accuracy > other.accuracy)


def fronts(run: RunRecord) -> tuple[Front, ...]:
    """Return a front for the weights, for FPGA logic, and for every device class with at least two points.

    A device class is one machine for latencies, and one board for instructions and for cycles; methods never mix.
    Only whole networks count: half a network has no accuracy of its own.
    """
    found = (_weights(run), _luts(run), *_latencies(run), *_counts(run, "instructions"), *_counts(run, "cycles"))
    found = (*found, *_energies(run))
    return tuple(front for front in found if len(front.points) >= 2)


def _weights(run: RunRecord) -> Front:
    wrong = {bundle.scheme for bundle in run.bundles if has_wrong(bundle)}
    points = tuple(
        _point(record.scheme, record.weight_bytes, record, record.scheme not in wrong) for record in run.schemes
    )
    return Front("any device: weights", "weights", points, run.float_accuracy, lambda v: units.size(round(v)))


def _luts(run: RunRecord) -> Front:
    """Return accuracy against the look-up tables of one multiply-accumulate, mean over the network's."""
    wrong = {bundle.scheme for bundle in run.bundles if has_wrong(bundle)}
    points = tuple(
        _point(_luts_name(record, record.cost), record.cost.luts_per_mac, record, record.scheme not in wrong)
        for record in run.schemes
        if record.cost is not None
    )
    axis = f"LUTs per MAC, {XCUP.tool}"
    return Front("FPGA logic without DSP blocks, xcup", axis, points, run.float_accuracy, units.significant)


def _luts_name(record: SchemeRecord, cost: Summary) -> str:
    return record.scheme if cost.luts_measured == 1.0 else f"{record.scheme} (fitted)"


def _latencies(run: RunRecord) -> list[Front]:
    made = []
    for method, group in with_metric(_known(run), "latency"):
        for where in dict.fromkeys(map(_place, group)):
            here = [entry for entry in group if _place(entry) == where]
            points = _points(run, here, "latency", boards=True)
            name = where if method == "synthesised" else here[0].measurement.conditions.cpu_model
            made.append(
                Front(f"{name}: latency", f"median latency, {method}", points, run.float_accuracy, units.seconds)
            )
    return made


def _place(entry: Entry) -> str:
    """Return what a latency holds for: a board that is a circuit of its own, or the machine that executed."""
    item = entry.measurement
    return item.board if item.method == "synthesised" else machine(item)


def _counts(run: RunRecord, metric: str) -> list[Front]:
    made = []
    for method, group in with_metric(_known(run), metric):
        for board in dict.fromkeys(entry.measurement.board for entry in group):
            here = [entry for entry in group if entry.measurement.board == board]
            axis = f"{metric} per inference, {method}"
            points = _points(run, here, metric, boards=False)
            made.append(Front(f"{board}: {metric}", axis, points, run.float_accuracy, short_count))
    return made


def _energies(run: RunRecord) -> list[Front]:
    """Return a front for every board and method of energy; bars to the sides are expanded uncertainties (k = 2)."""
    holding = [entry for entry in _known(run) if entry.measurement.energy_j is not None]
    made = []
    for board, method in dict.fromkeys((entry.measurement.board, energy_method(entry)) for entry in holding):
        here = [e for e in holding if (e.measurement.board, energy_method(e)) == (board, method)]
        points = tuple(
            replace(point, cost_error=entry.measurement.energy.expanded_j if entry.measurement.energy else None)
            for point, entry in zip(_points(run, here, "energy", boards=False), here, strict=True)
        )
        axis = f"gross energy per inference, {method}"
        made.append(Front(f"{board}: energy", axis, points, run.float_accuracy, units.joules))
    return made


def _known(run: RunRecord) -> tuple[Entry, ...]:
    schemes = {record.scheme for record in run.schemes}
    return tuple(entry for entry in entries(run) if entry.is_whole and entry.scheme in schemes)


def _points(run: RunRecord, found: Sequence[Entry], metric: str, *, boards: bool) -> tuple[Point, ...]:
    records = {record.scheme: record for record in run.schemes}
    return tuple(
        _point(
            entry.title if boards else entry.scheme,
            cost(entry, metric),
            records[entry.scheme],
            entry.bundle is None or not has_wrong(entry.bundle),
        )
        for entry in found
    )


def _point(name: str, value: float, record: SchemeRecord, sound: bool) -> Point:
    accuracy = record.accuracy.quantised_accuracy
    error = standard_error(accuracy, record.accuracy.images)
    return Point(name if sound else f"{name} (a check is wrong)", value, accuracy, error, sound)


def short_count(value: float) -> str:
    """Return a count with three digits and k, M or G."""
    factor, unit = next(((f, u) for f, u in ((1e9, " G"), (1e6, " M"), (1e3, " k")) if value >= f), (1.0, ""))
    return f"{units.significant(value / factor)}{unit}"


def draw(front: Front) -> str:
    """Return the drawing: numbered points, error bars of one standard error, the float accuracy as a dashed line."""
    frame = svg.Frame(height=240, right=38)
    x, y = _scales(front, frame)
    base = y.place(front.baseline)
    left, right = frame.x_pixels
    on_front = best_of(front.points)
    body = (
        svg.x_axis(frame, x, lambda v: units.short(front.text(v)), front.axis),
        svg.y_axis(frame, y, lambda v: f"{100 * v:.{_places(y)}f} %", "top-1 accuracy"),
        svg.line(left, base, right, base, "baseline"),
        svg.words(right + 4, base + 4, "float", anchor="start"),
        _staircase(front, on_front, x, y),
        *(_error_bar(point, x, y) for point in front.points),
        *_marks(front, on_front, x, y),
    )
    return svg.drawing(frame.width, frame.height, f"Accuracy against {front.axis}, {front.title}", *body)


def _scales(front: Front, frame: svg.Frame) -> tuple[Scale, Scale]:
    costs = [point.cost for point in front.points]
    costs += [point.cost + point.cost_error for point in front.points if point.cost_error is not None]
    log = min(costs) > 0 and max(costs) / min(costs) > WIDE
    reach = [p.accuracy + sign * (p.error or 0.0) for p in front.points for sign in (-1, 1)]
    if max(costs) < LEAST_SPAN * min(costs):
        costs = [*costs, min(costs) / LEAST_SPAN**0.5, max(costs) * LEAST_SPAN**0.5]
    x = fitted(costs, frame.x_pixels, log=log, margin=0.12)
    return x, fitted([*reach, front.baseline], frame.y_pixels, log=False, margin=0.15)


def _places(scale: Scale) -> int:
    span = 100 * (scale.high - scale.low)
    return max(0, math.ceil(-math.log10(span / 4))) if span < 8 else 0


def _error_bar(point: Point, x: Scale, y: Scale) -> str:
    at, error = x.place(point.cost), point.error or 0.0
    upright = svg.line(at, y.place(point.accuracy - error), at, y.place(point.accuracy + error), "error")
    if point.cost_error is None:
        return upright
    height, low = y.place(point.accuracy), max(point.cost - point.cost_error, x.low)
    return upright + svg.line(x.place(low), height, x.place(point.cost + point.cost_error), height, "error")


def _marks(front: Front, on_front: Sequence[bool], x: Scale, y: Scale) -> list[str]:
    """Return the numbered marks, those of the front last, so on top; points at one place share a mark."""
    places: dict[tuple[int, int], list[int]] = {}
    for i, point in enumerate(front.points):
        key = round(x.place(point.cost) / SAME_PLACE), round(y.place(point.accuracy) / SAME_PLACE)
        places.setdefault(key, []).append(i)
    groups = sorted(places.values(), key=lambda group: any(on_front[i] for i in group))
    return [_mark(front, group, on_front, x, y) for group in groups]


def _mark(front: Front, group: Sequence[int], on_front: Sequence[bool], x: Scale, y: Scale) -> str:
    point, text = front.points[group[0]], ", ".join(str(i + 1) for i in group)
    kind = "best" if any(on_front[i] for i in group) else "" if point.sound else "wrong"
    cx, cy = x.place(point.cost), y.place(point.accuracy)
    shape = {"class": f"point {kind}".strip(), "cx": cx, "cy": cy, "rx": RADIUS + 3.0 * (len(text) - 1), "ry": RADIUS}
    return svg.tag("g", {}, svg.tag("ellipse", shape), svg.words(cx, cy + 4, text, f"number {kind}".strip()))


def _staircase(front: Front, on_front: Sequence[bool], x: Scale, y: Scale) -> str:
    """Join the points of the front by steps: what is below and to the right of them is beaten."""
    chosen = sorted((p.cost, p.accuracy) for p, flag in zip(front.points, on_front, strict=True) if flag)
    places: list[tuple[float, float]] = []
    for value, accuracy in chosen:
        here = x.place(value), y.place(accuracy)
        places += [(here[0], places[-1][1]), here] if places else [here]
    return svg.polyline(places, "front") if len(places) > 1 else ""
