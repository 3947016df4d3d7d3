"""What every board owes: a summary, a known target, something that runs it, and a reason for each metric it lacks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devices import boards, doctor, runtimes, tools
from devices.board import METRICS, TRANSPORTS, Board
from devices.boards import BOARDS
from devices.boards_emulated import BOARDS as EMULATED
from devices.boards_fpga import FPGAS, find_fpga
from devices.circuit import Usage
from devices.errors import DeviceError
from devices.synthesis import commands
from devices.synthesis.family import find_family
from export.targets import TARGETS

every_board = pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)


@every_board
def test_says_what_it_is(board: Board) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", board.name)
    assert len(board.summary) > 20
    assert board.transport in TRANSPORTS
    assert board.method in ("measured", "simulated", "synthesised")
    assert (board.method == "synthesised") == (board.transport == "synthesis")
    assert (board.method == "measured") == (board.transport in ("local", "trtexec"))


@every_board
def test_has_a_known_target_and_a_runtime_for_it(board: Board) -> None:
    runtime = runtimes.find_runtime(board.runtime)
    if board.target is None:
        assert board.transport == "null"
        assert board not in {b for target in TARGETS for b in boards.boards_for(target.name)}
    else:
        assert board.target in {target.name for target in TARGETS}
        assert runtime.target == board.target
        executes = runtime in (*runtimes.runtimes_for(board.target), *runtimes.ON_DEMAND)
        assert executes == (board.transport not in ("estimate", "synthesis", "trtexec"))
        assert board in boards.boards_for(board.target)


@every_board
def test_every_metric_is_given_or_has_a_reason(board: Board) -> None:
    absent = dict(board.absent)
    assert board.metrics
    assert not set(board.metrics) & set(absent)
    assert all(len(reason) > 20 for reason in absent.values())
    rest = set(METRICS) - set(board.metrics) - set(absent)
    assert rest == ({"energy"} if board.transport == "local" else set())  # energy: asked of `meters` at run time


@every_board
def test_says_what_is_missing_and_how_to_get_it(board: Board) -> None:
    reason = runtimes.missing(board)
    assert reason is None or "install" in reason


@pytest.mark.parametrize("board", [*EMULATED, boards.VERILATOR], ids=lambda board: board.name)
def test_without_its_tools_a_board_names_the_package(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = runtimes.missing(board)
    assert reason is not None
    assert "apt-get install" in reason


def test_names_are_unique_and_suggested() -> None:
    assert len({board.name for board in BOARDS}) == len(BOARDS)
    names = [runtime.name for runtime in runtimes.RUNTIMES]
    assert len(set(names)) == len(names)
    with pytest.raises(DeviceError, match=r"unknown board 'host-otr'\. Did you mean 'host-ort'\?"):
        boards.find_board("host-otr")
    with pytest.raises(DeviceError, match="unknown runtime"):
        runtimes.find_runtime("host-ort-x")


def test_fpga_boards_are_of_known_families_and_say_what_is_not_executed() -> None:
    named = {board.name: board for board in BOARDS if board.transport == "synthesis"}
    assert set(named) == {fpga.name for fpga in FPGAS}
    for fpga in FPGAS:
        placed = bool(find_family(fpga.family).placer)
        assert placed == bool(fpga.option) == ("latency" in named[fpga.name].metrics)
        assert placed or "not executed here" in named[fpga.name].summary
        assert min(fpga.budget.lut, fpga.budget.ff, fpga.budget.bram, fpga.budget.dsp) > 0
        assert fpga.device in named[fpga.name].summary
    assert find_fpga(named["pynq-z2"]).budget == Usage(lut=53200, ff=106400, bram=140, dsp=220)


def test_nothing_is_verified_with_the_null_runtime() -> None:
    assert all(runtime.name != "null" for runtime in runtimes.RUNTIMES)


def test_doctor_looks_at_everything(tmp_path: Path) -> None:
    findings = doctor.examine(tmp_path)
    by_kind = {
        kind: [f for f in findings if f.kind == kind] for kind in ("export", "tool", "runtime", "board", "meter")
    }
    assert sum(map(len, by_kind.values())) == len(findings)
    assert [f.name for f in by_kind["board"]] == [board.name for board in BOARDS]
    assert [f.name for f in by_kind["export"]] == [target.name for target in TARGETS]
    assert by_kind["meter"] and not any(f.available for f in by_kind["meter"])
    assert all(f.detail for f in findings)


def test_doctor_on_a_bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    findings = {(f.kind, f.name): f for f in doctor.examine(tmp_path)}
    for board in (*(board.name for board in EMULATED), "verilator"):
        assert not findings["board", board].available
        assert "apt-get install" in findings["board", board].detail
    assert not any(findings["tool", tool.name].available for tool in tools.TOOLS)
    for command in commands.COMMANDS:  # those of wheels are found beside this Python
        assert findings["tool", command.name].available == (commands.located(command.name) is not None)
        assert "install" in findings["tool", command.name].detail or findings["tool", command.name].available
    assert findings["board", "null"].available
