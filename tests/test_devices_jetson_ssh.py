"""The Jetson path over a real SSH server on loopback, from the inventory to the measurement; a stand-in for trtexec.

The server's environment is the board: its PATH has the stand-ins first.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from devices import runner
from devices.errors import DeviceError
from devices.inventory import RemoteBoard, remote_boards
from devices.measurement import Measurement
from devices.measurement_record import from_json, from_record, to_json
from devices.remote.job import Hands
from devices.remote.profile import Profiled, profile_board
from edge.cli import main
from export.jetson_profiles import NANO, ORIN
from tests.jetson_stand_ins import stand_in_power, stand_in_trtexec, state_of
from tests.sshd import Server, running
from tests.test_devices_jetson_run import plan_for, quick


@pytest.fixture
def board(tmp_path: Path) -> Iterator[tuple[Server, Path]]:
    """An SSH server whose PATH has the stand-ins; returns it and the folder with their state."""
    folder, tools = tmp_path / "server", tmp_path / "bin"
    folder.mkdir()
    stand_in_trtexec(tools, ORIN)
    state = stand_in_power(tools)
    with running(folder, PATH=f"{tools}:/usr/bin:/bin:/usr/sbin:/sbin") as server:
        yield server, state


def inventory(server: Server, folder: Path) -> Path:
    """Write a boards.toml with one Orin at the server."""
    path = folder / "boards.toml"
    path.write_text(
        "[boards.my-orin]\n"
        'extends = "jetson"\n'
        f'uri = "ssh://127.0.0.1:{server.port}"\n'
        f'host_key = "{(server.folder / "host.pub").read_text().strip()}"\n'
        f'identity = "{server.folder / "user"}"\n'
        f'folder = "{folder / "home"}"\n'
        'cooling = "fan"\n'
    )
    return path


def one(path: Path) -> RemoteBoard:
    """Return the only board."""
    (found,) = remote_boards(path)
    return found


def test_a_measurement_comes_over_ssh_and_says_simulated(board: tuple[Server, Path], tmp_path: Path) -> None:
    server, state = board
    remote = one(inventory(server, tmp_path))
    plan = plan_for(ORIN, tmp_path / "bundle", tested=True, power_mode=0, max_clocks=True)
    said: list[str] = []
    (found,) = runner.profile_all([(replace(plan, board=remote.name), remote)], said.append)
    assert isinstance(found, Measurement), found
    assert (found.board, found.target, found.runtime, found.method) == (
        "my-orin",
        "jetson",
        "trtexec-jetson",
        "simulated",
    )
    assert "no GPU took part" in found.source
    assert "3 of 3 labels agree" in found.source
    assert found.source.endswith("; on my-orin; cooling: fan")
    assert len(found.samples_s) == 100
    assert [step.time_s is not None for step in found.steps] == [True] * 6
    assert found.conditions.power_mode == "MAXN (0)"
    assert "energy" in dict(found.absent)
    assert from_json(to_json(found)) == found
    assert state_of(state) == ("2", "dynamic")
    assert any("building the engine" in line for line in said)


def test_a_link_that_is_cut_in_the_middle_costs_no_record(board: tuple[Server, Path], tmp_path: Path) -> None:
    """The job goes on without the link; power and clocks are put back over the next one."""
    server, state = board
    tool = tmp_path / "bin" / "trtexec"
    tool.write_text(tool.read_text().replace("exec ", "FAKE_TRTEXEC=hang=1 exec "))
    remote = one(inventory(server, tmp_path))
    plan = plan_for(ORIN, tmp_path / "bundle", power_mode=0)

    async def cut() -> tuple[Profiled, int]:
        task = asyncio.create_task(profile_board(plan, remote, lambda _: None, Hands(sleep=quick)))
        while not list((tmp_path / "home").rglob("hanging")):
            assert not task.done(), await task
            await asyncio.sleep(0.02)
        dropped = server.drop()
        return await task, dropped

    ran, dropped = asyncio.run(cut())
    assert dropped > 0
    assert "the link was lost" in ran.found.source
    assert sum(map(len, ran.found.latency_s or ())) == 100
    assert state_of(state) == ("2", "dynamic")


def test_a_board_without_trtexec_is_an_error_for_its_plan_only(board: tuple[Server, Path], tmp_path: Path) -> None:
    server, _ = board
    remote = one(inventory(server, tmp_path))
    plan = replace(plan_for(ORIN, tmp_path / "bundle"), board=remote.name)
    (tmp_path / "bin" / "trtexec").unlink()
    (failed,) = runner.profile_all([(plan, remote)])
    assert isinstance(failed, DeviceError)
    assert "install JetPack's TensorRT" in str(failed)


def test_a_probe_says_what_the_board_has(board: tuple[Server, Path], tmp_path: Path) -> None:
    """TensorRT and power mode without running a part; without trtexec, or with another generation, it is of no use."""
    server, _ = board
    words = ["boards", "--probe", "--json", "--boards", str(inventory(server, tmp_path))]
    said = []
    for profile in (ORIN, NANO, None):
        if profile is None:
            (tmp_path / "bin" / "trtexec").unlink()
        else:
            stand_in_trtexec(tmp_path / "bin", profile)
        done = CliRunner().invoke(main, words)
        assert done.exit_code == (0 if profile is ORIN else 1)
        said.append(next(record["here"] for record in json.loads(done.stdout) if record["name"] == "my-orin"))
    assert "TensorRT 10.3.0, power mode MODE_15W_6CORE (2)" in said[0]
    assert "it has TensorRT 8.2.1; parts for jetson are written for 10.3" in said[1]
    assert "no trtexec at" in said[2]


def test_the_command_profiles_a_jetson_of_the_inventory(board: tuple[Server, Path], tmp_path: Path) -> None:
    server, state = board
    path = inventory(server, tmp_path)
    folder = plan_for(ORIN, tmp_path / "bundle", tested=True).folder
    words = ["profile", str(tmp_path / "bundle"), "--board", "my-orin", "--boards", str(path), "--windows", "2"]
    done = CliRunner().invoke(main, [*words, "--power-mode", "1", "--max-clocks", "--json"])
    assert done.exit_code == 0, done.output
    (record,) = json.loads(done.stdout)
    record.pop("doubts")
    found = from_record(record)
    assert (found.method, found.conditions.power_mode) == ("simulated", "MODE_15W_6CORE (1)")
    assert dict(found.conditions.settings)["clocks"] == "jetson_clocks for the run, as before afterwards"
    assert state_of(state) == ("2", "dynamic")
    assert folder.is_dir()
    refused = CliRunner().invoke(main, ["profile", str(tmp_path / "bundle"), "--board", "null", "--max-clocks"])
    assert refused.exit_code == 1
    assert "has no power modes to set" in refused.output
