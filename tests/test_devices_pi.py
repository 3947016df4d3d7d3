"""Runtimes in the emulated arm64 system: what is there is said, the system is made as it should be, and parts run.

Executing takes seconds a runtime, so it is done only on request: EDGEMILL_PI=1, after `python -m devices.pi.setup`.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import runner, runtimes, tools
from devices.boards_pi import BOARDS
from devices.errors import DeviceError
from devices.pi import session as pi
from devices.pi import setup, system
from devices.pi.cores import CORES, PI4, PI5, system_files
from devices.pi.system import PAIRS, runtime_name
from export import arm_a, host
from quant.program import lower
from quant.reference import run
from tests.parts import short_plan, write_part
from tests.toys import random_codes, toy_graph

every_pair = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: runtime_name(*pair))


def test_every_core_but_what_cannot_work() -> None:
    names = {board.name for board in BOARDS}
    assert {"pi4-litert", "pi5-litert", "pi4-tflite-runtime", "pi5-onnxruntime", "pi5-openvino"} <= names
    assert "pi4-openvino" not in names
    assert "nothing to install" in str(system.missing(system.OPENVINO, PI4))


@every_pair
def test_nothing_is_verified_with_them_unasked(pair: tuple[system.Guest, system.Core]) -> None:
    runtime = runtimes.find_runtime(runtime_name(*pair))
    assert runtime not in runtimes.RUNTIMES
    assert pi.find_pair(runtime.name) == pair


def test_without_a_system_the_way_to_one_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    if tools.missing_tool(tools.QEMU_AARCH64) is None:
        assert "to install it: python -m devices.pi.setup litert" in str(system.missing(system.LITERT, PI5))
        with pytest.raises(DeviceError, match=r"devices\.pi\.setup litert"):
            pi.open_session(system.LITERT, PI5, tmp_path, "toy", toy_graph())
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "apt-get install qemu-user" in str(system.missing(system.LITERT, PI5))
    with pytest.raises(DeviceError, match=r"apt-get install .*mmdebstrap"):
        setup.set_up()


def test_a_core_shows_its_own_files() -> None:
    for core in CORES:
        files = system_files(core)
        assert files["proc/cpuinfo"].count(f"CPU part\t: {core.part}\n") == 4
        assert files["sys/devices/system/cpu/possible"] == "0-3\n"
        assert files["sys/devices/system/cpu/cpu3/topology/core_id"] == "3\n"
        assert all(not path.startswith("/") and text.endswith("\n") for path, text in files.items())
    assert "asimddp" in system_files(PI5)["proc/cpuinfo"]
    assert "asimddp" not in system_files(PI4)["proc/cpuinfo"]


def _fake(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache without a system, and an mmdebstrap that makes one with nothing but Python's name in it."""
    bin_folder = tmp_path / "bin"
    python = system.PYTHON
    find = 'for word in "$@"; do case $word in */root) out=$word;; esac; done'
    unpack = f"{find}\n/bin/mkdir -p $out/usr/bin; : > $out/{python}"
    _fake(bin_folder, "mmdebstrap", unpack)
    _fake(bin_folder, "qemu-aarch64", "echo no such processor >&2; exit 3")
    monkeypatch.setenv("PATH", str(bin_folder))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_what_is_made_is_left_alone_the_next_time(empty: Path) -> None:
    said: list[str] = []
    setup.set_up((), said.append)
    assert [line.endswith("...") for line in said] == [True] * 3
    home = system.home()
    assert sorted(path.name for path in home.iterdir()) == ["pi4", "pi5", "root"]
    assert (home / "pi5" / system.PYTHON).exists()
    assert (home / "pi5/proc/cpuinfo").read_text() == system_files(PI5)["proc/cpuinfo"]
    stamp = (home / "root").stat().st_mtime_ns
    setup.set_up((), said.append)
    assert [line.endswith("is there") for line in said[3:]] == [True] * 3
    assert (home / "root").stat().st_mtime_ns == stamp


def test_a_runtime_that_does_not_run_is_not_installed(empty: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tools.call

    def call(argv: list[str], what: str, limit_s: float, folder: Path | None = None) -> bytes:
        if "pip" not in argv:
            return real(argv, what, limit_s, folder)
        assert {"ai-edge-litert==2.3.0", "manylinux_2_28_aarch64", "--only-binary=:all:"} <= set(argv)
        Path(argv[argv.index("--target") + 1]).mkdir()
        return b""

    monkeypatch.setattr("devices.tools.call", call)
    with pytest.raises(DeviceError, match="litert on pi5 failed with exit code 3: no such processor"):
        setup.set_up((system.LITERT,), lambda _: None)
    assert sorted(path.name for path in system.home().iterdir()) == ["pi4", "pi5", "root"]
    assert system.missing(system.LITERT, PI5) is not None


def test_a_system_without_python_is_not_kept(empty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _fake(empty / "bin", "mmdebstrap", "exit 0")
    assert setup.main([]) == 1
    assert f"holds no {system.PYTHON}" in capsys.readouterr().err
    assert list(system.home().iterdir()) == []


def test_a_runtime_that_is_not_known_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert setup.main(["liteRT"]) == 2
    assert "unknown runtime 'liteRT'; known are litert" in capsys.readouterr().err


def _need(guest: system.Guest, core: system.Core) -> None:
    if os.environ.get("EDGEMILL_PI") != "1":
        pytest.skip("takes seconds a runtime: set EDGEMILL_PI=1")
    reason = system.missing(guest, core)
    if reason:
        pytest.skip(reason)


@every_pair
def test_outputs_are_close_and_counts_repeat(pair: tuple[system.Guest, system.Core], tmp_path: Path) -> None:
    _need(*pair)
    guest, core = pair
    graph = toy_graph()
    codes = random_codes(graph, 6)
    expected = run(lower(graph), codes)[graph.output]
    folder = write_part(tmp_path / "part", {"arm-a": arm_a.TARGET, "host": host.TARGET}[guest.target])
    session = pi.open_session(guest, core, folder, "toy", graph)
    made = session.run(codes)
    assert made.shape == expected.shape
    assert made.dtype == expected.dtype
    # Kernels of these runtimes round otherwise than the reference, at most one step in each of the toy's six layers.
    assert np.abs(made.astype(int) - expected.astype(int)).max() <= 6
    assert len(np.unique(made)) > 5
    assert len(set(made.argmax(axis=1))) > 1
    first, second = session.instructions(codes[:3]), session.instructions(codes[:3])
    assert len(first) == 3
    # LiteRT repeats to the instruction; the others look at memory addresses and clocks.
    assert np.allclose(first, second, rtol=0 if guest.suffix == ".tflite" else 1e-3, atol=0)
    assert min(first) > 10_000
    with pytest.raises(DeviceError, match="not time"):
        session.timed(codes)


def test_tensors_of_a_tflite_part_are_shown(tmp_path: Path) -> None:
    _need(system.LITERT, PI5)
    graph = toy_graph()
    codes = random_codes(graph, 2)
    expected = run(lower(graph), codes)
    session = pi.open_session(system.LITERT, PI5, write_part(tmp_path / "part", arm_a.TARGET), "toy", graph)
    shown = session.tensors(codes)
    assert set(shown) == {graph.input, *(node.output for node in graph.nodes)}
    for name, values in shown.items():
        assert np.abs(values.astype(int) - expected[name].astype(int)).max() <= 6, name


def test_the_profile_counts(tmp_path: Path) -> None:
    _need(system.LITERT, PI5)
    plan = short_plan(write_part(tmp_path / "part", arm_a.TARGET), "pi5-litert", "arm-a")
    found = runner.profile(plan)
    assert found.instructions is not None
    assert len(found.instructions) == 2
    assert dict(found.versions)["ai-edge-litert"] == "2.3.0"
    with pytest.raises(DeviceError, match="export 'gone' to arm-a first"):
        runner.profile(replace(plan, part="gone"))
