"""The whole Jetson path with stand-ins for trtexec, nvpmodel and jetson_clocks, over a link to a local shell.

No GPU takes part, and every measurement says so. What is tested is all around it: scripts, cache, parsing, checks.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from devices import runner, runtimes
from devices.boards import find_board
from devices.errors import DeviceError
from devices.found import Found
from devices.jetson.run import run_part
from devices.measurement_record import from_json, to_json
from devices.plan import Plan
from devices.remote.here import HereLink
from devices.remote.job import Hands, Site
from devices.remote.link import Link, Steady
from devices.state import Conditions
from export.jetson_profiles import NANO, ORIN, ORIN_JETPACK5, ORIN_JETPACK60, ORIN_JETPACK72, THOR, XAVIER, Profile
from export.targets import TARGETS
from tests.house import ROOT
from tests.jetson_board import bundle_part, source_of, symmetric_toy
from tests.jetson_stand_ins import stand_in_power, stand_in_trtexec, state_of

#: One board of each generation that computes int8.
BOARDS = (XAVIER, ORIN_JETPACK5, ORIN_JETPACK60, ORIN, ORIN_JETPACK72, THOR)


def plan_for(profile: Profile, folder: Path, *, tested: bool = False, **changes: Any) -> Plan:
    """A part of the toy graph for a board, one second of inferences; without the self-test, which takes its time."""
    target = next(target for target in TARGETS if target.name == profile.target)
    part = bundle_part(source_of(symmetric_toy(), 3), target, folder)
    if not tested:
        (part.folder / "selftest.py").unlink()
    plan = Plan("d" * 64, part.name, part.folder, profile.target, profile.target, windows=5, stem=part.stem)
    return replace(plan, **changes)


class Board:
    """A folder that stands for a board: its home and the tools on its PATH."""

    def __init__(self, folder: Path, profile: Profile):
        self.folder, self.bin = folder, folder / "bin"
        self.said: list[str] = []
        self.environment = {**os.environ, "HOME": str(folder), "PATH": f"{self.bin}:{os.environ['PATH']}"}
        self.environment.pop("TRTEXEC", None)
        stand_in_trtexec(self.bin, profile)
        self.state = stand_in_power(self.bin)

    async def connect(self) -> Link:
        """Open a shell there."""
        return HereLink(self.folder, self.environment)

    async def part(self, plan: Plan) -> tuple[Found, Conditions]:
        """Run a plan there, looking at the job without rests."""
        steady = Steady("board", self.connect, self.said.append)
        return await run_part(steady, Site(slots=1), plan, self.said.append, Hands(sleep=quick))

    def run(self, plan: Plan, **broken: str) -> tuple[Found, Conditions]:
        """The same, with a stand-in that misbehaves as told."""
        self.environment["FAKE_TRTEXEC"] = " ".join(f"{key}={value}" for key, value in broken.items())
        return asyncio.run(self.part(plan))


async def quick(seconds: float) -> None:
    """Rest for a moment instead of seconds."""
    await asyncio.sleep(min(seconds, 0.05))


@pytest.mark.parametrize("profile", BOARDS, ids=[p.generation + " " + p.target for p in BOARDS])
def test_a_part_is_built_tested_timed_and_read_back(profile: Profile, tmp_path: Path) -> None:
    """For every generation: the same latency from the same engine, each layer's time, everything labelled simulated."""
    plan, board = plan_for(profile, tmp_path / "bundle", tested=True), Board(tmp_path / "board", profile)
    found, state = board.run(plan)
    assert found.method == "simulated"
    assert "a stand-in for trtexec answered and no GPU took part: every figure is made up" in found.source
    assert "self-test passed: 3 of 3 labels agree" in found.source
    assert "1 of 6 in FP32, 5 of 6 in INT8" in found.source, found.source
    assert found.latency_s is not None
    assert [len(window) for window in found.latency_s] == [20] * 5
    assert 0.36e-3 < min(min(window) for window in found.latency_s) < max(map(max, found.latency_s)) < 0.38e-3
    assert dict(found.versions)["tensorrt"].startswith(profile.generation)
    settings = dict(state.settings)
    assert [settings[f"trtexec {key}"] for key in ("Data transfers", "Spin-wait", "CUDA Graph")] == ["on"] * 3
    assert set(settings) == {"trtexec Data transfers", "trtexec Spin-wait", "trtexec CUDA Graph"}
    assert "; trtexec --loadEngine=toy.plan --warmUp=300 --duration=1 --iterations=100" in found.source
    assert state.boot_id is not None


def test_layers_have_the_macs_of_the_networks_nodes_in_them(tmp_path: Path) -> None:
    """TensorRT 8.2 gives means, later ones medians."""
    for profile, factor, word in ((XAVIER, 1.0, "mean"), (ORIN, 0.98, "median")):
        plan, board = plan_for(profile, tmp_path / word), Board(tmp_path / f"board {word}", profile)
        found, _ = board.run(plan)
        assert f"layers: {word} of a run of its own with a profiler" in found.source
        first, conv = found.steps[0], found.steps[1]
        assert (first.name.startswith("Reformatting CopyNode"), first.macs) == (True, 0)
        assert conv.name.startswith("conv")
        assert (conv.macs, conv.instructions, conv.cycles) == (8 * 3 * 3 * 3 * 16, None, None)
        assert conv.time_s == pytest.approx(2e-5 * factor)


def test_the_engine_and_the_timing_cache_stay_on_the_board(tmp_path: Path) -> None:
    plan, board = plan_for(ORIN, tmp_path / "bundle"), Board(tmp_path / "board", ORIN)
    first, _ = board.run(plan)
    assert "the engine was built in 3.25 s" in first.source
    assert "self-test not run: it ended with exit code 2 and no result" in first.source
    again, _ = board.run(plan)
    assert "the engine was built in an earlier run" in again.source
    assert [cache.read_bytes() for cache in (tmp_path / "board").rglob("*.timing.cache")] == [b"."]
    longer, _ = board.run(replace(plan, windows=7))
    assert longer.latency_s is not None
    assert sum(map(len, longer.latency_s)) == 200
    assert len(longer.latency_s) == 7


BROKEN = (
    ({"build": "Error_Code_4:_no_kernel"}, "failed while building the engine: Error Code 4: no kernel"),
    ({"outputs": "rolled"}, r"the engine computes something else than the part: [0-2] of 3 labels agree"),
    ({"times": "cut"}, r"toy\.times\.json is not JSON"),
    ({"compute": "8.9"}, r"compute capability 8\.9 \(Stand-in\); Jetson Orin has 8\.7"),
    ({"setting": "Data_transfers"}, "ran with 'Data transfers' off"),
    ({"setting": "CUDA_Graph"}, "ran with 'CUDA Graph' off"),
)


@pytest.mark.parametrize(("broken", "message"), BROKEN, ids=[str(b) for b, _ in BROKEN])
def test_what_goes_wrong_on_the_board_is_said(broken: dict[str, str], message: str, tmp_path: Path) -> None:
    plan, board = plan_for(ORIN, tmp_path / "bundle", tested="outputs" in broken), Board(tmp_path / "board", ORIN)
    with pytest.raises(DeviceError, match=message):
        board.run(plan, **broken)


@pytest.mark.parametrize(("part", "tool"), [(XAVIER, ORIN), (XAVIER, ORIN_JETPACK72), (ORIN_JETPACK72, ORIN)])
def test_a_part_of_another_generation_is_refused_by_its_trtexec(part: Profile, tool: Profile, tmp_path: Path) -> None:
    """The stand-in knows no flags of other generations, as the real ones."""
    plan, board = plan_for(part, tmp_path / "bundle"), Board(tmp_path / "board", replace(tool, compute=part.compute))
    words = r"Unknown option: .*The part was written for another generation|which the part's flags should have turned"
    with pytest.raises(DeviceError, match=words):
        board.run(plan)


def test_a_board_without_trtexec_says_what_to_install(tmp_path: Path) -> None:
    plan, board = plan_for(ORIN, tmp_path / "bundle"), Board(tmp_path / "board", ORIN)
    (board.bin / "trtexec").unlink()
    with pytest.raises(DeviceError, match=r"failed while building the engine .*install JetPack's TensorRT"):
        board.run(plan)


@pytest.mark.slow
def test_a_nano_gets_half_precision(tmp_path: Path) -> None:
    """The float graph in FP16: there is no int8 to compute with."""
    from tests.test_export_jetson_write import half_source

    target = next(target for target in TARGETS if target.name == NANO.target)
    part = bundle_part(half_source(), target, tmp_path / "bundle")
    plan = Plan("d" * 64, part.name, part.folder, NANO.target, NANO.target, windows=2, stem=part.stem)
    found, _ = Board(tmp_path / "board", NANO).run(plan)
    assert found.method == "simulated"
    assert "8 of 8 labels agree" in found.source


@pytest.mark.parametrize(
    ("changes", "word"),
    [({"scenario": "offline"}, "offline"), ({"loadgen": True}, "LoadGen"), ({"complete": True}, "--complete")],
)
def test_what_trtexec_does_not_do_is_refused(changes: dict[str, Any], word: str, tmp_path: Path) -> None:
    plan, board = plan_for(ORIN, tmp_path / "bundle", **changes), Board(tmp_path / "board", ORIN)
    with pytest.raises(DeviceError, match=f"does no .*{word}"):
        board.run(plan)
    assert not (tmp_path / "board" / ".edgemill").exists()


def test_power_and_clocks_are_set_for_the_run_and_put_back(tmp_path: Path) -> None:
    plan = plan_for(ORIN, tmp_path / "bundle", power_mode=0, max_clocks=True)
    board = Board(tmp_path / "board", ORIN)
    _, state = board.run(plan)
    assert state_of(board.state) == ("2", "dynamic")
    assert state.power_mode == "MAXN (0)"
    settings = dict(state.settings)
    assert settings["power mode"] == "MAXN (0) for the run, MODE_15W_6CORE (2) before and after"
    assert settings["clocks"] == "jetson_clocks for the run, as before afterwards"
    calls = (board.state / "calls").read_text().splitlines()
    assert [call.split("/")[0].strip() for call in calls if "-q" not in call] == [
        "jetson_clocks --store",
        "nvpmodel -m 0",
        "jetson_clocks",
        "nvpmodel -m 2",
        "jetson_clocks --restore",
    ]


def test_nothing_is_set_unless_asked(tmp_path: Path) -> None:
    plan, board = plan_for(ORIN, tmp_path / "bundle"), Board(tmp_path / "board", ORIN)
    _, state = board.run(plan)
    assert state.power_mode == "MODE_15W_6CORE (2)"
    assert set((board.state / "calls").read_text().splitlines()) == {"nvpmodel -q"}
    assert not any(name in dict(state.settings) for name in ("power mode", "clocks"))


def test_a_failing_run_puts_power_and_clocks_back(tmp_path: Path) -> None:
    plan = plan_for(ORIN, tmp_path / "bundle", power_mode=1, max_clocks=True)
    board = Board(tmp_path / "board", ORIN)
    with pytest.raises(DeviceError, match="no kernel"):
        board.run(plan, build="no_kernel")
    assert state_of(board.state) == ("2", "dynamic")


def test_a_run_that_is_killed_in_the_middle_puts_power_and_clocks_back(tmp_path: Path) -> None:
    """Cancelled while trtexec works; nothing of the job is left running either."""
    plan = plan_for(ORIN, tmp_path / "bundle", power_mode=0, max_clocks=True)
    board = Board(tmp_path / "board", ORIN)
    board.environment["FAKE_TRTEXEC"] = "hang=60"

    async def killed() -> tuple[str, str]:
        task = asyncio.create_task(board.part(plan))
        while not list((tmp_path / "board").rglob("hanging")):
            assert not task.done(), await task
            await asyncio.sleep(0.02)
        during = state_of(board.state)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return during

    assert asyncio.run(killed()) == ("0", "max")
    assert state_of(board.state) == ("2", "dynamic")
    assert list((tmp_path / "board" / ".edgemill" / "j").iterdir()) == []


def test_a_run_whose_host_died_is_healed_by_the_next_one(tmp_path: Path) -> None:
    """What was there before the first run is kept on the board until it is back."""
    from devices.jetson import power

    board = Board(tmp_path / "board", ORIN)

    async def died() -> None:
        await power.take(Steady("board", board.connect, board.said.append), ".edgemill", power.Wish(0, True))

    asyncio.run(died())
    assert state_of(board.state) == ("0", "max")
    board.run(plan_for(ORIN, tmp_path / "bundle", power_mode=1))
    assert state_of(board.state) == ("2", "dynamic")


def test_a_mode_that_is_not_taken_is_an_error_and_nothing_runs(tmp_path: Path) -> None:
    """One that nvpmodel refuses, and one that would need a restart."""
    board = Board(tmp_path / "board", ORIN)
    with pytest.raises(DeviceError, match="power mode 9 was not taken"):
        board.run(plan_for(ORIN, tmp_path / "a", power_mode=9))
    (board.state / "stuck").touch()
    with pytest.raises(DeviceError, match=r"power mode 1 was not taken \(now MODE_15W_6CORE \(2\)\).*restart"):
        board.run(plan_for(ORIN, tmp_path / "b", power_mode=1))
    assert state_of(board.state) == ("2", "dynamic")
    assert not list((tmp_path / "board").rglob("*.plan"))


def test_a_board_that_cannot_be_put_back_is_said_and_tried_again(tmp_path: Path) -> None:
    plan = plan_for(ORIN, tmp_path / "bundle", power_mode=1)
    board = Board(tmp_path / "board", ORIN)
    good = (board.bin / "nvpmodel").read_text()
    (board.bin / "nvpmodel").write_text(good.replace('test "$2" -gt 3', 'test "$2" = 2'))
    with pytest.raises(DeviceError, match="could not be put back: NVPM ERROR"):
        board.run(plan)
    assert state_of(board.state)[0] == "1"
    (board.bin / "nvpmodel").write_text(good)
    board.run(plan)
    assert state_of(board.state) == ("2", "dynamic")


def test_a_machine_without_nvpmodel_has_no_power_mode(tmp_path: Path) -> None:
    board = Board(tmp_path / "board", ORIN)
    (board.bin / "nvpmodel").unlink()
    _, state = board.run(plan_for(ORIN, tmp_path / "a"))
    assert state.power_mode is None
    assert "no nvpmodel on this device" in dict(state.absent)["power_mode"]
    with pytest.raises(DeviceError, match="no nvpmodel on this device; power modes and clocks can be set on Jetson"):
        board.run(plan_for(ORIN, tmp_path / "b", power_mode=1))


def test_a_jetson_that_runs_edgemill_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in board is this machine; figures of a stand-in are simulated there, too."""
    board = Board(tmp_path / "board", ORIN)
    for name in ("HOME", "PATH"):
        monkeypatch.setenv(name, board.environment[name])
    monkeypatch.delenv("TRTEXEC", raising=False)
    assert runtimes.missing(find_board("jetson")) is None
    found = runner.profile(plan_for(ORIN, tmp_path / "bundle"))
    assert (found.board, found.runtime, found.method) == ("jetson", "trtexec-jetson", "simulated")
    assert dict(found.versions) == {"tensorrt": "10.3.0"}
    assert found.conditions.power_mode == "MODE_15W_6CORE (2)"
    assert from_json(to_json(found)) == found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_command_that_is_stopped_puts_power_and_clocks_back(number: signal.Signals, tmp_path: Path) -> None:
    """Ctrl-C, kill, and a terminal that closes, while trtexec works; then the command ends as a stopped one does."""
    plan_for(ORIN, tmp_path / "bundle", tested=True)
    board = Board(tmp_path / "board", ORIN)
    command = [sys.executable, "-m", "edge.cli", "profile", str(tmp_path / "bundle"), "--board", "jetson"]
    process = subprocess.Popen(
        [*command, "--power-mode", "0", "--max-clocks"],
        env={**board.environment, "FAKE_TRTEXEC": "hang=60", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        while not list((tmp_path / "board").rglob("hanging")):
            assert process.poll() is None, process.communicate()[1]
            time.sleep(0.05)
        assert state_of(board.state) == ("0", "max")
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == (1 if number is signal.SIGINT else -number), said
    assert b"Traceback" not in said
    assert state_of(board.state) == ("2", "dynamic")


def test_a_board_that_restarts_runs_the_part_again(tmp_path: Path) -> None:
    """Its power mode and clocks are set again, too, and put back in the end."""
    plan = plan_for(ORIN, tmp_path / "bundle", power_mode=0, max_clocks=True)
    board, boot = Board(tmp_path / "board", ORIN), tmp_path / "boot"
    boot.write_text("first\n")
    board.environment["FAKE_TRTEXEC"] = "hang=1"

    async def restarted() -> Found:
        steady = Steady("board", board.connect, board.said.append)
        work = run_part(steady, Site(boot_id=str(boot)), plan, board.said.append, Hands(sleep=quick))
        task = asyncio.create_task(work)
        while not list((tmp_path / "board").rglob("hanging")):
            assert not task.done(), await task
            await asyncio.sleep(0.02)
        (board.state / "clocks").write_text("dynamic\n")  # jetson_clocks does not outlive a restart
        boot.write_text("second\n")
        found, _ = await task
        return found

    found = asyncio.run(restarted())
    assert "the board restarted during the run" in found.source
    assert "The job was run again." in found.source
    calls = (board.state / "calls").read_text().splitlines()
    assert calls.count("jetson_clocks ") == 2
    assert state_of(board.state) == ("2", "dynamic")
