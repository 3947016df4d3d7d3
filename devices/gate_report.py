"""The gate over measurements: every figure that baseline and candidate share, judged or refused with the reason."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from devices import gate
from devices.board import MEMORIES
from devices.boards import BOARDS
from devices.comparable import differing_conditions, differing_versions, is_exact
from devices.doubts import doubts
from devices.errors import DeviceError
from devices.gate import INCONCLUSIVE, Judged
from devices.latency_ratio import Ratio
from devices.measurement import Measurement
from devices.scenario import SINGLE_STREAM

SCHEMA = 1
#: What is gated where nobody chooses; memory is gated when asked for.
METRICS = ("latency", "instructions", "cycles", "energy")
ALL_METRICS = (*METRICS, *MEMORIES)
#: Runtimes whose instructions, counted with an interpreter around them, repeat to a tenth of a per cent only.
PYTHON_TOLERANCE = 0.002
_BY_WINDOW = ("latency", "energy")
REFUSED = "refused"
#: Doubts that leave nothing to say about runs that did not take turns: what was seen may have come between them.
DISTURBING = ("LOADED_MACHINE", "THROTTLING", "SLOWING_DOWN", "SLOW_FIRST_RUN")
#: Target, board, part, scenario, label.
Key = tuple[str, str, str, str, str]
#: Measurements of one thing in the order they were taken: one, or several runs that took turns with the other side's.
Series = tuple[Measurement, ...]
#: A measurement with what tells it from others of the same board and part, such as a scheme; mostly empty.
Labelled = tuple[str, Measurement]


@dataclass(frozen=True, slots=True)
class Rule:
    """What is asked: which metrics, the share above the baseline that is fine, and which figures of a window.

    `tolerance` None is 5 % for latency and energy and 0 for counts, which repeat (0.2 % where Python runs among them).
    """

    metrics: tuple[str, ...] = METRICS
    tolerance: float | None = None
    statistic: str = gate.BOTH


@dataclass(frozen=True, slots=True)
class Entry:
    """One figure of both sides: medians in SI units or counts, and the verdict.

    `judged` is None where comparing is refused; `refused` then says why, else it is empty. `interleaved` says whether
    the windows took turns; where they did not, a drift of the device between the runs looks like a change.
    """

    target: str
    board: str
    part: str
    scenario: str
    label: str
    metric: str
    method: str
    base: float | None
    other: float | None
    interleaved: bool
    judged: Judged | None
    refused: tuple[str, ...]
    doubts: tuple[str, ...]

    @property
    def disturbed(self) -> tuple[str, ...]:
        """Doubts that make the verdict inconclusive, since the windows did not take turns."""
        return () if self.interleaved else tuple(name for name in self.doubts if name in DISTURBING)

    @property
    def verdict(self) -> str:
        """The judgement, or `refused`, which decides nothing."""
        if self.judged is None:
            return REFUSED
        return INCONCLUSIVE if self.disturbed else self.judged.verdict

    @property
    def name(self) -> str:
        """What it is about, in a line."""
        scenario = "" if self.scenario == SINGLE_STREAM.name else f" {self.scenario}"
        return f"{self.metric} of '{self.part}'{self.label and f' {self.label}'} on {self.board}{scenario}"


@dataclass(frozen=True, slots=True)
class GateReport:
    """Every entry, what only the candidate has, and the verdict of all together: a refusal is inconclusive."""

    baseline: str
    candidate: str
    entries: tuple[Entry, ...]
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        """Fail when anything fails, pass when everything passes."""
        return gate.worst([INCONCLUSIVE if item.judged is None else item.verdict for item in self.entries])


def gated(
    base: Sequence[Labelled], other: Sequence[Labelled], rule: Rule, *, names: tuple[str, str], interleaved: bool
) -> GateReport:
    """Judge everything that two runs have in common.

    Args:
        base: measurements of the baseline.
        other: of the candidate.
        rule: what is asked.
        names: of both, for people.
        interleaved: whether window i of both were taken in turns on one device.

    Raises:
        DeviceError: a metric or the statistic is unknown, or the tolerance makes no sense.
    """
    _check(rule)
    ours, theirs = _by_key(base), _by_key(other)
    entries = tuple(
        _entry(key, old, theirs.get(key, ()), metric, rule, interleaved)
        for key, old in ours.items()
        for metric in rule.metrics
        if old[-1].value(metric) is not None
    )
    notes = [f"only in {names[1]}: part '{key[2]}' on {key[1]}, {key[3]}" for key in theirs if key not in ours]
    return GateReport(names[0], names[1], entries, tuple(notes))


def _check(rule: Rule) -> None:
    unknown = [name for name in rule.metrics if name not in ALL_METRICS]
    if unknown:
        raise DeviceError(f"gate: metric '{unknown[0]}' is unknown; known are {', '.join(ALL_METRICS)}.")
    known = (gate.BOTH, *gate.STATISTICS)
    if rule.statistic not in known:
        raise DeviceError(f"gate: statistic '{rule.statistic}' is unknown; known are {', '.join(known)}.")
    gate.check_tolerance(0.0 if rule.tolerance is None else rule.tolerance)


def _by_key(found: Sequence[Labelled]) -> dict[Key, Series]:
    """Return measurements by what they are of."""
    series: dict[Key, Series] = {}
    for label, item in found:
        key = (item.target, item.board, item.part, item.scenario, label)
        series[key] = (*series.get(key, ()), item)
    return series


def _entry(key: Key, old: Series, new: Series, metric: str, rule: Rule, interleaved: bool) -> Entry:
    judged, refused = None, _refusals(old, new, metric)
    if not refused:
        try:
            judged = _judged(old, new, metric, rule)
        except DeviceError as error:
            refused = (str(error).removeprefix("gate: "),)
    timed = metric in _BY_WINDOW
    target, board, part, scenario, label = key
    return Entry(
        target=target,
        board=board,
        part=part,
        scenario=scenario,
        label=label,
        metric=metric,
        method=old[-1].method,
        base=_figure(old, metric),
        other=_figure(new, metric),
        interleaved=interleaved and timed,
        judged=judged,
        refused=refused,
        doubts=tuple(dict.fromkeys(d.name for item in (*old, *new) for d in doubts(item))) if timed else (),
    )


def _refusals(old: Series, new: Series, metric: str) -> tuple[str, ...]:
    """Name what forbids comparing: the state of the device for time and energy, tools and method for counts."""
    if not new:
        return ("the candidate has no such measurement",)
    if new[-1].value(metric) is None:
        return (f"the candidate has no {metric}: {dict(new[-1].absent).get(metric)}",)
    first = old[0]
    if metric in _BY_WINDOW:
        named = [line for item in (*old[1:], *new) for line in differing_conditions(first, item)]
    else:
        named = [f"method: {first.method} against {item.method}" for item in new if item.method != first.method]
        named += [line for item in new for line in differing_versions(first, item)]
    return tuple(dict.fromkeys(named))


def _judged(old: Series, new: Series, metric: str, rule: Rule) -> Judged:
    limit = gate.TOLERANCE if rule.tolerance is None else rule.tolerance
    if metric == "energy":
        joules = [[value for item in series for value in item.energy_j or ()] for series in (old, new)]
        count = min(map(len, joules))
        return gate.judge_pairs(joules[0][:count], joules[1][:count], limit)
    if not is_exact(old[0]) and metric == "latency":
        windows = _windows(old), _windows(new)
        count = min(map(len, windows))
        return gate.judge_windows(windows[0][:count], windows[1][:count], limit, rule.statistic)
    if metric == "latency":  # follows from a netlist: does not vary
        return _exactly((_figure(old, metric) or 0.0, _figure(new, metric) or 0.0), limit)
    tolerance = _count_tolerance(old[-1]) if rule.tolerance is None else rule.tolerance
    return gate.judge_counts(_counts(old[-1], metric), _counts(new[-1], metric), tolerance)


def _exactly(figures: tuple[float, float], tolerance: float) -> Judged:
    ratio = figures[1] / figures[0]
    verdict = gate.FAIL if ratio > 1 + tolerance else gate.PASS
    return Judged(verdict, Ratio(ratio, ratio, ratio), tolerance, 0, None)


def _count_tolerance(measurement: Measurement) -> float:
    python = any(board.name == measurement.board and board.transport == "qemu-root" for board in BOARDS)
    return PYTHON_TOLERANCE if python else 0.0


def _windows(series: Series) -> list[list[float]]:
    """Return the samples of each window, per inference: queries of offline runs differ in their number of samples."""
    return [[s / item.samples_per_query for s in window] for item in series for window in item.latency_s or ()]


def _counts(measurement: Measurement, metric: str) -> tuple[int, ...]:
    value = measurement.value(metric)
    if isinstance(value, int):
        return (value,)
    return tuple(value) if isinstance(value, tuple) else ()


def _figure(series: Series, metric: str) -> float | None:
    """Return one number for people: the median of all samples or counts, per inference."""
    if metric == "latency":
        samples = [sample for window in _windows(series) for sample in window]
        return statistics.median(samples) if samples else None
    if metric == "energy":
        joules = [value for item in series for value in item.energy_j or ()]
        return statistics.median(joules) if joules else None
    counts = [count for item in series[-1:] for count in _counts(item, metric)]
    return statistics.median_high(counts) if counts else None


def to_record(report: GateReport) -> dict[str, object]:
    """Turn a report into an object that JSON can hold."""
    entries = [{**asdict(item), "verdict": item.verdict, "text": sentence(item)} for item in report.entries]
    texts: Mapping[str, object] = {"baseline": report.baseline, "candidate": report.candidate}
    return {"schema": SCHEMA, **texts, "verdict": report.verdict, "entries": entries, "notes": list(report.notes)}


def sentence(entry: Entry) -> str:
    """Say in one line what was found and, where it is not settled, what would settle it."""
    found = entry.judged
    if found is None:
        return f"not compared: {'; '.join(entry.refused)}"
    change = f"{found.ratio.value:.4f} times the baseline"
    limit = f"tolerance {100 * found.tolerance:g} %"
    if found.pairs == 0:
        return f"{change}, exact; {limit}"
    by = f" by the windows' {found.figure}" if found.figure else ""
    bounds = f"95 % bounds {found.ratio.low:.4f} and {found.ratio.high:.4f}, {found.pairs} pairs"
    text = f"{change}{by} ({bounds}); {limit}"
    if entry.disturbed:
        return (
            f"{text}. The runs did not take turns, and {', '.join(entry.disturbed)} speaks against them: gate bundles."
        )
    if found.verdict != INCONCLUSIVE:
        return text
    return f"{text}. {_advice(found)}"


def _advice(found: Judged) -> str:
    if found.more is None:
        return "It lies so close to the tolerance that more pairs are no help: change the tolerance."
    return f"About {found.more} pairs would settle it."
