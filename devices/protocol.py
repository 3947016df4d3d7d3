"""The lines a worker writes: one JSON object each, `seq` contiguous from 0, the last one `end` or `error`.

hello   the worker is there: protocol version, what it is, its process id
caps    the runtime it opened, and versions
warm    the part is open and warm: nanoseconds to open it, of the first inference and of the warm-up, and how many
window  the nanoseconds of every inference of one window, and when it began and ended
end     how many windows there were
error   why there is no end
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from devices import strict
from devices.errors import DeviceError

PROTOCOL = 1

Check = Callable[[Any, str], object]


def _text(value: object, where: str) -> str:
    return strict.typed(value, str, where)


#: The fields of every record, and what each must be.
RECORDS: Mapping[str, Mapping[str, Check]] = {
    "hello": {"protocol": strict.count, "runner": _text, "pid": strict.count},
    "caps": {"runtime": _text, "versions": strict.words},
    "warm": {"open_ns": strict.count, "first_ns": strict.count, "total_ns": strict.count, "runs": strict.count},
    "window": {"i": strict.count, "t0_ns": strict.count, "t1_ns": strict.count, "samples_ns": strict.counts},
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
    return kind, {key: check(body[key], f"{where}: {key}") for key, check in checks.items()}
