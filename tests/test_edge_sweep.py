"""Sweeps: right cells, the same bytes however they came about, and nothing computed twice, not even after kill -9."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.sweep_record import FILE, read_sweep
from edge.data import load
from edge.errors import EdgeError
from edge.evaluate import compare_labels, float_labels
from edge.sweep import SweepJob, run_sweep
from edge.sweep_plan import parse_formats, plan
from quant.cost import assign, cost, summary
from quant.errors import QuantError
from quant.ptq import lay_out, prepare
from quant.ranges import minima_and_maxima
from quant.simulate import simulate
from tests.tiny import command, execute, float_graph, surroundings, write_onnx

FORMATS = "int4,e2m1,int8,e5m2"
#: Cells of the sweep that is killed.
CELLS = 13 * 13


def job(formats: str = FORMATS, passes: tuple[str, ...] = ("plain", "scales+gptq+bias"), **changes) -> SweepJob:
    """A sweep of the tiny network over digits."""
    names = parse_formats(formats)
    specs = plan(names, names, passes, ("channel",))
    return SweepJob(**{"graph": float_graph(), "dataset": load("digits"), "specs": specs, "count": 32, **changes})


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A finished sweep."""
    folder = tmp_path_factory.mktemp("sweep") / "a"
    run_sweep(job(), folder, 1)
    return folder


def stamps(folder: Path) -> dict[str, int]:
    """When each cell was written, in nanoseconds."""
    return {path.name: path.stat().st_mtime_ns for path in (folder / "cells").iterdir() if path.suffix == ".json"}


def test_cells_are_what_emulation_says(done):
    digits, graph = load("digits"), prepare(float_graph())
    sweep, x = read_sweep(done), digits.preprocess.apply(digits.x_test)
    guess = float_labels(graph, x)
    assert sweep.float_accuracy == (guess == digits.y_test).mean()
    assert len(sweep.cells) == 32
    assert len({cell.accuracy.quantised_accuracy for cell in sweep.cells}) > 5
    picked = np.random.default_rng(0).permutation(len(digits.x_train))[:32]
    calibration = digits.preprocess.apply(digits.x_train[picked])
    ranges = minima_and_maxima(graph, calibration)
    for spec, cell in zip(job().specs[:16], sweep.cells[:16], strict=True):
        labels = simulate(lay_out(graph, spec.scheme, ranges), x).reshape(len(x), -1).argmax(axis=1)
        assert cell.accuracy == compare_labels(digits.y_test, guess, labels)
        assert cell.cost == summary(cost(graph, assign(graph, spec.scheme)))
        assert cell.scheme == str(spec.scheme)
    exact = {(cell.weight, cell.activation): cell.exact for cell in sweep.cells[:16]}
    assert exact["int8", "int8"]
    assert not exact["e5m2", "e5m2"]


def test_several_processes_make_the_same_bytes(done, tmp_path):
    run_sweep(job(), tmp_path / "b", 3)
    assert (tmp_path / "b" / FILE).read_bytes() == (done / FILE).read_bytes()
    assert stamps(tmp_path / "b").keys() == stamps(done).keys()


def test_a_second_call_computes_only_what_lacks(done):
    before, record = stamps(done), (done / FILE).read_bytes()
    lost, damaged, *_ = sorted(before)
    (done / "cells" / lost).unlink()
    path = done / "cells" / damaged
    path.write_text(path.read_text()[:-20])
    told = []
    run_sweep(job(), done, 1, lambda count, total: told.append((count, total)))
    after = stamps(done)
    assert told == [(30, 32), (31, 32), (32, 32)]
    assert {name for name in before if before[name] != after[name]} == {lost, damaged}
    assert (done / FILE).read_bytes() == record


def test_more_formats_keep_the_cells_there_are(done):
    before = stamps(done)
    run_sweep(job("int4,int8,int6", ("plain",)), done, 1)
    after = stamps(done)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 5
    assert len(read_sweep(done).cells) == 9


def test_other_inputs_are_other_cells(done):
    before = stamps(done)
    run_sweep(job("int4", ("plain",), count=40), done, 1)
    assert len(stamps(done)) == len(before) + 1


def test_slips_are_refused_before_any_work(tmp_path):
    with pytest.raises(QuantError, match="gptq"):
        run_sweep(job(passes=("gtpq",)), tmp_path / "a", 1)
    with pytest.raises(EdgeError, match="labels"):
        run_sweep(job(dataset=_three_classes()), tmp_path / "a", 1)
    assert not (tmp_path / "a").exists()


def _three_classes():
    return replace(load("digits"), labels=("a", "b", "c"))


def words(folder: Path, model: Path) -> tuple[str, ...]:
    """A sweep on the command line that takes some seconds."""
    given = (
        "sweep",
        model,
        "--data",
        "digits",
        "--formats",
        "integers,4bit,5bit",
        "--passes",
        "scales+gptq+bias",
        "--options",
        "mse",
    )
    return (*map(str, given), "--jobs", "2", "-o", str(folder), "--json")


def test_a_killed_sweep_goes_on_where_it_was(tmp_path):
    model, folder = write_onnx(tmp_path / "tiny.onnx"), tmp_path / "sweep"
    process = subprocess.Popen(
        command(*words(folder, model)),
        cwd=tmp_path,
        env=surroundings(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (folder / "cells").is_dir():
        time.sleep(0.01)
    while time.monotonic() < deadline and len(stamps(folder)) < 20:
        time.sleep(0.01)
    workers = children(process.pid)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = stamps(folder)
    assert 20 <= len(before) < CELLS
    assert not (folder / FILE).exists()
    assert len(workers) >= 2
    wait_for_end(workers)
    again = execute(*words(folder, model), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    after = stamps(folder)
    assert len(after) == CELLS
    assert {name: after[name] for name in before} == before
    assert not list((folder / "cells").glob("*.part"))
    fresh = execute(*words(tmp_path / "fresh", model), cwd=tmp_path)
    assert fresh.stdout == again.stdout == (folder / FILE).read_text()
    assert len(json.loads(fresh.stdout)["cells"]) == CELLS


def children(pid: int) -> list[int]:
    """Return the processes that a process started and that live."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(path.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid:
            found.append(int(path.parent.name))
    return found


def wait_for_end(pids: list[int]) -> None:
    """Wait until processes are gone: they must notice by themselves that their parent died."""
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and any(alive(pid) for pid in pids):
        time.sleep(0.02)
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_worker_that_dies_is_one_clear_line_and_loses_nothing(tmp_path):
    folder = tmp_path / "sweep"
    killed = []

    def kill_one(count: int, total: int) -> None:
        if count == 3 and not killed:
            killed.extend(children(os.getpid()))
            workers = [pid for pid in killed if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            os.kill(workers[0], signal.SIGKILL)

    with pytest.raises(EdgeError, match="a worker died"):
        run_sweep(job(), folder, 2, kill_one)
    before = stamps(folder)
    run_sweep(job(), folder, 1)
    after = stamps(folder)
    assert len(before) >= 3
    assert {name: after[name] for name in before} == before


def test_the_command_prints_fronts_and_what_luts_leave_out(tmp_path):
    model = write_onnx(tmp_path / "tiny.onnx")
    given = ("sweep", model, "--data", "digits", "--formats", "int4,e2m1", "--passes", "plain", "--options", "")
    made = execute(*given, "-o", tmp_path / "out", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    text = " ".join(made.stdout.split())
    for phrase in ("Front: FPGA logic", "LUTs: No DSP blocks are used", "4 cells, 0 refused", "report.html"):
        assert phrase in text
    page = (tmp_path / "out" / "report.html").read_text()
    again = execute("report", tmp_path / "out", "-o", tmp_path / "page.html", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "page.html").read_text() == page
