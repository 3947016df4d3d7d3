"""Profiles of the toy network on every board that works here, from plan to measurement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from devices import null, runner
from devices.board import METRICS, Board
from devices.boards import BOARDS, find_board
from devices.errors import DeviceError
from devices.measurement import Measurement
from devices.measurement_record import from_json, to_json
from devices.runtimes import missing
from export import arm_a, arm_m, ethos_u, fpga, host, vela
from export.target import Target
from tests.parts import DIGEST, short_plan, write_part

WRITERS: Mapping[str, Target] = {
    t.name: t for t in (host.TARGET, arm_a.TARGET, arm_m.TARGET, ethos_u.TARGET, fpga.TARGET)
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measurement]:
    """Every board that works here, run once."""
    home, found = tmp_path_factory.mktemp("parts"), {}
    for board in QUICK:
        if _lack(board) is None:
            folder = home / (board.target or "any")
            if not folder.exists():
                write_part(folder, WRITERS[board.target] if board.target else None)
            plan = short_plan(folder, board.name, board.target or "any")
            found[board.name] = runner.profile(plan, home)  # a tree without a meter, whatever this machine has
    return found


def _each(boards: list[Board]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("board", boards, ids=[board.name for board in boards])


def _lack(board: Board) -> str | None:
    """Estimates are made at export: there Vela is needed, not on the board."""
    return missing(board) or (vela.missing() if board.transport == "estimate" else None)


def _need(board: Board) -> None:
    reason = _lack(board)
    if reason:
        pytest.skip(reason)


#: Those in the emulated arm64 system and those of synthesis take seconds each and have tests of their own.
QUICK = [board for board in BOARDS if board.transport not in ("qemu-root", "synthesis")]
TIMED = [board for board in QUICK if "latency" in board.metrics]
COUNTED = [board for board in QUICK if "instructions" in board.metrics]
REAL = [board for board in QUICK if board.target is not None]


@_each(QUICK)
def test_a_board_gives_its_metrics_and_reasons_for_the_rest(board: Board, measured: dict[str, Measurement]) -> None:
    _need(board)
    found = measured[board.name]
    absent = dict(found.absent)
    for metric in METRICS:
        if metric == "arena" and board.transport != "estimate":  # the plan here comes without the exporter's facts
            assert metric in absent
        elif metric in board.metrics:
            assert found.value(metric) is not None
        else:
            assert found.value(metric) is None
            assert len(absent[metric]) > 20
    assert found.energy_j is None
    assert "energy" in absent


@_each(QUICK)
def test_a_measurement_says_where_it_comes_from(board: Board, measured: dict[str, Measurement]) -> None:
    _need(board)
    found = measured[board.name]
    assert (found.bundle, found.part, found.board, found.runtime) == (DIGEST, "toy", board.name, board.runtime)
    assert found.method == board.method
    assert found.source
    assert {"python", *board.packages, *(tool.name for tool in board.tools)} == set(dict(found.versions))
    assert "not installed" not in dict(found.versions).values()
    assert found.conditions.cores >= 1
    assert from_json(to_json(found)) == found


@_each(TIMED)
def test_latency_comes_in_windows(board: Board, measured: dict[str, Measurement]) -> None:
    _need(board)
    found = measured[board.name]
    assert found.latency_s is not None
    assert len(found.latency_s) == 3
    assert all(0 < sample < 1 for sample in found.samples_s)
    assert found.warmup is not None
    assert found.warmup.runs >= 1
    assert found.warmup.total_s >= 0.01


@_each(COUNTED)
def test_counts_are_the_same_in_a_second_run(board: Board, measured: dict[str, Measurement], tmp_path: Path) -> None:
    _need(board)
    found = measured[board.name]
    again = runner.profile(short_plan(write_part(tmp_path / "p", arm_m.TARGET), board.name, "arm-m"))
    assert found.instructions == again.instructions
    assert found.instructions is not None
    assert len(found.instructions) == 2
    assert min(found.instructions) > 2_000  # the toy has 8,576 multiply-accumulates, of which a core does a few at once


def test_the_null_board_says_that_it_is_made_up(measured: dict[str, Measurement]) -> None:
    found = measured["null"]
    assert found.method == "simulated"
    assert found.source == null.SOURCE
    assert "made up" in found.source


def test_arena_comes_from_the_exporter(tmp_path: Path) -> None:
    _need(find_board("host-c"))
    plan = replace(short_plan(write_part(tmp_path / "p", arm_m.TARGET), "host-c", "arm-m"), arena_bytes=384)
    assert runner.profile(plan).arena_bytes == 384


def test_a_board_without_its_tools_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_part(tmp_path / "p", None)
    monkeypatch.setenv("PATH", str(tmp_path))
    for name, target in (
        ("mps2-an386", "arm-m"),
        ("qemu-aarch64", "arm-m"),
        ("verilator", "fpga"),
        ("host-c", "arm-m"),
    ):
        with pytest.raises(DeviceError, match="install"):
            runner.profile(short_plan(folder, name, target))


@_each(REAL)
def test_a_part_of_another_target_is_an_error(board: Board, tmp_path: Path) -> None:
    _need(board)
    assert board.target is not None
    folder = write_part(tmp_path / "p", None)  # graph and vectors, but no target's files
    with pytest.raises(DeviceError, match="toy"):
        runner.profile(short_plan(folder, board.name, board.target))
