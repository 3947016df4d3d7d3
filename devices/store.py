"""Kept runs: a folder each, whose `run.jsonl` holds what was measured, line by line.

The lines are the truth: appended one by one and synced, `seq` contiguous from 0, the last one `end`. A run that is not
finished lives in a folder whose name ends in `.part`; finishing renames it, so that a run is there whole or not at all,
and a run that was killed can be taken up again. Nothing is ever changed afterwards. `store_index` finds runs quickly
and can be made again from the folders.

run          version, when it began, the command, and a label
measurement  one measurement, and its side where two parts took turns: "a" the baseline, "b" the other one
gate         what a gate said
end          how many records came before
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devices import strict
from devices.doubts import doubts
from devices.errors import DeviceError
from devices.measurement import Measurement
from devices.measurement_record import from_record, to_record
from devices.protocol import SIDES

SCHEMA = 1
FILE = "run.jsonl"
PART = ".part"
_KINDS: Mapping[str, tuple[str, ...]] = {
    "run": ("schema", "version", "started_at", "command", "label"),
    "measurement": ("side", "value", "doubts"),
    "gate": ("value",),
    "end": ("records",),
}


@dataclass(frozen=True, slots=True)
class Kept:
    """One measurement of a run, with its side where two parts took turns, else None."""

    side: str | None
    measurement: Measurement


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run as it was read. `gates` are JSON objects as `devices.gate_report` writes them."""

    name: str
    version: str
    started_at: str
    command: str
    label: str
    kept: tuple[Kept, ...]
    gates: tuple[dict[str, Any], ...]


@dataclass(slots=True)
class RunWriter:
    """Appends to a run that is not finished. `folder` ends in `.part` until `finish`."""

    folder: Path
    seq: int = field(default=0)

    def measurement(self, found: Measurement, side: str | None = None) -> None:
        """Append a measurement with the doubts about it."""
        about = [asdict(doubt) for doubt in doubts(found)]
        self._append("measurement", {"side": side, "value": to_record(found), "doubts": about})

    def gate(self, value: Mapping[str, object]) -> None:
        """Append what a gate said."""
        self._append("gate", {"value": dict(value)})

    def finish(self) -> Path:
        """Append the end and give the folder its name; return it.

        Raises:
            DeviceError: the store cannot be written, or a run of this name is there already.
        """
        self._append("end", {"records": self.seq})
        final = self.folder.with_name(self.folder.name.removesuffix(PART))
        if final.exists():
            raise DeviceError(f"{final} is there already; the run is kept in {self.folder}.")
        self.folder.rename(final)
        _sync(final.parent)
        return final

    def _append(self, kind: str, record: Mapping[str, object]) -> None:
        line = json.dumps({"seq": self.seq, "type": kind, **record}, sort_keys=True, allow_nan=False)
        try:
            with (self.folder / FILE).open("ab") as stream:
                stream.write(line.encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise DeviceError(f"cannot write {self.folder / FILE}: {error.strerror}.") from error
        self.seq += 1


def begin(store: Path, command: str, version: str, label: str = "", now: datetime | None = None) -> RunWriter:
    """Begin a run in a store, which is made where it is not there.

    Args:
        store: the folder of all runs.
        command: what makes it, such as "profile".
        version: of edgemill.
        label: a person's own words.
        now: when it began; tests give it.

    Raises:
        DeviceError: the store cannot be written.
    """
    started = (now or datetime.now(UTC)).astimezone(UTC)
    name = f"{started:%Y%m%dT%H%M%S}{started.microsecond // 1000:03d}Z-{secrets.token_hex(4)}"
    folder = store / f"{name}{PART}"
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise DeviceError(f"cannot make {folder}: {error.strerror}.") from error
    writer = RunWriter(folder)
    head = {"schema": SCHEMA, "version": version, "started_at": started.isoformat(timespec="seconds")}
    writer._append("run", {**head, "command": command, "label": label})
    return writer


def resume(folder: Path) -> RunWriter:
    """Take up a run that was not finished; a last line that was cut off is taken away.

    Raises:
        DeviceError: it is no such run, or a line before the last one is damaged.
    """
    if not folder.name.endswith(PART):
        raise DeviceError(f"{folder} is no run that was not finished: its name does not end in {PART}.")
    path = folder / FILE
    whole = _bytes(path)
    kept = whole[: whole.rfind(b"\n") + 1]
    records = _records(kept, str(path))
    if not records or records[0][0] != "run":
        raise DeviceError(f"{path}: the run has no beginning. Remove the folder.")
    if records[-1][0] == "end":  # it was killed just before its folder got its name
        kept = kept[: kept[:-1].rfind(b"\n") + 1]
        records = records[:-1]
    if kept != whole:
        os.truncate(path, len(kept))
    return RunWriter(folder, len(records))


def read_stored(folder: Path) -> StoredRun:
    """Read a finished run.

    Raises:
        DeviceError: there is none, it is not finished, or a line is damaged; names the line.
    """
    path = folder / FILE
    if folder.name.endswith(PART):
        raise DeviceError(f"{folder} is not finished.")
    records = _records(_bytes(path), str(path))
    if not records or records[0][0] != "run" or records[-1][0] != "end":
        raise DeviceError(f"{path}: the run has no {'beginning' if not records else 'end'}; it was cut off.")
    if records[-1][1]["records"] != len(records) - 1:
        raise DeviceError(f"{path}: {len(records) - 1} records; its end speaks of {records[-1][1]['records']!r}.")
    head = records[0][1]
    if head["schema"] != SCHEMA:
        raise DeviceError(f"{path}: run schema {head['schema']!r}; this version reads {SCHEMA}.")
    texts = {key: strict.typed(head[key], str, f"{path}: {key}") for key in _KINDS["run"][1:]}
    body = records[1:-1]
    return StoredRun(
        name=folder.name,
        kept=tuple(_kept(r, f"{path}, line {i + 2}") for i, (kind, r) in enumerate(body) if kind == "measurement"),
        gates=tuple(strict.typed(r["value"], dict, f"{path}: gate") for kind, r in body if kind == "gate"),
        **texts,
    )


def run_folders(store: Path) -> tuple[Path, ...]:
    """Return the folders of finished runs, the oldest first; empty where there is no store."""
    if not store.is_dir():
        return ()
    return tuple(sorted(p for p in store.iterdir() if (p / FILE).is_file() and not p.name.endswith(PART)))


def find_run(store: Path, name: str) -> Path:
    """Return the folder of a run: its name, a beginning that only one has, `latest`, or `latest~1` for the one before.

    Raises:
        DeviceError: there is none, or several begin like this.
    """
    folders = run_folders(store)
    if name == "latest" or name.startswith("latest~"):
        back = name.removeprefix("latest").removeprefix("~") or "0"
        if back.isdigit() and int(back) < len(folders):
            return folders[-1 - int(back)]
        raise DeviceError(f"{store} has no run '{name}'; it holds {len(folders)}.")
    found = [folder for folder in folders if folder.name.startswith(name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise DeviceError(f"{len(found)} runs in {store} begin with '{name}': {', '.join(f.name for f in found[:5])}.")
    raise DeviceError(f"{store} has no run '{name}'. List them: edgemill runs --store {store}")


def _kept(record: dict[str, Any], where: str) -> Kept:
    if record["side"] is not None and record["side"] not in SIDES:
        raise DeviceError(f"{where}: side is {record['side']!r}; it is null or one of {', '.join(SIDES)}.")
    return Kept(record["side"], from_record(record["value"], where))


def _records(text: bytes, where: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for number, line in enumerate(text.splitlines()):
        at = f"{where}, line {number + 1}"
        body = strict.parse_object(line, at)
        kind = body.get("type")
        if not isinstance(kind, str) or kind not in _KINDS:
            raise DeviceError(f"{at} has the unknown type {kind!r}.")
        strict.fields(body, ("seq", "type", *_KINDS[kind]), at)
        if body["seq"] != number:
            raise DeviceError(f"{at} has the number {body['seq']!r}; a line was lost or written twice.")
        found.append((kind, body))
    return found


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DeviceError(f"cannot read {path}: {error.strerror}.") from error


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
