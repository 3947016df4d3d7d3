"""The Dask executor on a cluster of processes: slots, a worker that is killed, a board that nobody offers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("distributed", reason="distributed is not installed")

from devices.errors import DeviceError
from devices.executor.cluster import DaskExecutor, worker_resources
from devices.executor.journal import open_journal
from devices.executor.lab import read_lab
from devices.executor.sweep import plan_sweep, run_sweep
from devices.store import read_stored, run_folders
from tests.embedded import bundle, spec
from tests.house import ROOT
from tests.jobs import collected, fake, job, started
from tests.test_devices_executor_local import PATIENCE_S, gone, pids, wait_for

SLOTS = {"null": 1, "mps2-an386": 1}


def offers(slots: dict[str, int]) -> dict[str, float]:
    """The resources of a worker, from the text that its command line takes."""
    pairs = (word.split("=") for word in worker_resources(slots).split())
    return {key: float(amount) for key, amount in pairs}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Two workers, each a process with a nanny that starts it again, and slots for two boards."""
    import distributed

    with (
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=2,
            processes=True,
            dashboard_address=":0",
            local_directory=str(tmp_path_factory.mktemp("dask")),
            resources=offers(SLOTS),
            silence_logs=50,
        ) as made,
    ):
        yield made


def test_what_a_worker_says_it_serves():
    assert worker_resources({"orin": 1, "pi": 2}) == "board-orin=1 board-pi=2 machine=1"


def test_jobs_run_one_per_slot(cluster, tmp_path):
    executor = DaskExecutor(cluster.scheduler_address, command=fake(tmp_path))
    jobs = [job(f"n{i}") for i in range(3)] + [job(f"m{i}", "mps2-an386", "qemu-system") for i in range(3)]
    (tmp_path / "die.n1").touch()
    found = dict(collected(executor, jobs, SLOTS))
    assert sorted(found) == sorted(j.name for j in jobs)
    assert "killed by SIGABRT" in str(found["n1"].reason)
    assert sum(outcome.done for outcome in found.values()) == 5
    # Two hosts with one machine each: two jobs at once, whatever the boards.
    beside = [len(path.read_text().split(",")) for path in (tmp_path / "started").iterdir()]
    assert len(beside) == 6 and max(beside) <= 2


def test_a_job_whose_worker_is_killed_runs_again_and_is_kept_once(cluster, tmp_path):
    for seed in (2, 5):
        bundle(tmp_path / f"b{seed}", spec(seed=seed))
    (tmp_path / "lab.toml").write_text('bundles = ["b*"]\nboards = ["null"]')
    traces, lab = tmp_path / "traces", read_lab(tmp_path / "lab.toml")
    executor = DaskExecutor(cluster.scheduler_address, command=fake(traces))
    (traces / "wait").write_text("0")
    journal, kept = open_journal(tmp_path / "store"), Counter[str]()
    killer = threading.Thread(target=kill_a_worker, args=(cluster, traces))
    killer.start()
    swept = run_sweep(plan_sweep(lab), lab, executor, journal, lambda text: kept.update([text]))
    killer.join()
    assert (len(swept.finished), len(swept.failed)) == (2, 0)
    assert len(started(traces)) == 3, "one job ran twice, the other once"
    assert len(run_folders(tmp_path / "store")) == 2
    assert all(count == 1 for text, count in kept.items() if text.endswith("done")) and len(kept) >= 2


def kill_a_worker(cluster, traces: Path) -> None:
    """Kill the process of a worker while its job runs; the job ends with it and leaves its board."""
    try:
        wait_for(lambda: len(started(traces)) == 2, "the jobs did not start")
        first = pids(traces)[0]
        parent = int(Path(f"/proc/{first}/stat").read_text().rsplit(")", 1)[1].split()[1])
        assert parent in {nanny.pid for nanny in cluster.workers.values()}
        os.kill(parent, signal.SIGKILL)
        wait_for(lambda: gone(first), "the job outlived its worker")
    finally:
        (traces / "go").touch()


def test_a_board_that_no_worker_offers(cluster, tmp_path):
    executor = DaskExecutor(cluster.scheduler_address, patience_s=0.0, command=fake(tmp_path))
    found = dict(collected(executor, [job("a"), job("b", "orin", "ssh")], {"null": 1, "orin": 1}))
    assert found["a"].done
    assert found["b"].reason == (
        "no Dask worker offers a slot of board 'orin'; start one with --resources \"board-orin=1 machine=1\"."
    )


def dask(*words: str) -> subprocess.Popen[bytes]:
    """A command of Dask, as a person starts it."""
    command = [sys.executable, "-m", "dask", *words]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def test_the_commands_that_a_person_types_and_a_scheduler_that_dies(tmp_path):
    for seed in (2, 5):
        bundle(tmp_path / f"b{seed}", spec(seed=seed))
    (tmp_path / "lab.toml").write_text('bundles = ["b*"]\nboards = ["null"]\nscenarios = ["single-stream", "offline"]')
    where = tmp_path / "scheduler.json"
    options = ("--scheduler-file", str(where))
    with dask("scheduler", "--host", "127.0.0.1", "--port", "0", "--dashboard-address", ":0", *options) as scheduler:
        wait_for(where.exists, "the scheduler did not start")
        address = json.loads(where.read_text())["address"]
        place = ("--local-directory", str(tmp_path), "--resources", worker_resources({"null": 1}), "--no-dashboard")
        with dask("worker", *options, "--nthreads", "2", *place) as worker:
            lab = [sys.executable, "-c", "from edge.cli import main; main()", "lab", str(tmp_path / "lab.toml")]
            lab += ["--executor", address.replace("tcp", "dask"), "-o", str(tmp_path / "store")]
            with subprocess.Popen(lab, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
                wait_for(lambda: len(run_folders(tmp_path / "store")) == 1, "no job was finished")
                scheduler.kill()
                try:
                    said = process.communicate(timeout=PATIENCE_S)[1]
                finally:
                    process.kill()
            assert process.returncode == 1
            assert "is gone; what was finished is kept" in said and "Traceback" not in said
            worker.kill()
    folders = run_folders(tmp_path / "store")
    assert 1 <= len(folders) < 4
    (kept,) = read_stored(folders[0]).kept
    assert (kept.measurement.board, kept.measurement.method) == ("null", "simulated")


def test_no_scheduler():
    with pytest.raises(DeviceError, match=r"no Dask scheduler answers at tcp://127.0.0.1:1"):
        DaskExecutor("tcp://127.0.0.1:1", connect_s=0.5).run([job()], {"null": 1}, lambda *_: None, lambda _: None)
