"""What a job on a Jetson found: checked against itself and the part, and said in words."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from devices import strict
from devices.errors import DeviceError
from devices.jetson.job import NO_PYTHON, Outcome
from devices.jetson.trtexec_files import Inference, Layer, LayerTime, read_layers, read_profile, read_times
from devices.jetson.trtexec_log import Log, read_log, require_passed
from devices.measurement import Step
from export.jetson_profiles import Profile
from export.jetson_script import timing_settings

#: trtexec's median and ours of the same samples may differ so much, as a share: they are printed with six digits.
_MEDIAN_SHARE = 1e-3


@dataclass(frozen=True, eq=False)
class Result:
    """One run on a board.

    Attributes:
        log: of the timed run.
        inferences: every timed one, in order.
        layer_times, layers: by layer of the engine.
        built: how the engine came about, in words.
        selftest: what the part's self-test found, in words.
    """

    log: Log
    inferences: tuple[Inference, ...]
    layer_times: tuple[LayerTime, ...]
    layers: tuple[Layer, ...]
    built: str
    selftest: str

    @property
    def simulated(self) -> bool:
        """Whether a stand-in for trtexec answered."""
        return self.log.simulated


def read_result(outcome: Outcome, profile: Profile, name: str) -> Result:
    """Read the outcome of a job.

    Raises:
        DeviceError: a step failed (with trtexec's reason), an output is missing or damaged, the GPU or a setting is
            another one than the part was written for, or the engine computes something else than the part.
    """
    built = _built(outcome)
    selftest = _selftest(outcome)
    log = _log(outcome, "run", "timing the engine")
    _check_run(log, profile)
    inferences = read_times(outcome.file(f"{name}.times.json", "run"), log.queries, f"{name}.times.json")
    median_s = statistics.median(inference.latency_s for inference in inferences)
    if log.median_s is not None and abs(median_s - log.median_s) > _MEDIAN_SHARE * log.median_s:
        raise DeviceError(
            f"{name}.times.json has a median of {median_s * 1e3:.6g} ms, trtexec's log {log.median_s * 1e3:.6g} ms: "
            "they are not of the same run."
        )
    _log(outcome, "profile", "timing its layers")
    return Result(
        log=log,
        inferences=inferences,
        layer_times=read_profile(outcome.file(f"{name}.profile.json", "profile"), f"{name}.profile.json"),
        layers=read_layers(outcome.file(f"{name}.layers.json", "run"), f"{name}.layers.json"),
        built=built,
        selftest=selftest,
    )


def windows(inferences: Sequence[Inference], count: int) -> tuple[tuple[float, ...], ...]:
    """Return the latencies in `count` windows of the same length, in order; fewer where there are fewer samples."""
    samples = [inference.latency_s for inference in inferences]
    count = min(count, len(samples))
    edges = [round(i * len(samples) / count) for i in range(count + 1)]
    return tuple(tuple(samples[a:b]) for a, b in itertools.pairwise(edges))


def steps(result: Result, macs: Mapping[str, int]) -> tuple[Step, ...]:
    """Return each layer of the engine with the multiply-accumulates of the network's nodes in it."""
    return tuple(
        Step(layer.name, sum(macs.get(part.strip(), 0) for part in layer.name.split(" + ")), None, None, layer.time_s)
        for layer in result.layer_times
    )


def settings(profile: Profile) -> tuple[tuple[str, str], ...]:
    """Return what changes the meaning of a latency as sorted pairs: figures with others are not compared."""
    named = {f"trtexec {key}": "on" if value else "off" for key, value in timing_settings(profile).items()}
    return tuple(sorted(named.items()))


def source(result: Result, flags: Sequence[str]) -> str:
    """Say where the figures come from; `flags` are trtexec's arguments in the timed run."""
    kinds = [layer.precision for layer in result.layers if layer.precision]
    counted = ", ".join(f"{kinds.count(kind)} of {len(kinds)} in {kind}" for kind in dict.fromkeys(kinds))
    medians = any(layer.median for layer in result.layer_times)
    parts = (
        "a stand-in for trtexec answered and no GPU took part: every figure is made up" if result.simulated else "",
        "trtexec's latency of one inference after another, batch 1: copying in, computing, copying out",
        result.built,
        f"outputs of the engine's layers: {counted}" if counted else "",
        f"layers: {'median' if medians else 'mean'} of a run of its own with a profiler, which is slower",
        result.selftest,
        f"trtexec {' '.join(flags)}",
    )
    return "; ".join(part for part in parts if part)


def _built(outcome: Outcome) -> str:
    text = outcome.files.get("build.log", "")
    if outcome.codes.get("build") == 0 and "it is not built again" in text:
        return "the engine was built in an earlier run"
    log = _log(outcome, "build", "building the engine")
    return "the engine was built" if log.built_s is None else f"the engine was built in {log.built_s:.3g} s"


def _log(outcome: Outcome, step: str, doing: str) -> Log:
    text, code = outcome.files.get(f"{step}.log", ""), outcome.codes.get(step)
    if "&&&& " not in text:
        last = [line.strip() for line in text.splitlines() if line.strip()][-1:] or ["it wrote nothing"]
        raise DeviceError(f"the board failed while {doing} (exit code {code}): {last[0][:300]}")
    log = read_log(text, f"{step}.log")
    require_passed(log, doing)
    if code != 0:
        raise DeviceError(f"the board failed while {doing}: trtexec passed, but {step}.sh ended with exit code {code}.")
    return log


def _check_run(log: Log, profile: Profile) -> None:
    """Refuse a latency that means something else than it should, or that is of another GPU."""
    wanted = timing_settings(profile)
    for key, value in log.settings.items():
        if value != wanted[key]:
            raise DeviceError(
                f"trtexec (TensorRT {log.version}) ran with '{key}' {'on' if value else 'off'}, which the part's flags "
                f"should have turned {'on' if wanted[key] else 'off'}: they are those of TensorRT {profile.tensorrt}. "
                "Export for the target that fits the board."
            )
    if log.compute is not None and log.compute != profile.compute:
        raise DeviceError(
            f"trtexec ran on a GPU of compute capability {log.compute} ({log.device}); {profile.board} has "
            f"{profile.compute}. A figure of another GPU is none of this board."
        )


def _selftest(outcome: Outcome) -> str:
    """Say what the self-test found; outputs that are wrong end the run."""
    text = outcome.files.get("selftest_result.json")
    if text is None:
        code = outcome.codes.get("selftest")
        why = "the board has no python3" if code == NO_PYTHON else f"it ended with exit code {code} and no result"
        return f"self-test not run: {why}"
    body = strict.parse_object(text, "selftest_result.json")
    verdict, vectors = body.get("verdict"), body.get("vectors")
    if verdict == "not run":
        return f"self-test not run: {str(body.get('reason'))[:300]}"
    if verdict not in ("passed", "wrong outputs") or not isinstance(vectors, list) or not vectors:
        raise DeviceError(
            f"selftest_result.json: the verdict is {verdict!r}; it must be passed, wrong outputs or not run."
        )
    said = (
        f"{body.get('labels_agree')} of {len(vectors)} labels agree, largest difference "
        f"{body.get('largest_difference')} of at most {body.get('tolerance')}"
    )
    if verdict == "wrong outputs":
        raise DeviceError(
            f"the engine computes something else than the part: {said}. Its latency would mean nothing; "
            "see selftest_result.json on the board, and try another target or FP16."
        )
    return f"self-test passed: {said}"
