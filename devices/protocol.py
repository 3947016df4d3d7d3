"""The lines a runner writes: one JSON object each, `seq` contiguous from 0, the last one `end` or `error`.

hello     the runner is there: protocol version, what it is, its process id
caps      the runtime it opened, and versions
self_test how many test vectors ran on the device, how many gave the very codes expected, how many their
          top-1, and by how many steps of the output a code was off at most
warm      a part is open and warm: nanoseconds to open it, of the first query and of the warm-up, and how many queries
window    the nanoseconds of every query of one window, when it began and ended, and how many samples a query had
sensor    readings of one sensor since the last record of it: when each was taken, and the values in the sensor's unit
mark      a moment that a meter has to know, by name
progress  how much of the work is done
loadgen   what MLPerf LoadGen said of its run
end       how many windows there were
error     why there is no end

Protocol 2. The order is hello, caps, warm, windows, end. `sensor`, `mark` and `progress` may stand anywhere after caps
and are written between windows only, so that writing disturbs no inference. All times are nanoseconds of one clock,
CLOCK_MONOTONIC_RAW of the device. `side` is "a"; where two parts take turns (a gate's pairs) the baseline is "a", the
other one "b", both are warm before the first window, and `i` counts the windows of both together.

A query of single-stream has one sample, one of multi-stream eight; offline has one query a window with all its samples.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from devices import strict
from devices.errors import DeviceError

PROTOCOL = 2
#: The part that runs, or the baseline; and what is compared with it.
SIDES = ("a", "b")

Check = Callable[[Any, str], object]


def _text(value: object, where: str) -> str:
    return strict.typed(value, str, where)


def _side(value: object, where: str) -> str:
    if value not in SIDES:
        raise DeviceError(f"{where} is {value!r}; it must be one of {', '.join(SIDES)}.")
    return str(value)


def _number(value: object, where: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):  # type: ignore[arg-type]
        raise DeviceError(f"{where} is {value!r}; it must be a finite number.")
    return float(value)  # type: ignore[arg-type]


def _numbers(value: object, where: str) -> tuple[float, ...]:
    return tuple(_number(item, where) for item in strict.typed(value, list, where))


def _switch(value: object, where: str) -> bool:
    return strict.typed(value, bool, where)


#: The fields of every record, and what each must be.
RECORDS: Mapping[str, Mapping[str, Check]] = {
    "hello": {"protocol": strict.count, "runner": _text, "pid": strict.count},
    "caps": {"runtime": _text, "versions": strict.words},
    "warm": {
        "side": _side,
        "open_ns": strict.count,
        "first_ns": strict.count,
        "total_ns": strict.count,
        "runs": strict.count,
    },
    "window": {
        "i": strict.count,
        "side": _side,
        "t0_ns": strict.count,
        "t1_ns": strict.count,
        "samples_per_query": strict.count,
        "samples_ns": strict.counts,
    },
    "self_test": {
        "vectors": strict.count,
        "codes_equal": strict.count,
        "top1_equal": strict.count,
        "max_steps": strict.count,
    },
    "sensor": {"name": _text, "t_ns": strict.counts, "values": _numbers},
    "mark": {"name": _text, "t_ns": strict.count},
    "progress": {"done": strict.count, "of": strict.count},
    "loadgen": {"valid": _switch, "reasons": _text, "figures": strict.words, "version": _text},
    "end": {"windows": strict.count},
    "error": {"kind": _text, "message": _text},
}


def encode(seq: int, kind: str, record: Mapping[str, object]) -> str:
    """Return one line, checked as the reader will check it."""
    line = json.dumps({"seq": seq, "type": kind, **record}, allow_nan=False)
    decode(line, seq)
    return line + "\n"


def decode(line: str | bytes, seq: int) -> tuple[str, dict[str, Any]]:
    """Return the type and the fields of one line; lists become tuples and objects sorted pairs.

    Raises:
        DeviceError: it is damaged, of an unknown type, out of order, or a field is missing, unknown or wrong.
    """
    where = f"record {seq} of the worker"
    body = strict.parse_object(line, where)
    kind = body.get("type")
    if not isinstance(kind, str) or kind not in RECORDS:
        raise DeviceError(f"{where} has the unknown type {kind!r}.")
    checks = RECORDS[kind]
    strict.fields(body, ("seq", "type", *checks), f"{where} ({kind})")
    if type(body["seq"]) is not int or body["seq"] != seq:
        raise DeviceError(f"{where} has the number {body['seq']!r}; a record was lost or sent twice.")
    record = {key: check(body[key], f"{where}: {key}") for key, check in checks.items()}
    if kind == "sensor" and len(record["t_ns"]) != len(record["values"]):  # type: ignore[arg-type]
        raise DeviceError(f"{where} (sensor): as many values as times are needed.")
    return kind, record
