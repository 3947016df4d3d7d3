"""Both runners give records that the protocol takes, and compute on their machine what the test vectors say."""

from __future__ import annotations

import io
import platform
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.conversation import Log, found
from devices.inventory import remote_boards
from devices.plan import Plan, plans
from devices.protocol import decode
from devices.remote.build import AARCH64, ARMHF, TRIPLES, X86_64
from devices.remote.pack import MAX_VECTORS, Channel, packed
from devices.runtimes import find_runtime
from devices.scenario import SCENARIOS
from devices.tools import missing_tool
from export.bundle import write_bundle
from export.bundle_read import Bundle
from export.targets import find_target
from quant.formats import E4M3, UINT8, integer
from tests import embedded
from tests.bundles import toy_spec

EMULATORS = {AARCH64.name: "qemu-aarch64", ARMHF.name: "qemu-arm"}
SHORT = {"windows": 3, "window_s": 0.002, "warmup_s": 0.002}


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Bundle]:
    """A bundle for each target that a remote board runs."""
    folder = tmp_path_factory.mktemp("bundles")
    made = {"arm-m": write_bundle(folder / "arm-m", toy_spec(), find_target("arm-m"))}
    if sys.modules.get("onnx") or _importable("onnx", "onnxruntime"):
        made["host"] = write_bundle(folder / "host", toy_spec(), find_target("host"))
    if _importable("flatbuffers"):
        made["arm-a"] = write_bundle(folder / "arm-a", toy_spec(), find_target("arm-a"))
    return made


def _importable(*names: str) -> bool:
    import importlib.util

    return all(importlib.util.find_spec(name) is not None for name in names)


def board(tmp_path: Path, extends: str, more: str):
    """A board on this machine."""
    path = tmp_path / "boards.toml"
    path.write_text(f'[boards.it]\nextends = "{extends}"\nuri = "local://"\n{more}\n')
    return remote_boards(path)[0]


def unpacked(data: bytes, folder: Path) -> Path:
    """What a board has when the bundle arrived."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        tar.extractall(folder, filter="fully_trusted")
    return folder


def records(command: list[str], folder: Path, code: int = 0) -> Log:
    """Run a runner; every record passes `decode` and stands where it may."""
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    assert done.returncode == code, done.stderr.decode()
    log = Log()
    for number, line in enumerate(done.stdout.splitlines(keepends=True)):
        decode(line, number)
        log.add(line, "board")
    return log


def c_log(bundle: Bundle, triple, tmp_path: Path, channels=(), idle_s=0.0, **plan: object) -> tuple[Plan, Log]:
    """Build the C runner for a triple and run it, in an emulator where this machine is another one."""
    if missing_tool(triple.compiler):
        pytest.skip(missing_tool(triple.compiler) or "")
    emulator = () if platform.machine() in triple.machines else (EMULATORS[triple.name],)
    if any(shutil.which(name) is None for name in emulator):
        pytest.skip(f"{emulator[0]} is not installed (apt-get install qemu-user)")
    remote = board(tmp_path, "host-c", f'triple = "{triple.name}"')
    (work,) = plans(bundle, remote.board, **{**SHORT, **plan})
    made = packed(work, remote, channels, idle_s)
    folder = unpacked(made.archive.data, tmp_path / "job")
    return work, records([*emulator, *made.command], folder)


@pytest.mark.parametrize("triple", TRIPLES, ids=lambda triple: triple.name)
def test_the_c_runner_computes_the_reference_s_codes(bundles, tmp_path, triple):
    outputs = bundles["arm-m"].parts[0].outputs
    assert len(np.unique(outputs.argmax(axis=1))) > 1, "one label would prove nothing"
    work, log = c_log(bundles["arm-m"], triple, tmp_path)
    assert log.of("self_test") == [{"vectors": 4, "codes_equal": 4, "top1_equal": 4, "max_steps": 0}]
    assert log.of("hello")[0]["runner"] == "c"
    assert dict(log.of("caps")[0]["versions"])["machine"] in triple.machines
    ran = found(work, log, "here")
    assert ran.latency_s is not None and len(ran.latency_s) == 3
    assert all(sample > 0 for window in ran.latency_s for sample in window)


@pytest.mark.parametrize("act", [E4M3, integer(16), UINT8], ids=lambda fmt: fmt.name)
def test_the_c_runner_knows_which_code_is_greatest(tmp_path, act):
    """Codes of minifloats are not in the order of their values."""
    bundle = write_bundle(tmp_path / "b", embedded.spec(act=act), find_target("arm-m"))
    part = bundle.parts[0]
    ordinals = part.graph.quant(part.graph.output).format.to_ordinals(part.outputs)
    assert len(np.unique(ordinals.argmax(axis=1))) > 1
    _, log = c_log(bundle, X86_64, tmp_path)
    assert log.of("self_test") == [{"vectors": 8, "codes_equal": 8, "top1_equal": 8, "max_steps": 0}]


def test_the_self_test_sees_a_wrong_code(bundles, tmp_path):
    if platform.machine() not in X86_64.machines:
        pytest.skip("this machine is no x86_64")
    remote = board(tmp_path, "host-c", f'triple = "{X86_64.name}"')
    (work,) = plans(bundles["arm-m"], remote.board, **SHORT)
    made = packed(work, remote)
    folder = unpacked(made.archive.data, tmp_path / "job")
    vectors = bytearray((folder / "vectors.bin").read_bytes())
    outputs = bundles["arm-m"].parts[0].outputs
    best = int(outputs[-1].argmax())
    vectors[best - outputs.shape[1]] = 0x80  # the greatest code of the last output becomes the smallest
    off = int(outputs[-1].max()) + 128
    (folder / "vectors.bin").write_bytes(bytes(vectors))
    log = records(list(made.command), folder)
    assert log.of("self_test") == [{"vectors": 4, "codes_equal": 3, "top1_equal": 3, "max_steps": off}]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_scenarios(bundles, tmp_path, scenario):
    work, log = c_log(bundles["arm-m"], X86_64, tmp_path, scenario=scenario)
    windows = log.of("window")
    assert len(windows) == 3
    sizes = {window["samples_per_query"] for window in windows}
    assert sizes == {scenario.samples_per_query} if scenario.samples_per_query else min(sizes) > 1
    if scenario.samples_per_query is None:
        assert all(len(window["samples_ns"]) == 1 for window in windows)
    assert found(work, log, "here").samples_per_query in sizes


def test_windows_are_added_until_the_scenario_is_complete(bundles, tmp_path):
    work, log = c_log(bundles["arm-m"], X86_64, tmp_path, scenario=SCENARIOS[1], complete=True, window_s=0.001)
    samples = sum(len(window["samples_ns"]) * window["samples_per_query"] for window in log.of("window"))
    assert samples >= SCENARIOS[1].min_samples
    assert log.of("end")[0]["windows"] == len(log.of("window")) > 3
    found(work, log, "here")


def test_sensors_are_read_beside_the_work(bundles, tmp_path):
    (tmp_path / "volt").write_text("5000\n")
    (tmp_path / "text").write_text("off\n")
    channels = tuple(Channel(name, str(tmp_path / name)) for name in ("volt", "text", "absent"))
    _, log = c_log(bundles["arm-m"], X86_64, tmp_path, channels, idle_s=0.05, window_s=0.03)
    readings = log.of("sensor")
    assert {record["name"] for record in readings} == {"volt"}
    assert {value for record in readings for value in record["values"]} == {5000.0}
    marks = {record["name"]: record["t_ns"] for record in log.of("mark")}
    begin, end = marks["idle-begin"], marks["idle-end"]
    assert end - begin >= 50_000_000
    times = [t_ns for record in readings for t_ns in record["t_ns"]]
    assert times == sorted(times) and len(set(times)) == len(times)
    assert sum(begin <= t_ns <= end for t_ns in times) >= 2
    windows = log.of("window")
    assert any(windows[0]["t0_ns"] <= t_ns <= windows[-1]["t1_ns"] for t_ns in times)


PYTHON_BOARDS = (
    ("host-ort", "host", "onnxruntime"),
    ("host-openvino", "host", "openvino"),
    ("host-litert", "arm-a", "ai_edge_litert"),
    ("host-tflite", "arm-a", "tflite_runtime"),
)


@pytest.mark.parametrize(("extends", "target", "module"), PYTHON_BOARDS, ids=[case[0] for case in PYTHON_BOARDS])
def test_the_python_runner_gives_the_same_records(bundles, tmp_path, extends, target, module):
    if target not in bundles or not _importable(module):
        pytest.skip(f"{module}, or what writes parts of {target}, is not installed")
    remote = replace(board(tmp_path, extends, ""), python=sys.executable)
    (work,) = plans(bundles[target], remote.board, **SHORT, scenario=SCENARIOS[1])
    (tmp_path / "volt").write_text("5000\n")
    made = packed(work, remote, (Channel("volt", str(tmp_path / "volt")),), 0.02)
    folder = unpacked(made.archive.data, tmp_path / "job")
    # -I: what lies here is not importable, as on a board.
    log = records([made.command[0], "-I", *made.command[1:]], folder)
    (tested,) = log.of("self_test")
    part = bundles[target].parts[0]
    session = find_runtime(remote.kind.runtime).open(part.folder, part.stem, part.graph)
    steps = np.abs(session.run(part.inputs).astype(int) - part.outputs.astype(int)).max(axis=1)
    session.close()
    assert (tested["vectors"], tested["top1_equal"]) == (4, 4)
    assert (tested["codes_equal"], tested["max_steps"]) == (int((steps == 0).sum()), steps.max())
    assert log.of("hello")[0]["runner"] == "python"
    assert log.of("caps")[0]["runtime"] == remote.kind.runtime
    assert {record["name"] for record in log.of("mark")} == {"idle-begin", "idle-end"}
    assert {record["name"] for record in log.of("sensor")} == {"volt"}
    assert found(work, log, "here").samples_per_query == 8


def test_the_python_runner_says_what_is_missing(bundles, tmp_path):
    if "host" not in bundles:
        pytest.skip("onnx is not installed")
    remote = replace(board(tmp_path, "host-ort", ""), python=sys.executable)
    (work,) = plans(bundles["host"], remote.board, **SHORT)
    made = packed(work, remote)
    folder = unpacked(made.archive.data, tmp_path / "job")
    # -S: without what is installed, as on a board where it is not.
    log = [made.command[0], "-S", *made.command[1:]]
    done = subprocess.run(log, cwd=folder, capture_output=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    kind, record = decode(lines[-1], len(lines) - 1)
    assert (done.returncode, kind, "numpy" in record["message"]) == (1, "error", True)
    next(folder.glob("*.onnx")).write_bytes(b"no model")
    done = subprocess.run(list(made.command), cwd=folder, capture_output=True, timeout=120, check=False)
    assert done.returncode == 1
    assert b"INVALID_PROTOBUF" in done.stderr.splitlines()[-1]


def test_the_c_runner_refuses_what_it_cannot_do(bundles, tmp_path):
    if platform.machine() not in X86_64.machines:
        pytest.skip("this machine is no x86_64")
    remote = board(tmp_path, "host-c", f'triple = "{X86_64.name}"')
    (work,) = plans(bundles["arm-m"], remote.board, **SHORT)
    folder = unpacked(packed(work, remote).archive.data, tmp_path / "job")

    def run(*words: str, stdout: int = subprocess.PIPE) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            ["./runner", *words], cwd=folder, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False
        )

    assert run("--windows", "x").returncode == 2
    assert run("--windows", "0").returncode == 2
    assert run("--unknown").returncode == 2
    assert b"test vectors" in run("--vectors", "none").stdout
    (folder / "short.bin").write_bytes(b"123")
    assert run("--vectors", "short.bin").returncode == 1
    with Path("/dev/full").open("wb") as full:
        done = run("--windows", "1", stdout=full.fileno())
    assert (done.returncode, b"No space left on device" in done.stderr) == (74, True)
    assert run("--warmup-ns", "100000000000", "--limit-s", "1").returncode == -14


def test_vectors_are_a_few(bundles, tmp_path):
    remote = board(tmp_path, "host-c", f'triple = "{X86_64.name}"')
    (work,) = plans(bundles["arm-m"], remote.board)
    assert len(bundles["arm-m"].parts[0].inputs) <= MAX_VECTORS
    if missing_tool(X86_64.compiler):
        pytest.skip(missing_tool(X86_64.compiler) or "")
    assert packed(work, remote).archive.id == packed(work, remote).archive.id
