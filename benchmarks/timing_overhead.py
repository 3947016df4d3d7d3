"""What the timing loop costs an inference: windows of `devices.timing` against a bare loop that reads no clock.

Both loops run the same function the same number of times and take turns, A B B A. Two figures: how much longer the
window lasts for each inference (it disturbs what comes after), and how much longer its samples are than the bare
loop's mean (they hold one reading of the clock).

python -m benchmarks.timing_overhead
"""

from __future__ import annotations

import gc
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.gate_nets import write_part
from benchmarks.results import environment, write_results
from devices.part_files import load_graph, load_inputs
from devices.runtimes import find_runtime
from devices.timing import raw_clock, window
from export import arm_m, host

ROUNDS = 2000
#: Few enough that another program seldom interrupts them; the medians leave out the rounds that it did.
COUNT = 40
#: The issue's limit, seconds.
LIMIT_S = 2e-6


def main() -> None:
    rows = [_measured("nothing", lambda: None)]
    with tempfile.TemporaryDirectory() as folder:
        for name, target, layers in (("c-host", arm_m.TARGET, 1), ("onnxruntime", host.TARGET, 1)):
            part = write_part(Path(folder) / name, target, layers)
            graph = load_graph(part)
            session = find_runtime(name).open(part, "model", graph)
            try:
                rows.append(_measured(name, session.timed(load_inputs(part, graph)[:1])))
            finally:
                session.close()
    body = {"environment": environment(), "rounds": ROUNDS, "inferences": COUNT, "limit_s": LIMIT_S, "results": rows}
    write_results("timing_overhead", body, _table(body))


def _measured(name: str, infer: Callable[[], None]) -> dict[str, Any]:
    window(infer, raw_clock, 0.2)
    plain, timed = [], []
    for index in range(ROUNDS):
        for side in ("plain", "timed") if index % 2 else ("timed", "plain"):
            if side == "plain":
                plain.append(_bare(infer))
            else:
                timed.append(_timed(infer))
    pairs = list(zip(plain, timed, strict=True))
    row = {
        "what": name,
        "bare_s": statistics.median(plain) / 1e9,
        "overhead_s": statistics.median(both[0] - bare for bare, both in pairs) / 1e9,
        "in_sample_s": statistics.median(both[1] - bare for bare, both in pairs) / 1e9,
    }
    print(row, flush=True)
    return row


def _bare(infer: Callable[[], None]) -> float:
    """Return nanoseconds per inference of a loop that does nothing else."""
    gc.disable()
    begin = raw_clock()
    for _ in range(COUNT):
        infer()
    end = raw_clock()
    gc.enable()
    return (end - begin) / COUNT


def _timed(infer: Callable[[], None]) -> tuple[float, float]:
    """Return nanoseconds per inference of one window of COUNT samples, and its samples' mean."""
    found = window(infer, raw_clock, 3600.0, COUNT)
    return (found.t1_ns - found.t0_ns) / COUNT, sum(found.samples_ns) / COUNT


def _table(body: dict[str, Any]) -> str:
    environment_ = body["environment"]
    head = (
        "# What the timing loop costs\n\n"
        f"{environment_['cpu']}, {environment_['cores']} cores, {environment_['system']}, "
        f"Python {environment_['python']}, {environment_['date']}, load average "
        f"{environment_['load_average_1min']}.\nMedians of {ROUNDS} interleaved rounds of {COUNT} inferences, "
        "`python -m benchmarks.timing_overhead`. Limit: 2 us an inference.\n\n"
        "| inference | bare loop | window longer by | its samples longer by |\n|---|---|---|---|\n"
    )
    lines = (
        f"| {row['what']} | {1e6 * row['bare_s']:.2f} us | {1e6 * row['overhead_s']:.2f} us | "
        f"{1e6 * row['in_sample_s']:.2f} us |\n"
        for row in body["results"]
    )
    return head + "".join(lines)


if __name__ == "__main__":
    main()
