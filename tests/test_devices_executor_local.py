"""The local executor: slots, failures, killing and stopping it in the middle, real jobs on three kinds of boards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from devices.boards import find_board
from devices.executor.journal import open_journal
from devices.executor.lab import read_lab
from devices.executor.local import LocalExecutor
from devices.executor.sweep import plan_sweep, run_sweep
from devices.runtimes import missing
from devices.store import run_folders
from tests.embedded import bundle, spec
from tests.house import ROOT
from tests.jobs import collected, fake, job, started

#: What is waited for takes so long at most, in seconds; nothing takes that long on an idle machine.
PATIENCE_S = 60.0


def wait_for(what, reason: str) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < end, reason
        time.sleep(0.01)


def test_slots_are_kept(tmp_path):
    jobs = [job(f"n{i}") for i in range(4)] + [job(f"m{i}", "mps2-an386", "qemu-system") for i in range(4)]
    jobs += [job(f"h{i}", "host-c", "local") for i in range(2)]
    found = collected(LocalExecutor(4, fake(tmp_path)), jobs, {"null": 1, "mps2-an386": 2, "host-c": 1})
    assert sorted(name for name, _ in found) == sorted(j.name for j in jobs)
    assert all(outcome.done for _, outcome in found)
    most: Counter[str] = Counter()
    for path in (tmp_path / "started").iterdir():
        board, beside = path.name.split(".")[1], json.loads(path.read_text())
        most[board] = max(most[board], beside.count(board))
        assert board != "host-c" or beside == ["host-c"], "something ran beside a measurement of latency"
    assert most == {"null": 1, "mps2-an386": 2, "host-c": 1}


def test_jobs_that_fail_do_not_stop_the_others(tmp_path):
    (tmp_path / "die.b").touch()
    found = dict(collected(LocalExecutor(2, fake(tmp_path)), [job(n) for n in "abc"], {"null": 2}))
    assert found["b"].reason == "the job's process was killed by SIGABRT: Segmentation fault, made up"
    assert found["a"].done and found["c"].done
    (only,) = collected(LocalExecutor(1, ("/nowhere/python",)), [job()], {"null": 1})
    assert "cannot be started" in str(only[1].reason)
    (only,) = collected(LocalExecutor(1, ("/bin/true",)), [job()], {"null": 1})
    assert only[1].reason == "the job's process failed with exit code 0: it wrote nothing to stderr."
    (only,) = collected(LocalExecutor(1, fake(tmp_path)), [job(board="pi")], {"null": 1})
    assert "board 'pi' has no slot" in str(only[1].reason)


PROGRAM = """
import sys
from pathlib import Path
from devices.executor.journal import open_journal
from devices.executor.lab import read_lab
from devices.executor.local import LocalExecutor
from devices.executor.sweep import plan_sweep, run_sweep
from tests.jobs import fake

lab = read_lab(Path(sys.argv[1]))
store, folder = Path(sys.argv[2]), Path(sys.argv[3])
journal = open_journal(store, tidy=True)
try:
    swept = run_sweep(plan_sweep(lab), lab, LocalExecutor(2, fake(folder)), journal, lambda text: None)
except KeyboardInterrupt:
    sys.exit(130)
print(len(swept.before), len(swept.finished), len(swept.failed))
"""


def sweeping(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that sweeps the lab in tmp_path with made-up jobs."""
    words = [str(tmp_path / name) for name in ("lab.toml", "store", "traces")]
    command = [sys.executable, "-c", PROGRAM, *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True)


@pytest.fixture
def lab(tmp_path) -> Path:
    """Four jobs on the null board, one at a time."""
    for seed in (2, 5):
        bundle(tmp_path / f"b{seed}", spec(seed=seed))
    (tmp_path / "lab.toml").write_text('bundles = ["b*"]\nboards = ["null"]\nscenarios = ["single-stream", "offline"]')
    return tmp_path


def pids(folder: Path) -> list[int]:
    """The made-up jobs that were started, by their process ids."""
    return [int(name.split(".")[-1]) for name in started(folder)]


def gone(pid: int) -> bool:
    """Whether a process has ended, or is a zombie that nobody has waited for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_sweep_that_is_stopped_goes_on_where_it_was(lab, how):
    traces, store = lab / "traces", lab / "store"
    traces.mkdir()
    (traces / "wait").write_text("2")  # the third job does not end by itself
    with sweeping(lab) as first:
        wait_for(lambda: len(started(traces)) == 3, "two jobs did not finish")
        os.kill(first.pid, how)
        assert first.wait(PATIENCE_S) == (130 if how == signal.SIGINT else -signal.SIGKILL)
    wait_for(lambda: all(map(gone, pids(traces))), "a job outlived the sweep")
    assert len(run_folders(store)) == 2
    (traces / "wait").unlink()
    with sweeping(lab) as second:
        assert second.communicate(timeout=PATIENCE_S)[0] == "2 2 0\n"
    assert len(started(traces)) == 5  # the third one twice
    journal, asked = open_journal(store), plan_sweep(read_lab(lab / "lab.toml")).jobs
    assert sorted(journal.runs) == sorted(j.id for j in asked)
    assert len(run_folders(store)) == 4 and not list(store.glob("*.part"))
    assert all(len(journal.measurements(j)) == 1 for j in asked)


def test_a_sweep_tries_failed_jobs_again_and_last(lab):
    traces, read = lab / "traces", read_lab(lab / "lab.toml")
    command, sweep = fake(traces), plan_sweep(read)
    (traces / "die.b2").touch()
    first = run_sweep(sweep, read, LocalExecutor(2, command), open_journal(lab / "store"), lambda text: None)
    assert (len(first.before), len(first.finished), len(first.failed)) == (0, 2, 2)
    assert {failure.job.name for failure in first.failed} == {"b2"}
    (traces / "die.b2").unlink()
    seen: list[tuple[int, int]] = []
    journal = open_journal(lab / "store")
    second = run_sweep(
        sweep, read, LocalExecutor(2, command), journal, lambda text: None, lambda *place: seen.append(place)
    )
    assert (len(second.before), len(second.finished), len(second.failed)) == (2, 2, 0)
    assert seen == [(2, 4), (3, 4), (4, 4)]
    assert [journal.failure(j) for j in sweep.jobs] == [None] * 4


def test_real_jobs_on_three_kinds_of_boards(tmp_path):
    boards = [name for name in ("null", "host-c", "mps2-an386") if missing(find_board(name)) is None]
    if len(boards) < 3:
        pytest.skip(f"only {', '.join(boards)} work here")
    bundle(tmp_path / "b", spec())
    (tmp_path / "lab.toml").write_text(
        f"bundles = ['b']\nboards = {boards}\n[plan]\nwindows = 2\nwindow_s = 0.01\nwarmup_s = 0\nimages = 1\n"
    )
    words = ["lab", str(tmp_path / "lab.toml"), "-o", str(tmp_path / "store"), "--json"]
    command = [sys.executable, "-c", "from edge.cli import main; main()", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["jobs"], said["finished_before"], said["failed"]) == (3, 0, [])
    by_board = {found["board"]: found for found in said["measurements"]}
    assert set(by_board) == set(boards)
    assert by_board["mps2-an386"]["instructions"][0] > 1000
    assert len(by_board["host-c"]["latency_s"]) == 2
    shutil.rmtree(tmp_path / "b")
    bundle(tmp_path / "b", spec())  # the same bundle, written again
    again = subprocess.run([*command, "--dry-run"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {found["state"] for found in json.loads(again.stdout)["jobs"]} == {"finished"}


def test_a_bundle_that_changed_is_refused(tmp_path):
    made = bundle(tmp_path / "b", spec())
    asked = job("b", bundle=str(made.path), digest="00" * 32)
    (found,) = collected(LocalExecutor(1), [asked], {"null": 1})
    assert "not 000000000000 that was asked for" in str(found[1].reason)
