"""MLPerf LoadGen as the one who puts the queries (`pip install edgemill[loadgen]`), for figures in MLPerf's own terms.

LoadGen makes its queries beforehand from the latency that it expects: when the part is faster than that, it runs out of
queries before the least duration is over and calls its own run INVALID. So the part is timed first (the calibration
pass), and the expected latency is set well below what was seen. LoadGen has no warm-up of its own either.

LoadGen's figures hold its own path through Python, some microseconds a query. The samples that are kept here are
timed inside the query, on the clock of every other measurement.
"""

from __future__ import annotations

import array
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices.errors import DeviceError
from devices.measurement import LoadgenVerdict
from devices.plan import Plan
from devices.scenario import MULTI_STREAM, OFFLINE, SINGLE_STREAM, SUBMISSION_S, Scenario, find_scenario
from devices.timing import MAX_SAMPLES, Ask, raw_clock

INSTALL = "MLPerf LoadGen is not installed: pip install 'edgemill[loadgen]'"
#: How long the part is timed before LoadGen begins, at least, in seconds.
CALIBRATION_S = 0.1
#: Expected latency by the one seen, so that a part that speeds up still finds enough queries.
EXPECTED_PART = 0.5
#: LoadGen asks for 1.1 times rate by duration; so much more covers a part that speeds up offline.
EXPECTED_RATE = 1.3
#: Names of LoadGen's scenarios.
_NAMES = {SINGLE_STREAM.name: "SingleStream", MULTI_STREAM.name: "MultiStream", OFFLINE.name: "Offline"}
#: Samples in LoadGen's library; each of them is the part's first test vector.
_LIBRARY = 64
_MARK = ":::MLLOG "
_CHECKS = {
    "result_min_duration_met": "the least duration was not reached",
    "result_min_queries_met": "there were too few queries",
    "early_stopping_met": "there are too few queries for the percentile's bound",
}


@dataclass(frozen=True, slots=True)
class Chunk:
    """Queries of one stretch of a run of LoadGen, as a window: when it began and ended, and each query's duration."""

    t0_ns: int
    t1_ns: int
    samples_per_query: int
    samples_ns: list[int]


def missing() -> str | None:
    """Return None when LoadGen can be used here, else how to get it."""
    try:
        import mlperf_loadgen  # noqa: F401
    except ImportError:
        return INSTALL
    return None


def drive(plan: Plan, infer: Ask, seen_ns: float) -> tuple[list[Chunk], LoadgenVerdict]:
    """Let LoadGen put the queries of a plan's scenario.

    Args:
        plan: its scenario, and the least duration: `windows` times `window_s`.
        infer: runs one inference.
        seen_ns: what one took in the calibration pass, in nanoseconds.

    Returns:
        The queries in `plan.windows` stretches, or one for each where there were fewer, and what LoadGen said.

    Raises:
        DeviceError: LoadGen is not installed, or left no result.
    """
    reason = missing()
    if reason:
        raise DeviceError(f"{reason}.")
    scenario = find_scenario(plan.scenario)
    times = array.array("q")
    sizes: set[int] = set()
    with tempfile.TemporaryDirectory(prefix="edgemill-") as logs:
        _start(_settings(plan, scenario, seen_ns), infer, times, sizes, logs)
        verdict = read_verdict(Path(logs) / "mlperf_log_detail.txt", plan)
    if len(sizes) != 1:
        raise DeviceError(f"LoadGen put queries of {sorted(sizes)} samples; one number was expected.")
    return chunks(times, sizes.pop(), plan.windows), verdict


def _settings(plan: Plan, scenario: Scenario, seen_ns: float) -> Any:
    import mlperf_loadgen as lg

    found, seen_ns = lg.TestSettings(), max(1.0, seen_ns)
    found.scenario = getattr(lg.TestScenario, _NAMES[scenario.name])
    found.mode = lg.TestMode.PerformanceOnly
    found.min_duration_ms = max(1, round(plan.windows * plan.window_s * 1e3))
    found.min_query_count = scenario.min_samples if plan.complete and scenario is OFFLINE else scenario.min_queries
    if scenario is SINGLE_STREAM:
        found.single_stream_expected_latency_ns = max(1, int(EXPECTED_PART * seen_ns))
    elif scenario is MULTI_STREAM:
        found.multi_stream_samples_per_query = MULTI_STREAM.samples_per_query
        found.multi_stream_expected_latency_ns = max(
            1, int(EXPECTED_PART * seen_ns * (scenario.samples_per_query or 1))
        )
    else:
        found.offline_expected_qps = EXPECTED_RATE * 1e9 / seen_ns
    return found


def _start(settings: Any, infer: Ask, times: array.array[int], sizes: set[int], logs: str) -> None:
    """Run the test; begin and end of every query go into `times`, its number of samples into `sizes`."""
    import mlperf_loadgen as lg

    answer = array.array("B", b"\0")
    address, _ = answer.buffer_info()

    def issue(samples: Sequence[Any]) -> None:
        begin = raw_clock()
        for _ in samples:
            infer()
        times.extend((begin, raw_clock()))
        sizes.add(len(samples))
        lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, address, 1) for sample in samples])

    output, logging = lg.LogOutputSettings(), lg.LogSettings()
    output.outdir, output.copy_summary_to_stdout = logs, False
    logging.log_output, logging.enable_trace = output, False
    tested = lg.ConstructSUT(issue, lambda: None)
    library = lg.ConstructQSL(_LIBRARY, _LIBRARY, lambda _: None, lambda _: None)
    try:
        lg.StartTestWithLogSettings(tested, library, settings, logging)
    finally:
        lg.DestroyQSL(library)
        lg.DestroySUT(tested)


def chunks(times: Sequence[int], samples_per_query: int, windows: int) -> list[Chunk]:
    """Cut queries into at most `windows` stretches of the same number of queries.

    Args:
        times: begin and end of each query in turn, in nanoseconds.
        samples_per_query: inferences of a query.
        windows: how many stretches are wanted.

    A stretch keeps at most MAX_SAMPLES durations, evenly spaced over it.
    """
    queries = len(times) // 2
    count = min(windows, queries)
    found = []
    for index in range(count):
        first, last = (queries * k // count for k in (index, index + 1))
        step = -(-(last - first) // MAX_SAMPLES)
        durations = [times[2 * k + 1] - times[2 * k] for k in range(first, last, step)]
        found.append(Chunk(times[2 * first], times[2 * last - 1], samples_per_query, durations))
    return found


def read_verdict(path: Path, plan: Plan) -> LoadgenVerdict:
    """Read what LoadGen wrote about its run.

    Raises:
        DeviceError: the file is not there or holds no verdict.
    """
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError as error:
        raise DeviceError(f"LoadGen left no {path.name}: {error.strerror}.") from error
    said = {key: value for line in lines if line.startswith(_MARK) for key, value in _entry(line)}
    if said.get("result_validity") not in ("VALID", "INVALID"):
        raise DeviceError(f"LoadGen's {path.name} says neither VALID nor INVALID.")
    figures = {key: str(value) for key, value in said.items() if key.startswith(("result_", "early_stopping_"))}
    return LoadgenVerdict(
        valid=said["result_validity"] == "VALID",
        reasons=_reasons(said, plan),
        figures=tuple(sorted((key, " ".join(value.split())) for key, value in figures.items())),
        version=str(said.get("loadgen_version", "unknown")),
    )


def _entry(line: str) -> list[tuple[str, object]]:
    try:
        record = json.loads(line.removeprefix(_MARK))
    except ValueError:
        return []  # cut off when the run died; the verdict is then missing as well
    return [(record["key"], record.get("value"))] if isinstance(record, dict) and "key" in record else []


def _reasons(said: dict[str, object], plan: Plan) -> str:
    failed = [text for key, text in _CHECKS.items() if said.get(key) is False]
    advice = [str(said[key]).strip() for key in ("result_invalid_reason", "error_runtime") if said.get(key)]
    least_s = plan.windows * plan.window_s
    short = [f"the least duration was {least_s:g} s, a submission takes {SUBMISSION_S:g} s"]
    return "; ".join([*failed, *advice, *(short if least_s < SUBMISSION_S else [])])
