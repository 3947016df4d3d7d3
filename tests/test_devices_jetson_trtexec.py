"""What trtexec writes, read back: hand-written logs and files in the forms of TensorRT 8.2 to 11."""

from __future__ import annotations

import json
from typing import Any

import pytest

from devices.errors import DeviceError
from devices.jetson.job import read_records
from devices.jetson.trtexec_files import Layer, read_layers, read_profile, read_times
from devices.jetson.trtexec_log import STAND_IN, read_log, require_passed, version_of

STAMP = "[11/21/2026-17:00:00]"


def log(banner: str, *lines: str, ending: str = "PASSED", build: str = "") -> str:
    """A log: lines are `I text`, `W text` or `E text`."""
    head = f"TensorRT.trtexec [TensorRT {banner}]{build} # trtexec --loadEngine=m.plan"
    body = [f"{STAMP} [{line[0]}] {line[2:]}" for line in lines]
    return "\n".join([f"&&&& RUNNING {head}", *body, *([f"&&&& {ending} {head}"] if ending else [])]) + "\n"


OLD = log(
    "v8201",
    "I === Inference Options ===",
    "I Data transfers: Enabled",
    "I Spin-wait: Disabled",
    "I CUDA Graph: Enabled",
    "I Inputs:",
    "I === Device Information ===",
    "I Selected Device: NVIDIA Tegra X1",
    "I Compute Capability: 5.3",
    "I TensorRT version: 8.2.1",
    "W [TRT] onnx2trt_utils.cpp:366: Your model has INT64 weights.",
    "I Engine built in 184.708 sec.",
    "I Warmup completed 2 queries over 200 ms",
    "I Timing trace has 35 queries over 3.16419 s",
    "I === Performance summary ===",
    "I Throughput: 11.0613 qps",
    "I Latency: min = 89.312 ms, max = 91.492 ms, mean = 90.3919 ms, median = 90.3035 ms, percentile(99%) = 91.492 ms",
    "I End-to-End Host Latency: min = 89 ms, max = 91 ms, mean = 90 ms, median = 95 ms, percentile(99%) = 91 ms",
    "I GPU Compute Time: min = 89.0 ms, max = 91.2 ms, mean = 90.1 ms, median = 90.0 ms, percentile(99%) = 91.2 ms",
)
NEW = log(
    "v110100",
    "I Data transfers: Enabled",
    "I Spin-wait: Enabled",
    "I CUDA Graph: Enabled",
    "I Selected Device: Orin",
    "I Selected Device ID: 0",
    "I Compute Capability: 8.7",
    "I Application Compute Clock Rate: 1.3 GHz",
    "I Warmup completed 1200 queries over 500 ms",
    "I Timing trace has 24000 queries over 10.0004 s",
    "I Latency: min = 0.3637 ms, max = 0.5212 ms, mean = 0.3745 ms, median = 0.3726 ms, percentile(50%) = 0.3726 ms, "
    "percentile(90%) = 0.38 ms, percentile(99%) = 0.4126 ms",
    build=" [b17]",
)


def test_a_log_of_an_old_generation() -> None:
    found = read_log(OLD)
    assert (found.version, found.passed, found.simulated) == ("8.2.1", True, False)
    assert (found.device, found.compute) == ("NVIDIA Tegra X1", "5.3")
    assert found.settings == {"Data transfers": True, "Spin-wait": False, "CUDA Graph": True}
    assert (found.warmups, found.queries, found.built_s) == (2, 35, 184.708)
    assert found.median_s == pytest.approx(90.3035e-3)
    assert [warning.startswith("[TRT] onnx2trt") for warning in found.warnings] == [True]


def test_a_log_of_a_new_generation() -> None:
    found = read_log(NEW)
    assert (found.version, found.compute, found.device) == ("11.1.0", "8.7", "Orin")
    assert found.settings == {"Data transfers": True, "Spin-wait": True, "CUDA Graph": True}
    assert (found.warmups, found.queries, found.built_s) == (1200, 24000, None)
    assert found.median_s == pytest.approx(0.3726e-3)


def test_a_stand_in_is_known_by_what_it_says() -> None:
    assert read_log(log("v8502", f"W {STAND_IN}")).simulated
    assert not read_log(log("v8502", "W something else")).simulated


@pytest.mark.parametrize(
    ("banner", "version"),
    [
        ("8201", "8.2.1"),
        ("8502", "8.5.2"),
        ("8602", "8.6.2"),
        ("100300", "10.3.0"),
        ("101303", "10.13.3"),
        ("110100", "11.1.0"),
        ("11.1.0.106", "11.1.0"),
    ],
)
def test_versions(banner: str, version: str) -> None:
    assert version_of(banner) == version
    assert read_log(log(f"v{banner}")).version == version


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            log("v100300", "E Unknown option: --workspace 2048", "E Unknown option: --buildOnly ", ending="FAILED"),
            r"TensorRT 10\.3\.0\) failed while building: Unknown option: --workspace 2048 .*another generation",
        ),
        (log("v8502", "E [TRT] 2: no kernel", "E Engine set up failed", ending="FAILED"), "no kernel"),
        (log("v8502", "I Starting inference", ending=""), "ends early, as after a crash"),
    ],
)
def test_a_failure_gives_trtexecs_own_reason(text: str, message: str) -> None:
    found = read_log(text)
    assert not found.passed
    with pytest.raises(DeviceError, match=message):
        require_passed(found, "building")


@pytest.mark.parametrize("text", ["", "\n\n", "sh: trtexec: not found\n", "Segmentation fault\n"])
def test_what_is_no_log_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match=r"run\.log is not trtexec's"):
        read_log(text, "run.log")


def times(count: int, **changes: float) -> list[dict[str, float]]:
    """Inferences of 2, 2.001, ... ms."""
    return [
        {
            "startEnqMs": float(i),
            "endEnqMs": i + 0.1,
            "startH2dMs": float(i),
            "startComputeMs": i + 0.2,
            "h2dMs": 0.2,
            "computeMs": 1.5 + i * 1e-3,
            "d2hMs": 0.3,
            "latencyMs": 2.0 + i * 1e-3,
            **changes,
        }
        for i in range(count)
    ]


def test_times_are_of_the_inferences_that_the_log_counts() -> None:
    """TensorRT 8.2 writes the warm-up into the file, too; its log counts without it."""
    rows = times(12)
    for row in rows:
        row["endToEndMs"] = 9.0
    found = read_times(json.dumps(rows), 10)
    assert [round(item.latency_s * 1e6) for item in found] == list(range(2002, 2012))
    assert (found[0].copy_in_s, found[0].copy_out_s) == (0.0002, 0.0003)
    assert found[0].compute_s == pytest.approx(1.502e-3)
    assert len(read_times(json.dumps(times(10)), 10)) == len(read_times(json.dumps(times(10)), None)) == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not JSON"),
        (json.dumps(times(3))[:-40], "is not JSON: .*its disk is full"),
        ("{}", "is not a list"),
        ("[]", "holds no inference behind the warm-up"),
        ("[1]", "inference 0 is not an object"),
        (json.dumps(times(2)), "holds 2 inferences; trtexec's log counts 3"),
        (json.dumps(times(3, latencyMs=2.5)), r"latency 2\.5 ms is not the sum"),
        (json.dumps(times(3, latencyMs=-1.0)), r"latencyMs is -1\.0"),
        (json.dumps(times(3)).replace("0.2", "NaN"), "is nan"),
        (json.dumps([{"computeMs": 1.0}]), "startH2dMs is None"),
    ],
)
def test_times_that_cannot_be_trusted_are_refused(text: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        read_times(text, 3 if "log counts" in message else None)


def test_time_by_layer() -> None:
    """Medians where there are some, else means, else the sum over the count."""
    rows: list[dict[str, Any]] = [
        {"count": 100},
        {"name": "conv + relu", "timeMs": 50.0, "averageMs": 0.5, "medianMs": 0.4, "percentage": 60.0},
        {"name": "fc", "timeMs": 30.0, "averageMs": 0.3, "percentage": 30.0},
        {"name": "tail", "timeMs": 10.0, "percentage": 10.0},
    ]
    found = read_profile(json.dumps(rows))
    assert [(layer.name, layer.median) for layer in found] == [("conv + relu", True), ("fc", False), ("tail", False)]
    assert [layer.time_s for layer in found] == pytest.approx([4e-4, 3e-4, 1e-4])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "not JSON"),
        ("[]", "count of inferences"),
        ('[{"count": 0}]', "count of inferences"),
        ('[{"count": 5}]', "holds no layer"),
        ('[{"count": 5}, {"averageMs": 1}]', "without a name"),
        ('[{"count": 5}, {"name": "a", "averageMs": "1"}]', "averageMs is '1'"),
        ('[{"count": 5}, {"name": "a"}]', "timeMs is None"),
    ],
)
def test_a_damaged_profile_is_refused(text: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        read_profile(text)


def test_layers_with_their_formats() -> None:
    """Three spellings of formats, a layer without any, and a file that has names only."""
    words = ("Thirty-two wide channel vectorized row major Int8 format", "Row major linear FP16 format", "Float", "")
    rows: list[dict[str, Any]] = [
        {"Name": f"l{i}", "LayerType": "CaskConvolution", "Outputs": [{"Format/Datatype": word}] if word else []}
        for i, word in enumerate(words)
    ]
    found = read_layers(json.dumps({"Layers": rows, "Bindings": []}))
    assert [layer.precision for layer in found] == ["INT8", "FP16", "FP32", ""]
    assert read_layers('{"Layers": ["conv"], "Bindings": []}') == (Layer("conv", "", ""),)
    for text, message in (("[]", "Layers"), ('{"Layers": [{}]}', "without a name"), ("{", "not JSON")):
        with pytest.raises(DeviceError, match=message):
            read_layers(text)


def test_what_a_job_writes_is_read_back() -> None:
    text = "begin build\nfile build.log\n=one\n==two\n\nended build 0\nbegin run\nended run 3\nfile m.json\n=[1]\n\n"
    found = read_records(text.encode())
    assert found.codes == {"build": 0, "run": 3}
    assert found.files == {"build.log": "one\n=two", "m.json": "[1]"}
    assert found.file("m.json", "run") == "[1]"
    with pytest.raises(DeviceError, match=r"'run' on the board ended well, but wrote no x\.json"):
        found.file("x.json", "run")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "stopped during 'start'"),
        ("begin build\n", "stopped during 'build'"),
        ("begin build\nended build 0\nbegin run\n", "stopped during 'run'"),
        ("begin build\nwhat is this\nended build 0\n", "a line that is none of its own: 'what is this'"),
    ],
)
def test_a_job_that_stopped_or_wrote_something_else_is_refused(text: str, message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        read_records(text.encode())
