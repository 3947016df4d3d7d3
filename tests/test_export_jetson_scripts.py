"""The scripts of a Jetson part: exact command lines, what reaches trtexec, and what the self-test concludes."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from export.errors import ExportError
from export.jetson_profiles import NANO, ORIN, ORIN_JETPACK5, ORIN_JETPACK60, ORIN_JETPACK72, PROFILES, THOR, XAVIER
from export.jetson_profiles import Profile as Board
from export.jetson_script import build_flags, profile_flags, run_flags, timing_settings
from export.jetson_selftest import DEFAULT_TOOL, tensorrt_version
from export.jetson_shell import build_script, profile_script, run_script
from tests.jetson_board import answer, calls, run, trtexec, write_toy

_CACHE = "--timingCacheFile=m.timing.cache --profilingVerbosity=detailed --saveEngine=m.plan"
_POOL = "--memPoolSize=workspace:1024M"
BUILD = (
    (XAVIER, f"--onnx=m.onnx --int8 --fp16 --workspace=1024 {_CACHE} --buildOnly"),
    (NANO, f"--onnx=m.onnx --fp16 --workspace=1024 {_CACHE} --buildOnly"),
    (ORIN_JETPACK5, f"--onnx=m.onnx --int8 --fp16 {_POOL} {_CACHE} --buildOnly"),
    (ORIN_JETPACK60, f"--onnx=m.onnx --int8 --fp16 {_POOL} {_CACHE} --skipInference"),
    (ORIN, f"--onnx=m.onnx --stronglyTyped {_POOL} {_CACHE} --skipInference"),
    (THOR, f"--onnx=m.onnx --stronglyTyped {_POOL} {_CACHE} --skipInference"),
    (ORIN_JETPACK72, f"--onnx=m.onnx {_POOL} {_CACHE} --skipInference"),
)
_START = "--loadEngine=m.plan --warmUp=500 --duration=10 --iterations=100"
_END = "--exportTimes=m.times.json --exportLayerInfo=m.layers.json --profilingVerbosity=detailed"
_OLD = f"{_START} --percentile=50,90,99 {_END} --useCudaGraph --useSpinWait"
RUN = (
    (XAVIER, f"{_START} --percentile=99 {_END} --useCudaGraph --useSpinWait"),
    (NANO, f"{_START} --percentile=99 {_END} --useCudaGraph --useSpinWait"),
    (ORIN_JETPACK5, _OLD),
    (ORIN_JETPACK60, _OLD),
    (ORIN, _OLD),
    (THOR, _OLD),
    (ORIN_JETPACK72, f"{_START} --percentile=50,90,99 {_END} --includeDataTransfers"),
)
INT8_BOARDS = tuple(profile for profile in PROFILES if profile.precision == "int8")


@pytest.mark.parametrize(("profile", "line"), BUILD, ids=[p.target for p, _ in BUILD])
def test_the_build_command_line(profile: Board, line: str) -> None:
    assert " ".join(build_flags(profile, "m")) == line


@pytest.mark.parametrize(("profile", "line"), RUN, ids=[p.target for p, _ in RUN])
def test_the_run_command_line(profile: Board, line: str) -> None:
    assert " ".join(run_flags(profile, "m")) == line


PROFILE_END = {"11": "--includeDataTransfers --noCudaGraph"}


@pytest.mark.parametrize("profile", PROFILES, ids=[p.target for p in PROFILES])
def test_layers_are_timed_in_a_run_without_cuda_graph(profile: Board) -> None:
    """With a profiler trtexec gives no latency, so nothing asks for one; the engine is the same."""
    start = "--loadEngine=m.plan --warmUp=200 --duration=0 --iterations=100 --exportProfile=m.profile.json"
    end = PROFILE_END.get(profile.generation, "--useSpinWait")
    assert " ".join(profile_flags(profile, "m")) == f"{start} --profilingVerbosity=detailed {end}"


@pytest.mark.parametrize("profile", PROFILES, ids=[p.target for p in PROFILES])
def test_every_generation_times_the_same_thing(profile: Board) -> None:
    assert timing_settings(profile) == {"Data transfers": True, "Spin-wait": True, "CUDA Graph": True}
    assert run_flags(profile, "m", duration_s=3, warmup_ms=7)[1:3] == ("--warmUp=7", "--duration=3")


def test_an_engine_is_built_again_only_when_something_changed(tmp_path: Path) -> None:
    """ONNX file, TensorRT version, flags or the engine itself; a failed build leaves no engine that looks fit."""
    tool, part = trtexec(tmp_path / "bin"), tmp_path / "part"
    part.mkdir()
    (part / "m.onnx").write_text("a model")

    def build(profile: Board = ORIN, **environment: str) -> tuple[int, bool]:
        (part / "build.sh").write_text(build_script(profile, "m"))
        before = len(calls(tool))
        done = run(["sh", str(part / "build.sh")], TRTEXEC=str(tool), **environment)
        assert ("not built again" in done.stdout) == (len(calls(tool)) == before)
        return done.returncode, len(calls(tool)) > before

    assert [build(), build()] == [(0, True), (0, False)]
    (part / "m.onnx").write_text("another model")
    assert [build(), build()] == [(0, True), (0, False)]
    trtexec(tmp_path / "bin", "v8503")
    assert [build(), build()] == [(0, True), (0, False)]
    assert [build(XAVIER), build(XAVIER)] == [(0, True), (0, False)]
    assert [build(XAVIER, DLA_CORE="0"), build(XAVIER, DLA_CORE="0")] == [(0, True), (0, False)]
    assert calls(tool)[-1][-2:] == ["--useDLACore=0", "--allowGPUFallback"]
    (part / "m.plan").unlink()
    assert build(XAVIER) == (0, True)
    trtexec(tmp_path / "bin", "v8504", status=1)
    assert build(XAVIER) == (1, True)
    trtexec(tmp_path / "bin", "v8503")
    assert build(XAVIER) == (0, True)


def test_a_version_that_is_not_said_is_never_cached(tmp_path: Path) -> None:
    tool = tmp_path / "trtexec"
    tool.write_text(
        '#!/bin/sh\nfor w in "$@"; do case $w in --saveEngine=*) echo x >m.plan; echo built ;; esac; done\n'
    )
    tool.chmod(0o755)
    (tmp_path / "m.onnx").write_text("a model")
    (tmp_path / "build.sh").write_text(build_script(ORIN, "m"))
    assert [run(["sh", str(tmp_path / "build.sh")], TRTEXEC=str(tool)).stdout for _ in "ab"] == ["built\n"] * 2


@pytest.mark.parametrize("name", ["build.sh", "run.sh", "profile.sh"])
def test_a_dla_core_needs_a_board_with_a_dla(name: str, tmp_path: Path) -> None:
    """The sources disagree on which releases drive it, so the part offers it and the runtime on the board decides."""
    script = {"build.sh": build_script, "run.sh": run_script, "profile.sh": profile_script}[name]
    tool, path = trtexec(tmp_path / "bin"), tmp_path / name
    (tmp_path / "m.onnx").write_text("a model")
    for profile in (NANO, ORIN_JETPACK72, THOR):
        path.write_text(script(profile, "m"))
        done = run(["sh", str(path)], TRTEXEC=str(tool), DLA_CORE="0")
        assert (done.returncode, "no DLA" in done.stderr, calls(tool)) == (2, True, [])
    path.write_text(script(ORIN, "m"))
    done = run(["sh", str(path)], TRTEXEC=str(tool), DLA_CORE="0 --fp16")
    assert (done.returncode, "number of a DLA core" in done.stderr, calls(tool)) == (2, True, [])
    assert run(["sh", str(path)], TRTEXEC=str(tool), DLA_CORE="1").returncode == 0
    assert "--useDLACore=1" in calls(tool)[-1]


def test_every_generation_is_tested_above() -> None:
    generations = {profile.generation for profile in PROFILES}
    assert {p.generation for p, _ in BUILD} == {p.generation for p, _ in RUN} == generations
    assert generations == {"8.2", "8.5", "8.6", "10", "11"}


def test_an_unknown_generation_is_refused() -> None:
    with pytest.raises(ExportError, match=r"no trtexec command line for TensorRT 9\.1; known: 8\.2"):
        build_flags(replace(ORIN, tensorrt="9.1"), "m")


def test_tensorrt_11_gets_no_precision_flag_and_no_ignored_one() -> None:
    flags = {*build_flags(ORIN_JETPACK72, "m"), *run_flags(ORIN_JETPACK72, "m")}
    assert not flags & {"--fp16", "--int8", "--best", "--useCudaGraph", "--useSpinWait", "--noDataTransfers"}


@pytest.mark.parametrize("profile", PROFILES, ids=[p.target for p in PROFILES])
def test_scripts_are_posix_shell(profile: Board, tmp_path: Path) -> None:
    """The shell parses them; dash, where there is one, takes no other dialect."""
    scripts = {"build.sh": build_script, "run.sh": run_script, "profile.sh": profile_script}
    for name, text in ((name, script(profile, "m")) for name, script in scripts.items()):
        path = tmp_path / name
        path.write_text(text)
        for shell in ("sh", *(["dash"] if shutil.which("dash") else [])):
            assert run([shell, "-n", str(path)]).stderr == ""
        assert text.startswith("#!/bin/sh\n")


@pytest.mark.parametrize("profile", PROFILES, ids=[p.target for p in PROFILES])
@pytest.mark.parametrize("by", ["PATH", "TRTEXEC"])
def test_the_scripts_pass_their_arguments_on(profile: Board, by: str, tmp_path: Path) -> None:
    """From any folder, with a space in the part's path; the engine lies in the part's folder."""
    tool, part = trtexec(tmp_path / "bin"), tmp_path / "a part"
    part.mkdir()
    path = f"{tool.parent}:{os.environ['PATH']}" if by == "PATH" else str(tool)
    (part / "m.onnx").write_text("a model")
    scripts = {"build.sh": build_script, "run.sh": run_script, "profile.sh": profile_script}
    for name, script in scripts.items():
        (part / name).write_text(script(profile, "m"))
    done = [run(["sh", str(part / name)], **{by: path}) for name in scripts]
    assert [(d.returncode, d.stderr) for d in done] == [(0, "")] * 3
    flags = (build_flags(profile, "m"), run_flags(profile, "m"), profile_flags(profile, "m"))
    assert calls(tool) == [list(line) for line in flags]
    assert (part / "m.plan").read_text() == "engine"


@pytest.mark.parametrize("name", ["build.sh", "run.sh", "profile.sh"])
def test_a_missing_trtexec_is_said_clearly(name: str, tmp_path: Path) -> None:
    scripts = {"build.sh": build_script, "run.sh": run_script, "profile.sh": profile_script}
    (tmp_path / name).write_text(scripts[name](ORIN, "m"))
    done = run(["sh", str(tmp_path / name)], TRTEXEC="/nowhere/trtexec")
    assert done.returncode == 2
    assert "no trtexec at /nowhere/trtexec" in done.stderr
    assert "set TRTEXEC" in done.stderr


def test_without_any_setting_the_place_of_jetpack_is_named(tmp_path: Path) -> None:
    if Path(DEFAULT_TOOL).exists() or shutil.which("trtexec"):
        pytest.skip("this machine has a trtexec")
    (tmp_path / "build.sh").write_text(build_script(ORIN, "m"))
    done = run(["sh", str(tmp_path / "build.sh")])
    assert (done.returncode, DEFAULT_TOOL in done.stderr) == (2, True)


def test_a_failing_trtexec_fails_the_script(tmp_path: Path) -> None:
    tool = trtexec(tmp_path, status=3)
    (tmp_path / "build.sh").write_text(build_script(ORIN, "m"))
    assert run(["sh", str(tmp_path / "build.sh")], TRTEXEC=str(tool)).returncode == 3


def selftest(folder: Path, tool: str) -> tuple[int, dict[str, Any]]:
    """Run a part's self-test; return exit status and result."""
    done = run([sys.executable, str(folder / "selftest.py")], TRTEXEC=tool)
    assert "Traceback" not in done.stderr
    result: dict[str, Any] = json.loads((folder / "selftest_result.json").read_text())
    assert json.loads(done.stdout) == result
    return done.returncode, result


@pytest.mark.parametrize("profile", INT8_BOARDS, ids=[p.target for p in INT8_BOARDS])
def test_the_selftest_passes_on_the_expected_outputs(profile: Board, tmp_path: Path) -> None:
    """Every vector reaches trtexec; TensorRT 11 is told to copy data, which it leaves out otherwise."""
    plan, tool = write_toy(profile, tmp_path / "part"), trtexec(tmp_path / "bin")
    answer(tool, plan, lambda _, values: values)
    status, result = selftest(tmp_path / "part", str(tool))
    assert (status, result["verdict"], result["labels_agree"], result["largest_difference"]) == (0, "passed", 8, 0)
    assert (result["tensorrt"], result["tensorrt_expected"]) == ("8.5", profile.tensorrt)
    build, *each = calls(tool)
    assert build == list(build_flags(profile, "toy"))
    assert [call[1] for call in each] == [f"--loadInputs=x:selftest_{i}.bin" for i in range(8)]
    assert {"--includeDataTransfers" in call for call in each} == {profile.generation == "11"}
    labels = [vector["expected"].index(max(vector["expected"])) for vector in plan["vectors"]]
    assert len(set(labels)) > 1


def _wrong_by(share: float) -> Callable[[dict[str, Any]], Callable[[int, list[Any]], list[Any]]]:
    """One value of one vector is off by a share of the tolerance."""
    return lambda plan: lambda number, v: [v[0] + share * plan["tolerance"], *v[1:]] if number == 5 else v


@pytest.mark.parametrize(
    ("change", "status"),
    [
        (_wrong_by(0.9), 0),
        (_wrong_by(1.1), 1),
        (_wrong_by(-1.1), 1),
        (lambda _: lambda number, v: v[1:] + v[:1], 1),
        (lambda _: lambda number, v: [0.0] * len(v), 1),
        (lambda _: lambda number, v: [*v[:-1], "nan"] if number == 7 else v, 1),
        (lambda _: lambda number, v: ["-nan", *v[1:]], 1),
        (lambda _: lambda number, v: ["-inf", *v[1:]], 1),
        (lambda _: lambda number, v: ["inf"] * len(v), 1),
        (lambda _: lambda number, v: v[:-1], 2),
        (lambda _: lambda number, v: ["x", *v[1:]], 2),
    ],
)
def test_the_selftest_judges_altered_outputs(change: Any, status: int, tmp_path: Path) -> None:
    """A value off by more than the tolerance or not finite is wrong; too few values or no JSON are no result."""
    plan, tool = write_toy(XAVIER, tmp_path / "part"), trtexec(tmp_path / "bin")
    answer(tool, plan, change(plan))
    found, result = selftest(tmp_path / "part", str(tool))
    assert (found, result["verdict"]) == (status, ("passed", "wrong outputs", "not run")[status])


def test_the_selftest_claims_nothing_when_nothing_ran(tmp_path: Path) -> None:
    """No tool, a failing tool, one that writes no engine or no output, no vectors: never passed, no traceback."""
    part = tmp_path / "part"
    plan = write_toy(XAVIER, part)
    (part / "toy.plan").write_text("an engine of an earlier build")
    (part / "selftest_output.json").write_text('[{"name": "y", "values": [0]}]')
    silent = tmp_path / "silent"
    silent.mkdir()
    (silent / "trtexec").write_text("#!/bin/sh\ntouch toy.plan\n")
    (silent / "trtexec").chmod(0o755)
    tools = (
        ("/nowhere/trtexec", "no trtexec at /nowhere/trtexec"),
        (str(trtexec(tmp_path / "failing", status=1)), "exit status 1"),
        (str(trtexec(tmp_path / "lazy", engine=False)), "wrote no toy.plan"),
        (str(silent / "trtexec"), "selftest_output.json"),
    )
    for tool, reason in tools:
        status, result = selftest(part, tool)
        assert (status, result["verdict"], reason in result["reason"]) == (2, "not run", True), result
    good = trtexec(tmp_path / "good")
    for text, reason in (
        (json.dumps({**plan, "vectors": []}), "no test vectors"),
        ("{}", "vectors"),
        ("", "Expecting"),
    ):
        (part / "selftest.json").write_text(text)
        status, result = selftest(part, str(good))
        assert (status, result["verdict"], reason in result["reason"]) == (2, "not run", True), result


def test_the_selftest_finds_trtexec_on_the_path(tmp_path: Path) -> None:
    plan, tool = write_toy(XAVIER, tmp_path / "part"), trtexec(tmp_path / "bin", "v10.13.3")
    answer(tool, plan, lambda _, values: values)
    command = [sys.executable, str(tmp_path / "part" / "selftest.py")]
    done = run(command, PATH=f"{tool.parent}:{os.environ['PATH']}")
    assert (done.returncode, json.loads(done.stdout)["tensorrt"]) == (0, "10.13")


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("v8201", "8.2"),
        ("v8502", "8.5"),
        ("v8602", "8.6"),
        ("v100300", "10.3"),
        ("v101303", "10.13"),
        ("v110100", "11.1"),
    ],
)
def test_versions_in_the_banner(banner: str, version: str) -> None:
    assert tensorrt_version(f"&&&& RUNNING TensorRT.trtexec [TensorRT {banner}] # trtexec") == version
    assert tensorrt_version("no banner") == "unknown"
