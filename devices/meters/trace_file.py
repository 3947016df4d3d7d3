"""Recorded traces in files: MLPerf Tiny's `.bin`, CSV, and this project's own JSON; read strictly, never guessed.

MLPerf Tiny (EEMBC's runner): the byte 0xF1, a little-endian float32 rate in Hz, then little-endian float32 values, each
the energy of one sample period in uJ; marks in seconds lie beside it as JSON. CSV: a header with `time_s` and one of
`power_w` and `energy_j`, and perhaps `mark`, which is not empty in the row at which a mark was made.
"""

from __future__ import annotations

import csv
import itertools
import json
import math
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np

from devices import strict
from devices.errors import DeviceError
from devices.meters.trace import Kind, Trace

SCHEMA = 1
_MAGIC = 0xF1
_HEAD_BYTES = 5
TRACE_CLOCK = "trace"

ReadBytes = Callable[[Path], bytes]


def read_bytes(path: Path) -> bytes:
    """Return a file; errors of the system are the caller's."""
    return path.read_bytes()


def read_trace(path: Path, marks: Path | None = None, read: ReadBytes = read_bytes) -> Trace:
    """Read a trace; the ending of its name says in which form it is.

    Args:
        path: `.bin` (MLPerf Tiny), `.csv` or `.json`.
        marks: JSON with a list of seconds; None: what the trace itself holds, and for a `.bin` the file of the
            same name with `-timestamps.json` for `-energy.bin`, if it is there.
        read: reads a file.

    Raises:
        DeviceError: it cannot be read, or is not what its ending says.
    """
    readers = {".bin": _read_bin, ".csv": _read_csv, ".json": _read_json}
    if path.suffix not in readers:
        raise DeviceError(f"{path}: a trace ends in {', '.join(readers)}.")
    trace = readers[path.suffix](path, _bytes(path, read))
    beside = path.with_name(path.name.replace("-energy.bin", "-timestamps.json"))
    if marks is None and path.suffix == ".bin" and beside != path and beside.exists():
        marks = beside
    if marks is None:
        return trace
    return _with_marks(trace, read_marks(marks, read))


def read_marks(path: Path, read: ReadBytes = read_bytes) -> tuple[float, ...]:
    """Read a JSON list of rising seconds.

    Raises:
        DeviceError: it cannot be read, or is none.
    """
    try:
        found = json.loads(_bytes(path, read))
    except ValueError as error:
        raise DeviceError(f"{path}: no JSON: {error}") from error
    times = strict.reals(found, f"{path}: marks")
    if any(b <= a for a, b in itertools.pairwise(times)):
        raise DeviceError(f"{path}: marks must rise.")
    return times


def write_trace(path: Path, trace: Trace) -> None:
    """Write a trace as JSON; the file appears whole or not at all."""
    values = [value if math.isfinite(value) else None for value in trace.values.tolist()]
    record = {**asdict(trace), "times_s": trace.times_s.tolist(), "values": values, "schema": SCHEMA}
    part = path.with_name(f".{path.name}.part")
    part.write_text(json.dumps(record, allow_nan=False))
    part.replace(path)


def windows_of(marks_s: tuple[float, ...], inferences: int) -> tuple[tuple[float, float, int], ...]:
    """Return the windows between pairs of marks, paired from the end: a pin may twitch once at the start.

    Raises:
        DeviceError: there are fewer than two marks.
    """
    if len(marks_s) < 2:
        raise DeviceError(f"{len(marks_s)} marks enclose no window; two make one.")
    kept = marks_s[len(marks_s) % 2 :]
    return tuple((begin, end, inferences) for begin, end in zip(kept[::2], kept[1::2], strict=True))


def _bytes(path: Path, read: ReadBytes) -> bytes:
    try:
        return read(path)
    except PermissionError as error:
        raise DeviceError(f"{path} cannot be read: permission denied.") from error
    except OSError as error:
        raise DeviceError(f"{path} cannot be read: {error.strerror or error}.") from error


def _with_marks(trace: Trace, marks_s: tuple[float, ...]) -> Trace:
    return Trace(**{**{f.name: getattr(trace, f.name) for f in fields(Trace)}, "marks_s": marks_s})


def _read_bin(path: Path, data: bytes) -> Trace:
    if len(data) < _HEAD_BYTES or data[0] != _MAGIC:
        raise DeviceError(f"{path}: no energy trace of MLPerf Tiny: it does not begin with 0xF1 and a rate.")
    if (len(data) - _HEAD_BYTES) % 4:
        raise DeviceError(f"{path}: {len(data)} bytes end within a sample; the file is cut off.")
    rate = float(np.frombuffer(data, "<f4", 1, 1)[0])
    if not (math.isfinite(rate) and rate > 0):
        raise DeviceError(f"{path}: a rate of {rate} Hz.")
    joules = np.frombuffer(data, "<f4", -1, _HEAD_BYTES).astype(np.float64) * 1e-6
    times = np.arange(1, len(joules) + 1, dtype=np.float64) / rate
    return Trace("energy", path.stem, times, joules, clock=TRACE_CLOCK)


def _read_csv(path: Path, data: bytes) -> Trace:
    try:
        rows = list(csv.DictReader(data.decode().splitlines()))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DeviceError(f"{path}: no CSV: {error}.") from error
    columns = set(rows[0]) if rows else set()
    kinds: dict[str, Kind] = {"power_w": "power", "energy_j": "energy"}
    values = [name for name in kinds if name in columns]
    if "time_s" not in columns or len(values) != 1:
        raise DeviceError(f"{path}: a CSV trace has a header with time_s and one of power_w and energy_j, and rows.")
    times = np.array([_number(row["time_s"], path, at) for at, row in enumerate(rows, 2)])
    found = np.array([_number(row[values[0]], path, at) for at, row in enumerate(rows, 2)])
    marks = tuple(float(time) for time, row in zip(times, rows, strict=True) if (row.get("mark") or "").strip())
    return Trace(kinds[values[0]], path.stem, times, found, marks_s=marks, clock=TRACE_CLOCK)


def _number(text: str | None, path: Path, line: int) -> float:
    try:
        return float(text or "")
    except ValueError:
        raise DeviceError(f"{path}: line {line} holds '{text}' where a number belongs.") from None


def _value(value: object, path: Path) -> float:
    """Return a sample; null stands for one that was lost."""
    return math.nan if value is None else strict.typed(value, float, f"{path}: values")


def _read_json(path: Path, data: bytes) -> Trace:
    names = tuple(f.name for f in fields(Trace))
    body = strict.fields(strict.parse_object(data, str(path)), ("schema", *names), str(path))
    if body["schema"] != SCHEMA:
        raise DeviceError(f"{path}: trace schema {body['schema']!r}; this version reads {SCHEMA}.")
    return Trace(
        kind=body["kind"],
        channel=strict.typed(body["channel"], str, f"{path}: channel"),
        times_s=np.array(strict.reals(body["times_s"], f"{path}: times_s")),
        values=np.array([_value(v, path) for v in strict.typed(body["values"], list, f"{path}: values")]),
        marks_s=strict.reals(body["marks_s"], f"{path}: marks_s"),
        clock=strict.typed(body["clock"], str, f"{path}: clock"),
        damaged=strict.counts(body["damaged"], f"{path}: damaged"),
        rails=tuple(
            strict.typed(r, str, f"{path}: rails") for r in strict.typed(body["rails"], list, f"{path}: rails")
        ),
        trouble=strict.typed(body["trouble"], str, f"{path}: trouble"),
        begin_s=strict.optional(body["begin_s"], float, f"{path}: begin_s"),
    )
