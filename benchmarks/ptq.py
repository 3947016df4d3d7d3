"""Post-training quantisation beside ONNX Runtime, NNCF and Brevitas, on the same images and calibration data.

python -m benchmarks.ptq --data FOLDER --work FOLDER [--networks ...] [--tools ...] [--schemes ...] [--seeds ...]
python -m benchmarks.ptq --data FOLDER --work FOLDER --timing

Every case runs in a process of its own and leaves a JSON file in the work folder; a second call does only what is
missing, and writes the table of all cases found there. --timing, on a quiet machine, takes the times of
EfficientNet-Lite0.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.ptq_case import missing, run_case
from benchmarks.ptq_plan import PLANS, TOOLS, Case, cases, refusal
from benchmarks.ptq_speed import time_presets
from benchmarks.ptq_table import table
from benchmarks.results import environment, write_results
from export.atomic import write_file

LIMIT_S = 3600


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="where each finished case is kept")
    parser.add_argument("--networks", nargs="+", choices=[plan.network for plan in PLANS])
    parser.add_argument("--tools", nargs="+", choices=TOOLS)
    parser.add_argument("--schemes", nargs="+")
    parser.add_argument("--seeds", nargs="+", type=int)
    parser.add_argument("--jobs", type=int, default=1, help="cases at once; times are then not worth much")
    parser.add_argument("--table-only", action="store_true", help="run nothing, write the table of what is there")
    parser.add_argument("--timing", action="store_true")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    if options.timing:
        time_presets(options.data, options.work)
        return
    chosen = [] if options.table_only else [case for case in cases() if _wanted(case, options)]
    fresh = {}
    with ThreadPoolExecutor(options.jobs) as pool:
        for index, row in enumerate(pool.map(lambda case: _done(case, options.data, options.work), chosen)):
            fresh[chosen[index]] = row
            print(f"[{index + 1}/{len(chosen)}] {chosen[index].slug}: {_shown(row)}", flush=True)
    rows = [found for case in cases() if (found := _read(case, options.work) or fresh.get(case))]
    write_results("ptq", {"environment": environment(), "results": rows}, table(rows))


def _wanted(case: Case, options: argparse.Namespace) -> bool:
    pairs = (
        (case.network, options.networks),
        (case.tool, options.tools),
        (case.scheme, options.schemes),
        (case.seed, options.seeds),
    )
    return all(names is None or value in names for value, names in pairs)


def _read(case: Case, work: Path) -> dict[str, Any] | None:
    path = work / f"{case.slug}.json"
    return json.loads(path.read_text()) if path.exists() else None


def _done(case: Case, data: Path, work: Path) -> dict[str, Any]:
    """Return a case's record: the one on the disk, why there is none, or that of a new process."""
    if kept := _read(case, work):
        return kept
    why = refusal(case.tool, case.scheme)
    if package := "" if why else missing(case.tool):
        why = f"{package} is not installed"
    return _record(case, work, {"not_run": why}) if why else _run(case, data, work)


def _record(case: Case, work: Path, what: dict[str, Any]) -> dict[str, Any]:
    record = {**asdict(case), **what}
    # What is not installed today may be tomorrow: only what never runs is kept.
    if refusal(case.tool, case.scheme) or "failed" in what:
        write_file(work / f"{case.slug}.json", json.dumps(record, indent=1).encode())
    return record


def _run(case: Case, data: Path, work: Path) -> dict[str, Any]:
    log = work / f"{case.slug}.log"
    context = multiprocessing.get_context("forkserver")
    # Packages are imported once; a case is forked from there, and its memory includes theirs.
    context.set_forkserver_preload(["benchmarks.ptq_case", "torch", "onnxruntime"])
    process = context.Process(target=run_case, args=(case, data, work, log))
    process.start()
    process.join(LIMIT_S)
    if process.is_alive():
        process.kill()
        return _record(case, work, {"failed": f"not done after {LIMIT_S} s"})
    if process.exitcode == 0 and (row := _read(case, work)):
        return row
    if process.exitcode is not None and process.exitcode < 0:
        return {**asdict(case), "failed": f"ended by signal {-process.exitcode}"}  # from outside: try again next time
    lines = log.read_text().strip().splitlines() or ["no message"]
    return _record(case, work, {"failed": lines[-1][:200]})


def _shown(row: dict[str, Any]) -> str:
    for key in ("not_run", "failed"):
        if key in row:
            return f"{key.replace('_', ' ')}: {row[key]}"
    drop = 100 * (row["float_accuracy"] - row["quantised_accuracy"])
    return f"drop {drop:+.2f}, agreement {row['agreement']:.1%}, {row['cpu_s']:.1f} s CPU"


if __name__ == "__main__":
    main()
