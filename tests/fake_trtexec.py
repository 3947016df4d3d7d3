"""A stand-in for trtexec: it answers like the real one of a generation, refuses what that does not know, and says so.

No GPU takes part: the "engine" is the ONNX file, outputs come from ONNX Runtime on the CPU, and times are made up in a
fixed pattern. `FAKE_TRTEXEC` in the environment makes it misbehave; see `_broken`. Command line:
fake_trtexec.py GENERATION BANNER COMPUTE -- ARGUMENTS. Forms follow logs and sources of each generation.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from pathlib import Path

STAND_IN = "SIMULATED: a stand-in for trtexec answers; no GPU takes part"
#: Options with a value and without, that every generation knows.
VALUES = (
    "--onnx",
    "--saveEngine",
    "--loadEngine",
    "--timingCacheFile",
    "--profilingVerbosity",
    "--warmUp",
    "--duration",
    "--iterations",
    "--percentile",
    "--exportTimes",
    "--exportProfile",
    "--exportOutput",
    "--exportLayerInfo",
    "--loadInputs",
    "--useDLACore",
)
FLAGS = ("--allowGPUFallback", "--useSpinWait", "--useCudaGraph", "--noDataTransfers", "--separateProfileRun", "--help")
#: And those of some generations only.
OWN = {
    "8.2": ("--workspace", "--buildOnly", "--int8", "--fp16"),
    "8.5": ("--workspace", "--memPoolSize", "--buildOnly", "--int8", "--fp16"),
    "8.6": ("--workspace", "--memPoolSize", "--buildOnly", "--skipInference", "--int8", "--fp16", "--stronglyTyped"),
    "10": ("--memPoolSize", "--skipInference", "--int8", "--fp16", "--stronglyTyped"),
    "11": ("--memPoolSize", "--skipInference", "--includeDataTransfers", "--noSpinWait", "--noCudaGraph"),
}
BUILD_ONLY = ("--buildOnly", "--skipInference")
#: Milliseconds: copying in, computing, copying out.
COPY_IN_MS, COMPUTE_MS, COPY_OUT_MS = 0.0117188, 0.35, 0.0068359


def main(generation: str, banner: str, compute: str, words: list[str]) -> int:
    """Answer one call."""
    told = " ".join(["trtexec", *words])
    say_banner = f"TensorRT.trtexec [TensorRT {banner}]{' [b17]' if generation in ('10', '11') else ''} # {told}"
    print(f"&&&& RUNNING {say_banner}")
    if "--help" in words:
        print("=== Model Options ===\n  --onnx=<file>               ONNX model")
        return 0
    status = _work(generation, compute, words)
    print(f"&&&& {'FAILED' if status else 'PASSED'} {say_banner}")
    return status


def info(text: str, severity: str = "I") -> None:
    """Print one line as trtexec's logger does."""
    print(f"[{time.strftime('%m/%d/%Y-%H:%M:%S')}] [{severity}] {text}")


def _work(generation: str, compute: str, words: list[str]) -> int:
    options = dict(word.partition("=")[::2] for word in words)
    unknown = [key for key in options if key not in (*VALUES, *FLAGS, *OWN[generation])]
    for key in unknown:
        info(f"Unknown option: {key} {options[key]}", "E")
    if unknown:
        return 1
    info(STAND_IN, "W")
    _say_options(generation, options)
    info("=== Device Information ===")
    info("Selected Device: Stand-in")
    info(f"Compute Capability: {_broken('compute') or compute}")
    if not _engine(options):
        info("Engine set up failed", "E")
        return 1
    if any(flag in options for flag in BUILD_ONLY):
        return 0
    return _infer(generation, options)


def _broken(what: str) -> str:
    """Return how this call is to misbehave in one way: FAKE_TRTEXEC holds `what=how` words."""
    asked = dict(word.partition("=")[::2] for word in os.environ.get("FAKE_TRTEXEC", "").split())
    return asked.get(what, "")


def _settings(generation: str, options: dict[str, str]) -> dict[str, bool]:
    """Return the three settings whose defaults changed; TensorRT 11 ignores the old flags."""
    new = generation == "11"
    return {
        "Data transfers": "--includeDataTransfers" in options if new else "--noDataTransfers" not in options,
        "Spin-wait": "--noSpinWait" not in options if new else "--useSpinWait" in options,
        "CUDA Graph": "--noCudaGraph" not in options if new else "--useCudaGraph" in options,
    }


def _say_options(generation: str, options: dict[str, str]) -> None:
    info("=== Inference Options ===")
    info(f"Iterations: {options.get('--iterations', '10')}")
    info(f"Duration: {options.get('--duration', '3')}s (+ {options.get('--warmUp', '200')}ms warm up)")
    for key, value in _settings(generation, options).items():
        shown = value != (_broken("setting") == key.replace(" ", "_"))
        info(f"{key}: {'Enabled' if shown else 'Disabled'}")
    info("=== Reporting Options ===")


def _engine(options: dict[str, str]) -> bool:
    """Build or load: the engine is the ONNX file behind a line of its own and one with the names of the layers."""
    mark = b"stand-in engine\n"
    if "--onnx" in options:
        model = Path(options["--onnx"])
        if _broken("build") or not model.is_file():
            info(f"{_broken('build') or 'Could not open file ' + str(model)}".replace("_", " "), "E")
            return False
        content = model.read_bytes()
        names = json.dumps(_fused(content)).encode() + b"\n"
        Path(options["--saveEngine"]).write_bytes(mark + names + content)
        with Path(options["--timingCacheFile"]).open("ab") as cache:
            cache.write(b".")
        info("Engine built in 3.25 sec.")
        return True
    plan = Path(options["--loadEngine"])
    if not plan.is_file() or not plan.read_bytes().startswith(mark):
        info(f"Error opening engine file: {plan}", "E")
        return False
    info("Engine loaded in 0.0366 sec.")
    return True


def _infer(generation: str, options: dict[str, str]) -> int:
    info("Starting inference")
    if _broken("hang"):
        Path("hanging").touch()
        time.sleep(float(_broken("hang")))
    transfers = _settings(generation, options)["Data transfers"]
    warmups, queries = 3, max(int(options.get("--iterations", "10")), int(options.get("--duration", "3")) * 100)
    rows = [
        _row(number, int(options.get("--warmUp", "200")), warmups, transfers) for number in range(warmups + queries)
    ]
    profiled = "--exportProfile" in options
    if not profiled or "--separateProfileRun" in options:
        _report(generation, options, rows, warmups)
    else:
        info("The e2e network timing is not reported since it is inaccurate due to the extra synchronizations.")
    if "--exportLayerInfo" in options:
        Path(options["--exportLayerInfo"]).write_text(json.dumps({"Layers": _layers(options), "Bindings": ["x", "y"]}))
    if profiled:
        Path(options["--exportProfile"]).write_text(_profile(generation, options))
    if "--exportOutput" in options:
        Path(options["--exportOutput"]).write_text(json.dumps(_outputs(options)))
    return 0


def _row(number: int, warmup_ms: int, warmups: int, transfers: bool) -> dict[str, float]:
    copies = (COPY_IN_MS, COPY_OUT_MS) if transfers else (0.0, 0.0)
    compute = COMPUTE_MS * (1 + 0.02 * (number * 7919 % 97) / 97)
    start = warmup_ms * number / warmups if number < warmups else warmup_ms + (number - warmups) * 0.4
    times = {"h2dMs": copies[0], "computeMs": compute, "d2hMs": copies[1], "latencyMs": sum(copies) + compute}
    return {"startEnqMs": start, "startH2dMs": start, "startComputeMs": start + copies[0], **times}


def _report(generation: str, options: dict[str, str], rows: list[dict[str, float]], warmups: int) -> None:
    timed = rows[warmups:]
    info(f"Warmup completed {warmups} queries over {options.get('--warmUp', '200')} ms")
    info(f"Timing trace has {len(timed)} queries over {len(timed) * 0.4 / 1000:g} s")
    ordered = sorted(row["latencyMs"] for row in timed)
    half = len(ordered) // 2
    median = ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2
    info("=== Performance summary ===")
    info(f"Throughput: {1000 / 0.4:g} qps")
    tail = f"median = {median:g} ms, percentile(99%) = {ordered[int(len(ordered) * 0.99)]:g} ms"
    info(f"Latency: min = {ordered[0]:g} ms, max = {ordered[-1]:g} ms, mean = {median:g} ms, {tail}")
    if "--exportTimes" in options:
        # 8.2 writes its warm-up, too; later ones leave it out. Only 8.x has the time from end to end.
        written = rows if generation == "8.2" else timed
        written = [{**row, "endToEndMs": row["latencyMs"]} for row in written] if generation == "8.2" else written
        text = json.dumps(written, indent=1)
        Path(options["--exportTimes"]).write_text(text[: len(text) // 2] if _broken("times") == "cut" else text)


def _fused(content: bytes) -> list[str]:
    """Return layers as TensorRT names them: a convolution with what is fused behind it."""
    import onnx

    layers: list[str] = []
    for node in onnx.load_model_from_string(content).graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Identity"):
            continue
        if node.op_type in ("Relu", "Clip", "Add") and layers:
            layers[-1] += f" + {node.name}"
        else:
            layers.append(node.name)
    return [f"Reformatting CopyNode for Input Tensor 0 to {layers[0]}", *layers]


def _names(options: dict[str, str]) -> list[str]:
    names: list[str] = json.loads(Path(options["--loadEngine"]).read_bytes().split(b"\n", 2)[1])
    return names


def _layers(options: dict[str, str]) -> list[dict[str, object]]:
    words = ("Row major linear FP32", "Thirty-two wide channel vectorized row major Int8 format")
    return [
        {
            "Name": name,
            "LayerType": "Reformat" if number == 0 else "CaskConvolution",
            "Outputs": [{"Name": f"out{number}", "Format/Datatype": words[number > 0]}],
        }
        for number, name in enumerate(_names(options))
    ]


def _profile(generation: str, options: dict[str, str]) -> str:
    names = _names(options)
    count = int(options.get("--iterations", "10"))
    rows: list[dict[str, object]] = [{"count": count}]
    for number, name in enumerate(names):
        average = 0.01 * (number + 1)
        times = {"timeMs": average * count, "averageMs": average, "percentage": 100 / len(names)}
        rows.append({"name": name, **times, **({} if generation == "8.2" else {"medianMs": average * 0.98})})
    return json.dumps(rows)


def _outputs(options: dict[str, str]) -> list[dict[str, object]]:
    """Compute one input with ONNX Runtime."""
    import numpy as np
    import onnxruntime as ort

    settings = ort.SessionOptions()
    settings.intra_op_num_threads, settings.log_severity_level = 1, 3
    model = Path(options["--loadEngine"]).read_bytes().split(b"\n", 2)[2]
    session = ort.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
    name, _, file = options["--loadInputs"].partition(":")
    shape = session.get_inputs()[0].shape
    values = session.run(None, {name: np.fromfile(file, np.float32).reshape(shape)})[0].reshape(-1)
    if _broken("outputs"):
        values = np.roll(values, 1)
    return [{"name": session.get_outputs()[0].name, "dimensions": "1x10", "values": [float(v) for v in values]}]


if __name__ == "__main__":
    if len(sys.argv) < 5 or sys.argv[4] != "--" or not re.fullmatch(r"v[0-9.]+", sys.argv[2]):
        sys.exit("fake_trtexec.py GENERATION BANNER COMPUTE -- ARGUMENTS")
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[5:]))
