"""Run folders: appended, whole or not there, resumable, strict to read; and the index that follows them."""

from __future__ import annotations

import json
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from devices import store, store_index
from devices.errors import DeviceError
from devices.store import RunWriter, begin, find_run, read_stored, resume, run_folders
from tests.measurements import measurement, steady

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)


def _begun(folder: Path, hours: int = 0, label: str = "") -> RunWriter:
    return begin(folder, "profile", "0.1.0", label, NOON + timedelta(hours=hours))


def _kept(folder: Path, hours: int = 0, **changes: object) -> Path:
    writer = _begun(folder, hours)
    writer.measurement(measurement(**changes))
    return writer.finish()


def test_a_run_comes_back_as_it_was(tmp_path: Path) -> None:
    writer = _begun(tmp_path / "runs", label="before the change")
    ours, theirs = measurement(), measurement(bundle="cd" * 32, latency_s=steady(3, 7))
    writer.measurement(ours, "a")
    writer.measurement(theirs, "b")
    writer.gate({"verdict": "pass"})
    found = read_stored(writer.finish())
    assert [(kept.side, kept.measurement) for kept in found.kept] == [("a", ours), ("b", theirs)]
    assert found.gates == ({"verdict": "pass"},)
    assert (found.command, found.version, found.label) == ("profile", "0.1.0", "before the change")
    assert found.started_at == "2026-01-02T12:00:00+00:00"


def test_doubts_are_kept_with_their_advice(tmp_path: Path) -> None:
    writer = _begun(tmp_path)
    writer.measurement(measurement(latency_s=steady(3, 2)))
    lines = (writer.finish() / store.FILE).read_text().splitlines()
    doubt = json.loads(lines[1])["doubts"][0]
    assert doubt["name"] == "TOO_FEW_SAMPLES"
    assert "Take more" in doubt["text"] + doubt.get("advice", "")


def test_an_unfinished_run_is_not_there(tmp_path: Path) -> None:
    writer = _begun(tmp_path)
    writer.measurement(measurement())
    assert run_folders(tmp_path) == ()
    with pytest.raises(DeviceError, match="is not finished"):
        read_stored(writer.folder)
    writer.finish()
    assert len(run_folders(tmp_path)) == 1
    assert not writer.folder.exists()


@pytest.mark.parametrize("lost", [0, 1, 30])
def test_a_killed_run_is_taken_up_where_its_last_whole_line_ends(tmp_path: Path, lost: int) -> None:
    writer = _begun(tmp_path)
    writer.measurement(measurement(part="first"))
    writer.measurement(measurement(part="second"))
    path = writer.folder / store.FILE
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - lost])
    again = resume(writer.folder)
    again.measurement(measurement(part="third"))
    parts = [kept.measurement.part for kept in read_stored(again.finish()).kept]
    assert parts == (["first", "second", "third"] if lost == 0 else ["first", "third"])


def test_a_run_killed_before_its_folder_got_its_name(tmp_path: Path) -> None:
    writer = _begun(tmp_path)
    writer.measurement(measurement())
    folder = writer.folder
    final = writer.finish()
    final.rename(folder)
    again = resume(folder)
    again.measurement(measurement(part="more"))
    assert len(read_stored(again.finish()).kept) == 2
    with pytest.raises(DeviceError, match="does not end in"):
        resume(final)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[:-1], "has no end"),
        (lambda lines: [], "has no beginning"),
        (lambda lines: [lines[0], *lines[2:]], "line 2 has the number 2"),
        (lambda lines: [lines[0], lines[1], *lines[1:]], "line 3 has the number 1"),
        (lambda lines: [lines[0], b'{"seq": 1, "type": "surprise"}', lines[2]], "unknown type 'surprise'"),
        (lambda lines: [lines[0].replace(b'"schema": 1', b'"schema": 9'), *lines[1:]], "schema 9"),
        (lambda lines: [*lines[:2], lines[2].replace(b'"records": 2', b'"records": 3')], "its end speaks of 3"),
        (lambda lines: [lines[0], lines[1].replace(b'"side": null', b'"side": "c"'), lines[2]], "side is 'c'"),
        (lambda lines: [lines[0], lines[1][:99], lines[2]], "not readable JSON"),
    ],
)
def test_a_damaged_run_is_refused(tmp_path: Path, change: object, message: str) -> None:
    path = _kept(tmp_path) / store.FILE
    assert callable(change)
    path.write_bytes(b"".join(line + b"\n" for line in change(path.read_bytes().splitlines())))
    with pytest.raises(DeviceError, match=message):
        read_stored(path.parent)


def test_runs_are_found_by_name_beginning_and_age(tmp_path: Path) -> None:
    one, two, three = (_kept(tmp_path, hours) for hours in (0, 1, 24))
    assert find_run(tmp_path, one.name) == one
    assert find_run(tmp_path, "20260103") == three
    assert (find_run(tmp_path, "latest"), find_run(tmp_path, "latest~2")) == (three, one)
    for name, message in (
        ("20260102", "2 runs"),
        ("x", "has no run 'x'"),
        ("latest~3", "holds 3"),
        ("latestish", "no"),
    ):
        with pytest.raises(DeviceError, match=message):
            find_run(tmp_path, name)
    assert two.exists()


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError, match="cannot make"):
        begin(tmp_path / "file" / "runs", "profile", "0")


def test_the_index_follows_the_folders(tmp_path: Path) -> None:
    first = _kept(tmp_path)
    _kept(tmp_path, 1, board="host-c", latency_s=None, cycles=(7, 9, 8), warmup=None)
    rows = store_index.rows(tmp_path)
    assert [(row.board, row.cycles) for row in rows] == [("host-ort", None), ("host-c", 8)]
    assert rows[0].median_s == pytest.approx(1e-3, rel=0.01)
    assert rows[0].run == first.name
    assert [row.board for row in store_index.rows(tmp_path, board="host-c")] == ["host-c"]
    assert len(store_index.rows(tmp_path, bundle="abab")) == 2
    assert store_index.rows(tmp_path, bundle="cd") == ()
    (first / store.FILE).unlink()
    assert [row.board for row in store_index.rows(tmp_path)] == ["host-c"]


@pytest.mark.parametrize("how", ["gone", "garbage", "empty", "other schema", "no tables"])
def test_the_index_is_made_again_from_the_folders(tmp_path: Path, how: str) -> None:
    for hours in range(3):
        _kept(tmp_path, hours)
    before = store_index.rows(tmp_path)
    path = tmp_path / store_index.FILE
    path.unlink()
    if how == "garbage":
        path.write_bytes(b"not a database" * 999)
    elif how == "empty":
        path.write_bytes(b"")
    elif how in ("other schema", "no tables"):
        with sqlite3.connect(path) as index:
            index.execute(f"PRAGMA user_version = {9 if how == 'other schema' else store_index.SCHEMA}")
        index.close()
    assert store_index.rows(tmp_path) == before
    assert store_index.rebuild(tmp_path) == 3
    assert [p.name for p in tmp_path.iterdir() if p.name.endswith(".part")] == []


def test_no_store_is_an_error_and_makes_none(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no store of runs"):
        store_index.rows(tmp_path / "none")
    assert not (tmp_path / "none").exists()
