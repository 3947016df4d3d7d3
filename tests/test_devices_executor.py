"""Jobs as plain data, what they occupy, lab files, and what is kept of them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from devices.errors import DeviceError
from devices.executor import job as jobs
from devices.executor.executor import find_executor
from devices.executor.job import Outcome
from devices.executor.journal import FOLDER, open_journal
from devices.executor.lab import read_lab
from devices.executor.needs import MACHINE, board_key, capacity, needs, startable
from devices.executor.sweep import plan_sweep
from devices.store import FILE, begin, run_folders
from tests.embedded import bundle, spec
from tests.jobs import job
from tests.measurements import measurement


def test_a_job_and_an_outcome_come_back():
    asked = job(inventory="/somewhere/boards.toml")
    assert jobs.job_from_json(jobs.to_json(asked)) == asked
    done = Outcome((measurement(), measurement(board="host-c")))
    assert jobs.outcome_from_json(jobs.outcome_to_json(done)) == done
    failed = Outcome(reason="no power")
    assert jobs.outcome_from_json(jobs.outcome_to_json(failed)) == failed
    assert done.done and not failed.done


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda r: r.pop("board"), "board"),
        (lambda r: r.update(extra=1), "extra"),
        (lambda r: r.update(windows="3"), "windows"),
        (lambda r: r.update(schema=9), "schema 9"),
    ],
)
def test_a_job_that_is_none(change, says):
    record = json.loads(jobs.to_json(job()))
    change(record)
    with pytest.raises(DeviceError, match=says):
        jobs.job_from_json(json.dumps(record))


def test_an_outcome_is_one_of_two():
    for wrong in ({}, {"measurements": (measurement(),), "reason": "and yet"}):
        with pytest.raises(DeviceError, match="one of both"):
            Outcome(**wrong)


def test_an_id_says_what_is_asked_for_and_nothing_else():
    asked = job()
    assert asked.id == job().id and len(asked.id) == 16
    assert replace(asked, bundle="/elsewhere/b", name="c", inventory="/x").id == asked.id
    for change in (
        {"digest": "00" * 32},
        {"board": "host-c"},
        {"scenario": "offline"},
        {"windows": 4},
        {"window_s": 0.02},
        {"warmup_s": 0.1},
        {"images": 2},
        {"complete": True},
    ):
        assert replace(asked, **change).id != asked.id


def test_what_jobs_occupy():
    assert needs(job(), 4) == {"board-null": 1, MACHINE: 1}
    assert needs(job(board="host-c", transport="local"), 4) == {"board-host-c": 1, MACHINE: 4}
    assert needs(job(board="pi", transport="ssh"), 4) == {"board-pi": 1}
    assert needs(job(board="nucleo", transport="serial"), 4) == {"board-nucleo": 1}


def test_latency_of_this_machine_is_measured_alone():
    here, other, far = (
        job("a", "host-c", "local"),
        job("b", "mps2-an386", "qemu-system"),
        job("c", "pi", "ssh"),
    )
    free = capacity({"host-c": 1, "mps2-an386": 1, "pi": 1}, 2)
    assert startable([here, other, far], free, 2) == here
    busy = {**free, MACHINE: 1, board_key("mps2-an386"): 0}
    assert startable([here, other, far], busy, 2) == far
    # A job that needs the whole machine is not overtaken for ever by small ones.
    assert startable([here, other], {**free, MACHINE: 1}, 2) is None
    assert startable([other, here], {**free, MACHINE: 1}, 2) == other


def test_executors_by_name():
    assert find_executor("local").machine >= 1  # type: ignore[attr-defined]
    assert find_executor("dask://head:8786").address == "tcp://head:8786"  # type: ignore[attr-defined]
    assert find_executor("tls://head:8786").address == "tls://head:8786"  # type: ignore[attr-defined]
    for wrong in ("dask", "ray://head:1", "dask://", "Local"):
        with pytest.raises(DeviceError, match="write local, dask://HOST:8786"):
            find_executor(wrong)


LAB = 'bundles = ["b*"]\nboards = ["null", "mps2-an386"]\n'


def lab_file(folder, text=LAB):
    folder.mkdir(exist_ok=True)
    (folder / "lab.toml").write_text(text)
    return folder / "lab.toml"


def test_a_lab_file(tmp_path):
    for name in ("b2", "b1", ".b3.tmp"):
        (tmp_path / name).mkdir()
    text = (
        LAB
        + 'name = "nightly"\nscenarios = ["offline"]\ninventory = "mine.toml"\n'
        + "[plan]\nwindow_s = 1\n[slots]\nnull = 3\n"
    )
    lab = read_lab(lab_file(tmp_path, text))
    assert (lab.name, lab.scenarios, lab.inventory) == ("nightly", ("offline",), tmp_path / "mine.toml")
    assert [path.name for path in lab.bundles] == ["b1", "b2"]
    assert lab.plan == {"windows": 10, "window_s": 1.0, "warmup_s": 0.3, "images": 2, "complete": False}
    assert lab.slots == {"null": 3}
    assert read_lab(lab_file(tmp_path)).scenarios == ("single-stream",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("bundles = [", "cannot be read"),
        ('boards = ["null"]', "'bundles' is missing"),
        (LAB + "board = 1", "the key 'board' is unknown. Did you mean 'boards'?"),
        ('bundles = "b"\nboards = ["null"]', "bundles must be a list of texts"),
        ('bundles = ["c*"]\nboards = ["null"]', "'c*' names no folder"),
        ('bundles = ["b1"]\nboards = ["null", "null"]', "names 'null' twice"),
        ('bundles = ["b1"]\nboards = []', "boards must be a list"),
        (LAB + 'scenarios = ["single-steam"]', "single-stream"),
        (LAB + "name = 3", "name is 3"),
        (LAB + "inventory = 3", "inventory is 3"),
        (LAB + "plan = 3", "write [plan]"),
        (LAB + "[plan]\nwindow = 3", "'window' is unknown"),
        (LAB + "[plan]\nwindows = 1.5", "windows is 1.5"),
        (LAB + "[plan]\nwindows = true", "windows is True"),
        (LAB + "slots = 3", "write [slots]"),
        (LAB + "[slots]\nnul = 1", "'nul' is unknown. Did you mean 'null'?"),
        (LAB + "[slots]\nnull = 0", "from 1 to"),
    ],
)
def test_a_lab_file_that_is_wrong(tmp_path, text, says):
    (tmp_path / "b1").mkdir()
    with pytest.raises(DeviceError) as caught:
        read_lab(lab_file(tmp_path, text))
    assert says in str(caught.value)
    assert "lab.toml" in str(caught.value) or "scenario" in str(caught.value)


def test_the_jobs_of_a_lab(tmp_path):
    for seed in (2, 5):
        bundle(tmp_path / f"b{seed}", spec(seed=seed))
    text = LAB.replace('"null"', '"null", "host-ort"') + 'scenarios = ["single-stream", "offline"]\n'
    sweep = plan_sweep(read_lab(lab_file(tmp_path, text)))
    pairs = [(j.name, j.board, j.scenario) for j in sweep.jobs]
    # An emulator counts the same in every scenario.
    assert pairs == [
        (name, board, scenario)
        for name in ("b2", "b5")
        for board, scenario in (("null", "single-stream"), ("null", "offline"), ("mps2-an386", "single-stream"))
    ]
    assert len({j.id for j in sweep.jobs}) == 6
    assert sweep.slots == {"null": 1, "host-ort": 1, "mps2-an386": 1}
    assert sweep.left_out == tuple(f"{name} is for arm-m; host-ort runs host" for name in ("b2", "b5"))
    again = plan_sweep(read_lab(lab_file(tmp_path, text)))
    assert [j.id for j in again.jobs] == [j.id for j in sweep.jobs]


def test_boards_of_the_inventory_in_a_lab(tmp_path):
    bundle(tmp_path / "b", spec())
    (tmp_path / "mine.toml").write_text(
        '[boards.shed]\nextends = "host-c"\nuri = "local://"\ntriple = "x86_64-linux-gnu"\nslots = 3\n'
        '[boards.nucleo]\nuri = "serial:///dev/ttyACM0"\n'
    )
    text = 'bundles = ["b"]\nboards = ["shed", "nucleo"]\ninventory = "mine.toml"\n'
    sweep = plan_sweep(read_lab(lab_file(tmp_path, text)))
    assert [(j.board, j.transport, j.inventory) for j in sweep.jobs] == [
        ("shed", "shell", str(tmp_path / "mine.toml")),
        ("nucleo", "serial", str(tmp_path / "mine.toml")),
    ]
    assert sweep.slots == {"shed": 3, "nucleo": 1}
    assert plan_sweep(read_lab(lab_file(tmp_path, text + "[slots]\nshed = 2"))).slots["shed"] == 2


def test_labs_without_jobs_and_with_twins(tmp_path):
    made = bundle(tmp_path / "b2", spec())
    with pytest.raises(DeviceError, match="no board of 'lab' runs any of its bundles: b2 is for arm-m"):
        plan_sweep(read_lab(lab_file(tmp_path, 'bundles = ["b2"]\nboards = ["host-ort"]')))
    with pytest.raises(DeviceError, match="'nul'"):
        plan_sweep(read_lab(lab_file(tmp_path, 'bundles = ["b2"]\nboards = ["nul"]')))
    made.path.rename(tmp_path / "b9")
    bundle(tmp_path / "b2", spec())
    with pytest.raises(DeviceError, match="hold the same bundle"):
        plan_sweep(read_lab(lab_file(tmp_path)))


def test_a_finished_job_is_kept_once(tmp_path):
    journal, asked = open_journal(tmp_path), job()
    assert journal.keep(asked, Outcome((measurement(), measurement(part="tail"))), "night") is None
    assert journal.keep(asked, Outcome((measurement(),)), "night") is None
    again = open_journal(tmp_path)
    assert [found.part for found in again.measurements(asked)] == ["model", "tail"]
    assert list(again.runs) == [asked.id] and len(run_folders(tmp_path)) == 1


def test_failures_are_counted_until_the_job_is_finished(tmp_path):
    journal, asked = open_journal(tmp_path), job()
    assert journal.failure(asked) is None
    for tries in (1, 2):
        failure = open_journal(tmp_path).keep(asked, Outcome(reason=f"no power {tries}"), "night")
        assert failure == open_journal(tmp_path).failure(asked)
        assert failure is not None and (failure.reason, failure.tries) == (f"no power {tries}", tries)
    journal.keep(asked, Outcome((measurement(),)), "night")
    assert journal.failure(asked) is None and not list((tmp_path / FOLDER).iterdir())
    assert journal.keep(asked, Outcome(reason="too late"), "night") is None


def test_what_a_killed_run_left_is_removed_and_other_runs_stay(tmp_path):
    ours = begin(tmp_path, "lab", "1", f"night job {job().id}")
    ours.measurement(measurement())
    other = begin(tmp_path, "gate", "1", "a against b")
    empty = begin(tmp_path, "lab", "1", f"night job {job('c').id}")
    (empty.folder / FILE).write_bytes(b'{"seq": 0, "ty')
    assert open_journal(tmp_path, tidy=True).runs == {}
    assert not ours.folder.exists() and other.folder.exists()
    done = begin(tmp_path, "profile", "1", f"job {job().id}")
    done.measurement(measurement())
    done.finish()
    assert open_journal(tmp_path).runs == {}


def test_a_failure_that_is_damaged_is_named(tmp_path):
    journal, asked = open_journal(tmp_path), job()
    journal.keep(asked, Outcome(reason="no power"), "night")
    (path,) = (tmp_path / FOLDER).iterdir()
    path.rename(path.with_name(f"{job('c').id}.json"))
    with pytest.raises(DeviceError, match="was renamed or changed"):
        journal.failure(job("c"))
    path.write_text('{"schema": 1}')
    with pytest.raises(DeviceError, match=path.name):
        journal.failure(asked)
