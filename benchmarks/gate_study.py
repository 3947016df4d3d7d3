"""How often the gate is wrong, on this machine as it is: a part against itself, and against 10 % more work.

Every recording is what `edgemill gate` does: one process of its own in which two parts take turns, A B B A, 20 windows
of each. In `same` both are the same part; whatever fails is a false alarm. In `slower` a query of the baseline is 10
inferences and one of the candidate 11: the very same code, exactly a tenth more of it.

Windows are kept as their median and minimum in nanoseconds, so that other rules can be tried on them.

python -m benchmarks.gate_study --record FILE.jsonl    (resumes; may take an hour)
python -m benchmarks.gate_study --judge FILE.jsonl
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gate_nets import pair_plan, write_part
from benchmarks.results import environment, write_results
from devices import worker
from devices.gate import BOTH, FAIL, INCONCLUSIVE, PASS, STATISTICS, judge_windows
from devices.latency_ratio import latency_ratio, verdict
from devices.local import WORKER, run_pairs
from devices.plan import Plan
from export import arm_m, host

RUNS = 200
PAIRS = 20
WINDOW_S = 0.03
LAYERS = 10
#: Inferences of a query of the baseline and of the candidate that is slower.
WORK = (10, 11)
BOARDS = (("host-c", arm_m.TARGET), ("host-ort", host.TARGET))
CASES = ("same", "slower")
TOLERANCE = 0.05
#: So many recordings of each row were there when the rule was chosen.
CHOSEN_AFTER = 86
#: The worker of the project, with queries of these sizes.
_ROOT = str(Path(__file__).resolve().parent.parent)
_UNEVEN = f"import sys; sys.path.insert(0, {_ROOT!r}); from benchmarks.gate_study import uneven; sys.exit(uneven())"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--judge", type=Path)
    options = parser.parse_args()
    if options.record:
        record(options.record)
    if options.judge:
        judge(read(options.judge))


def uneven() -> int:
    """Be a worker whose two parts get queries of WORK inferences."""
    sizes = iter(WORK)
    worker.samples_of_query = lambda *_: next(sizes)  # type: ignore[assignment]
    return worker.main()


def record(path: Path) -> None:
    """Append recordings until there are RUNS of every case; boards and cases take turns, so that none is lucky."""
    done = [(item["board"], item["case"]) for item in read(path)] if path.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        parts = {board: write_part(Path(folder) / board, target, LAYERS) for board, target in BOARDS}
        for index in range(RUNS):
            for board, target in BOARDS:
                for case in CASES:
                    if done.count((board, case)) > index:
                        continue
                    plan = pair_plan(parts[board], parts[board], target.name, board, PAIRS, WINDOW_S)
                    line = {"board": board, "case": case, **_recorded(plan, case)}
                    with path.open("a") as stream:
                        stream.write(json.dumps(line) + "\n")
            print(f"{index + 1} of {RUNS}, load {os.getloadavg()[0]:.1f}", flush=True)


def _recorded(plan: Plan, case: str) -> dict[str, Any]:
    load = os.getloadavg()[0]
    argv = WORKER if case == "same" else (sys.executable, "-P", "-c", _UNEVEN)
    sides = run_pairs(replace(plan, limit_s=120.0), "study", argv)
    windows = {side: found.latency_s or () for side, found in zip("ab", sides, strict=True)}
    figures = {
        f"{side}_{name}_ns": [round(1e9 * figure(window)) for window in found]
        for side, found in windows.items()
        for name, figure in STATISTICS.items()
    }
    return {"load": round(load, 2), "load_after": round(os.getloadavg()[0], 2), **figures}


def read(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]


def judge(recorded: Sequence[dict[str, Any]]) -> None:
    """Apply the gate's rule, and simpler ones, to the recordings; write the results."""
    cases = [(_of(recorded, board, case), board, case) for board, _ in BOARDS for case in CASES]
    loads = [item[key] for item in recorded for key in ("load", "load_after")]
    body = {
        "environment": environment(),
        "load_average_1min": {"least": min(loads), "median": statistics.median(loads), "most": max(loads)},
        "pairs": PAIRS,
        "window_s": WINDOW_S,
        "rules": [row for found, board, case in cases for row in _rows(found, board, case)],
        "rule_chosen_after": CHOSEN_AFTER,
        "afterwards": [_row(found[CHOSEN_AFTER:], board, case, BOTH, PAIRS) for found, board, case in cases],
        "separate_runs": [_apart(found, board) for found, board, case in cases if case == "same"],
        "recordings": [_in_a_line(item) for item in recorded],
    }
    write_results("gate", body, _table(body))


def _in_a_line(item: dict[str, Any]) -> dict[str, Any]:
    """Return a recording with the figures of its windows as one text each, so that the file can be read."""
    return {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in item.items()}


def _of(recorded: Sequence[dict[str, Any]], board: str, case: str) -> list[dict[str, Any]]:
    return [item for item in recorded if item["board"] == board and item["case"] == case][:RUNS]


def _rows(found: list[dict[str, Any]], board: str, case: str) -> list[dict[str, Any]]:
    names = (BOTH, *STATISTICS)
    return [_row(found, board, case, name, pairs) for name in names for pairs in (5, 10, PAIRS)]


def _row(found: list[dict[str, Any]], board: str, case: str, name: str, pairs: int) -> dict[str, Any]:
    judged = [judge_windows(_side(item, "a")[:pairs], _side(item, "b")[:pairs], TOLERANCE, name) for item in found]
    verdicts = [item.verdict for item in judged]
    ratios = sorted(item.ratio.value for item in judged)
    row = {"board": board, "case": case, "statistic": name, "pairs": pairs, "runs": len(found)}
    row |= {kind: verdicts.count(kind) for kind in (PASS, FAIL, INCONCLUSIVE)}
    return {**row, "least": ratios[0], "median": statistics.median(ratios), "most": ratios[-1]}


def _side(item: dict[str, Any], side: str) -> list[list[float]]:
    """Return windows that have the recorded minimum and median."""
    pairs = zip(item[f"{side}_minimum_ns"], item[f"{side}_median_ns"], strict=True)
    return [[float(least), float(middle), float(middle)] for least, middle in pairs]


def _apart(found: list[dict[str, Any]], board: str) -> dict[str, Any]:
    """Compare each recording with the next one of the same part: two runs that are not interleaved."""
    runs = [_side(item, "a") for item in found]
    neighbours = list(itertools.pairwise(runs))
    medians = [tuple(tuple(map(statistics.median, run)) for run in pair) for pair in neighbours]
    slower = sum(verdict(latency_ratio(old, new), PAIRS) == "slower" for old, new in medians)
    paired = [judge_windows(old, new, TOLERANCE).verdict for old, new in neighbours]
    return {"board": board, "comparisons": len(neighbours), "slower": slower, "fail": paired.count(FAIL)}


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / whole:.1f} %)"


def _table(body: dict[str, Any]) -> str:
    machine, load = body["environment"], body["load_average_1min"]
    loads = f"{load['least']:.1f} to {load['most']:.1f}, median {load['median']:.1f}"
    head = (
        "# The gate: how often it is wrong\n\n"
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {machine['date']}. Other programs ran "
        f"all the time: load average\n{loads}. Tolerance 5 %, windows of {1e3 * WINDOW_S:g} ms that take turns. `same` "
        "is a part against itself: each fail is\na false alarm. `slower` does exactly 10 % more work "
        f"({WORK[1]} inferences a query instead of {WORK[0]}). Recordings: `gate.json`.\n"
        "Command: `python -m benchmarks.gate_study`.\n\n"
    )
    chosen = f"\nThe rule (both figures) was chosen after {CHOSEN_AFTER} recordings of each row. Those after them:\n\n"
    return (
        head
        + _HEAD
        + "".join(map(_line, body["rules"]))
        + chosen
        + _HEAD
        + "".join(map(_line, body["afterwards"]))
        + _apart_text(body["separate_runs"])
    )


_HEAD = (
    "| board | case | window's figure | pairs | runs | fail | inconclusive | pass | ratio, least to most (median) |\n"
    "|---|---|---|---|---|---|---|---|---|\n"
)


def _line(row: dict[str, Any]) -> str:
    names = (row["board"], row["case"], row["statistic"], row["pairs"], row["runs"])
    shares = [_share(row[kind], row["runs"]) for kind in (FAIL, INCONCLUSIVE, PASS)]
    ratios = f"{row['least']:.3f} to {row['most']:.3f} ({row['median']:.3f})"
    return "| " + " | ".join(map(str, (*names, *shares, ratios))) + " |\n"


def _apart_text(found: Sequence[dict[str, Any]]) -> str:
    lines = [
        f"- {item['board']}: {_share(item['slower'], item['comparisons'])} called slower by `edgemill compare`, "
        f"{_share(item['fail'], item['comparisons'])} would fail by the gate's rule, were they not inconclusive for "
        "the load.\n"
        for item in found
    ]
    return "\nTwo runs of one part that were not interleaved, each against the next one:\n\n" + "".join(lines)


if __name__ == "__main__":
    main()
