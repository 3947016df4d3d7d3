"""An SQLite index over the run folders of a store, for lists and searches. The folders are the truth.

It is brought up to date before every question, and made again when it is damaged, of another schema, or asked for.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from devices.errors import DeviceError
from devices.measurement import Measurement
from devices.stats import percentile
from devices.store import StoredRun, read_stored, run_folders

FILE = "index.sqlite"
#: Also SQLite's user_version: an index of another one is made again.
SCHEMA = 1
_TABLES = """
CREATE TABLE runs (
    run TEXT PRIMARY KEY, started_at TEXT NOT NULL, version TEXT NOT NULL, command TEXT NOT NULL, label TEXT NOT NULL);
CREATE TABLE measurements (
    run TEXT NOT NULL REFERENCES runs (run), number INTEGER NOT NULL, side TEXT, bundle TEXT NOT NULL,
    part TEXT NOT NULL, target TEXT NOT NULL, board TEXT NOT NULL, runtime TEXT NOT NULL, scenario TEXT NOT NULL,
    method TEXT NOT NULL, median_s REAL, p90_s REAL, throughput_per_s REAL, instructions INTEGER, cycles INTEGER,
    energy_j REAL,
    PRIMARY KEY (run, number));
CREATE INDEX by_board ON measurements (board, bundle);
"""
#: How long to wait for another process that writes the index, in seconds.
_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Row:
    """One measurement in the list: medians of its samples, None where it has none."""

    run: str
    number: int
    side: str | None
    bundle: str
    part: str
    target: str
    board: str
    runtime: str
    scenario: str
    method: str
    median_s: float | None
    p90_s: float | None
    throughput_per_s: float | None
    instructions: int | None
    cycles: int | None
    energy_j: float | None


_COLUMNS = tuple(field.name for field in fields(Row))


def rows(store: Path, *, board: str | None = None, bundle: str | None = None) -> tuple[Row, ...]:
    """Return the measurements of a store, the oldest run first.

    Args:
        store: the folder of all runs.
        board: only of this board.
        bundle: only of bundles whose digest begins so.

    Raises:
        DeviceError: a run is damaged, or the index cannot be written.
    """
    if not store.is_dir():
        raise DeviceError(
            f"{store} is no store of runs. Make one: edgemill profile BUNDLE --board BOARD --store {store}"
        )
    update(store)
    where = "WHERE (?1 IS NULL OR board = ?1) AND (?2 IS NULL OR substr(bundle, 1, length(?2)) = ?2)"
    with _opened(store / FILE) as index:
        found = index.execute(
            f"SELECT {', '.join(_COLUMNS)} FROM measurements {where} ORDER BY run, number", (board, bundle)
        )
        return tuple(Row(*values) for values in found)


def update(store: Path) -> None:
    """Bring the index up to date with the folders; make it again where it cannot be used."""
    try:
        with _opened(store / FILE) as index:
            if index.execute("PRAGMA user_version").fetchone()[0] == SCHEMA:
                _update(index, store)
                return
    except sqlite3.DatabaseError:
        pass  # damaged or empty: the folders hold everything
    rebuild(store)


def rebuild(store: Path) -> int:
    """Make the index from the folders; return the number of runs. The old index stays until the new one is whole."""
    fresh = store / f"{FILE}.{os.getpid()}{os.urandom(4).hex()}.part"
    try:
        with _opened(fresh) as index:
            index.executescript(_TABLES)
            index.execute(f"PRAGMA user_version = {SCHEMA}")
            _update(index, store)
            count: int = index.execute("SELECT count(*) FROM runs").fetchone()[0]
        fresh.replace(store / FILE)
    except (OSError, sqlite3.Error) as error:
        raise DeviceError(f"cannot write the index {store / FILE}: {error}") from error
    finally:
        fresh.unlink(missing_ok=True)
    return count


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path, timeout=_PATIENCE_S)) as index, index:
        yield index


def _update(index: sqlite3.Connection, store: Path) -> None:
    folders = {folder.name: folder for folder in run_folders(store)}
    known = {name for (name,) in index.execute("SELECT run FROM runs")}
    for name in known - folders.keys():
        index.execute("DELETE FROM measurements WHERE run = ?", (name,))
        index.execute("DELETE FROM runs WHERE run = ?", (name,))
    for name in sorted(folders.keys() - known):
        _insert(index, read_stored(folders[name]))


def _insert(index: sqlite3.Connection, run: StoredRun) -> None:
    index.execute(
        "INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?)",
        (run.name, run.started_at, run.version, run.command, run.label),
    )
    marks = ", ".join("?" * len(_COLUMNS))
    for number, kept in enumerate(run.kept):
        values = (run.name, number, kept.side, *_values(kept.measurement))
        index.execute(f"INSERT OR REPLACE INTO measurements ({', '.join(_COLUMNS)}) VALUES ({marks})", values)


def _values(found: Measurement) -> tuple[object, ...]:
    samples = found.samples_s
    return (
        *(found.bundle, found.part, found.target, found.board, found.runtime, found.scenario, found.method),
        statistics.median(samples) if samples else None,
        percentile(samples, 0.9).value,
        found.throughput_per_s,
        *(statistics.median_low(counts) if counts else None for counts in (found.instructions, found.cycles)),
        statistics.median(found.energy_j) if found.energy_j else None,
    )
