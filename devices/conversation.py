"""The records of one runner as they arrive: their order, whether they are all there, and what they amount to.

Whoever brings the lines (a pipe, a file fetched from a board) gives them to `Log.add` one by one and asks `found` at
the end.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from devices.errors import DeviceError
from devices.found import Found
from devices.measurement import LoadgenVerdict, Warmup
from devices.plan import Plan
from devices.protocol import PROTOCOL, SIDES, decode

#: May stand anywhere once the runner has said what it can do.
_ANYWHERE = ("sensor", "mark", "progress", "self_test")
_AFTER = {
    None: ("hello",),
    "hello": ("caps",),
    "caps": ("warm",),
    "warm": ("warm", "window"),
    "window": ("window", "loadgen", "end"),
    "loadgen": ("end",),
}


@dataclass(slots=True)
class Log:
    """The records of one runner, in order; the last one in the order of `_AFTER`, and how many windows there were."""

    records: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    last: str | None = None
    windows: int = 0

    def of(self, kind: str, side: str | None = None) -> list[dict[str, Any]]:
        """Return the fields of every record of one type, of one side where that is given."""
        return [r for found, r in self.records if found == kind and (side is None or r["side"] == side)]

    def is_warm(self, side: str) -> bool:
        """Whether a part of this side was warm; such records stand near the beginning."""
        return any(kind == "warm" and record["side"] == side for kind, record in self.records)

    def add(self, line: str | bytes, who: str) -> str:
        """Read the next line; return its type.

        Args:
            line: one line of JSON.
            who: the board, for messages.

        Raises:
            DeviceError: the runner reports an error, or the line is no record, or not one that may come now.
        """
        kind, record = decode(line, len(self.records))
        if kind == "error":
            raise DeviceError(f"{who}: {record['message']}")
        _check_order(self, kind, record)
        self.records.append((kind, record))
        self.last = self.last if kind in _ANYWHERE else kind
        self.windows += kind == "window"
        return kind


def _check_order(log: Log, kind: str, record: dict[str, Any]) -> None:
    last = log.last
    if kind in _ANYWHERE:
        if last in (None, "hello", "end"):
            raise DeviceError(f"the worker sent '{kind}' after '{last}'.")
        return
    if kind not in _AFTER.get(last, ()):
        raise DeviceError(f"the worker sent '{kind}' after '{last}'.")
    if kind == "hello" and record["protocol"] != PROTOCOL:
        raise DeviceError(f"the worker speaks protocol {record['protocol']}; this version speaks {PROTOCOL}.")
    if kind == "warm" and record["side"] != SIDES[min(len(log.of("warm")), len(SIDES) - 1)]:
        raise DeviceError(f"the worker's 'warm' record is of side '{record['side']}', out of order.")
    _check_window(log, kind, record)


def _check_window(log: Log, kind: str, record: dict[str, Any]) -> None:
    windows = log.windows
    if (kind == "window" and record["i"] != windows) or (kind == "end" and record["windows"] != windows):
        raise DeviceError(f"the worker's '{kind}' record does not fit the {windows} windows it sent before.")
    if kind == "window" and not (record["samples_ns"] and record["samples_per_query"] > 0):
        raise DeviceError(f"window {windows} of the worker holds no samples.")
    if kind == "window" and not log.is_warm(record["side"]):
        raise DeviceError(f"window {windows} of the worker is of side '{record['side']}', which was never warm.")


def found(plan: Plan, log: Log, source: str, side: str = SIDES[0]) -> Found:
    """Return what a whole conversation gave for one side.

    Raises:
        DeviceError: the number of windows is not the plan's, LoadGen said nothing, or queries changed their size.
    """
    windows = log.of("window", side)
    few, many = len(windows) < plan.windows, len(windows) > plan.windows
    if not windows or ((few or (many and not plan.complete)) and not plan.loadgen):
        raise DeviceError(f"the worker ran {len(windows)} windows; the plan asks for {plan.windows}.")
    sizes = {window["samples_per_query"] for window in windows}
    if len(sizes) != 1:
        raise DeviceError(f"queries of the worker had {sorted(sizes)} samples; one number was asked for.")
    verdicts = log.of("loadgen")
    if len(verdicts) != plan.loadgen:
        raise DeviceError(f"the worker sent {len(verdicts)} records of LoadGen; the plan asks for {int(plan.loadgen)}.")
    warm = log.of("warm", side)[0]
    return Found(
        source=source,
        versions=log.of("caps")[0]["versions"],
        warmup=Warmup(warm["open_ns"] / 1e9, warm["first_ns"] / 1e9, warm["total_ns"] / 1e9, warm["runs"]),
        latency_s=tuple(tuple(ns / 1e9 for ns in window["samples_ns"]) for window in windows),
        samples_per_query=sizes.pop(),
        loadgen=LoadgenVerdict(**verdicts[0]) if verdicts else None,
        windows_ns=() if _thinned(log) else tuple((window["t0_ns"], window["t1_ns"]) for window in windows),
    )


def _thinned(log: Log) -> bool:
    """Whether LoadGen put more queries than were kept, so that nobody can say how many a window had."""
    kept = str(sum(len(window["samples_ns"]) for window in log.of("window")))
    return any(dict(said["figures"]).get("result_query_count", kept) != kept for said in log.of("loadgen"))
