"""ResNet-20 in every pair of integer and minifloat formats of 3 to 8 bits: accuracy, cost, fronts and wall time.

python -m benchmarks.sweep --data FOLDER [--formats all] [--jobs 2] [--folder SWEEP]

The sweep resumes in its folder; wall time is only reported when all cells were computed in one go.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.results import environment, write_results
from devices.report.cloud import Cloud, front_of
from devices.report.sweep_fronts import bits_matrix, clouds
from devices.report.sweep_page import write_sweep_report
from devices.sweep_record import SweepRecord, measured
from edge.data import load, with_preprocess
from edge.sweep import SweepJob, cores, run_sweep
from edge.sweep_plan import parse_formats, plan, words
from quant.luts import CAVEATS
from quant.onnx_import import load_onnx

OPTIONS, PASSES = "mse-ends8", "scales+gptq+bias"
CALIBRATION = 256
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--formats", default="all")
    parser.add_argument("--passes", default=PASSES)
    parser.add_argument("--options", default=OPTIONS)
    parser.add_argument("--jobs", type=int, default=cores())
    parser.add_argument("--folder", type=Path, help="where the sweep resumes; default: a temporary folder")
    parser.add_argument("--name", default="sweep", help="of the result files")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        _run(given, given.folder or Path(scratch) / "sweep")


def _run(given: argparse.Namespace, folder: Path) -> None:
    dataset = with_preprocess(load(f"cifar10:{given.data / 'cifar10'}"), 1 / 255, MEAN, STD)
    formats = parse_formats(given.formats)
    specs = plan(formats, formats, words(given.passes), ("channel",), given.options)
    graph = load_onnx(given.data / "cifar10" / "resnet20-12fca82f.onnx")
    job = SweepJob(graph, dataset, specs, CALIBRATION)
    kept: list[int] = []
    begin = time.perf_counter()

    def tell(done: int, total: int) -> None:
        kept.append(done)
        if done % 33 == 0:
            print(f"{done} of {total} after {time.perf_counter() - begin:.0f} s", flush=True)

    record = run_sweep(job, folder, given.jobs, tell)
    seconds = time.perf_counter() - begin
    write_sweep_report(record, folder / "report.html")
    run = {
        "cells": len(specs),
        "computed": len(specs) - kept[0],
        "wall_s": round(seconds, 1) if kept[0] == 0 else None,
        "cpu_s": round(_cpu_s(), 1),
        "jobs": given.jobs,
        "options": given.options,
        "passes": given.passes,
    }
    write_results(given.name, {"environment": environment(), "run": run, **_record(record)}, _page(record, run))
    print(run)


def _cpu_s() -> float:
    """Return the processor seconds this process and its ended children took."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _record(record: SweepRecord) -> dict[str, object]:
    """Return the sweep with one short row for each cell."""
    columns = ("weight", "activation", "accuracy", "agreement", "parameter_bytes", "luts_per_mac", "bops", "exact")
    rows = [
        (
            cell.weight,
            cell.activation,
            round(accuracy.quantised_accuracy, 5),
            round(accuracy.agreement, 5),
            cell.cost.parameter_bytes,
            round(cell.cost.luts_per_mac, 2),
            cell.cost.bit_operations,
            cell.exact,
        )
        for cell, accuracy in measured(record.cells)
    ]
    facts = {key: value for key, value in asdict(record).items() if key != "cells"}
    return {"sweep": facts, "columns": columns, "rows": [" ".join(map(str, row)) for row in rows]}


def _page(record: SweepRecord, run: dict[str, object]) -> str:
    wall = "not measured (resumed)" if run["wall_s"] is None else f"{run['wall_s']} s with {run['jobs']} processes"
    lines = [
        "# ResNet-20, every pair of integer and minifloat formats of 3 to 8 bits",
        "",
        f"{run['cells']} pairs of weights x activations, options `{run['options']}`, passes `{run['passes']}`: {wall},",
        f"{run['cpu_s']} s of processor time, from loading the model to the record.",
        f"{record.calibration_images} training images calibrate,",
        f"{record.test_images} exact test images; float {100 * record.float_accuracy:.2f} %.",
        "Emulated in float. One standard error is about 1.3 points, so neighbours on a front may trade places.",
        "Fronts and best pairs are picked on the very test images, so the top of many pairs is a little optimistic.",
        "",
        *_matrix(record),
        *(line for cloud in clouds(record) for line in _front(cloud)),
        "## What the LUT figures leave out",
        "",
        *(f"- {caveat}" for caveat in CAVEATS),
        "",
    ]
    return "\n".join(lines)


def _matrix(record: SweepRecord) -> list[str]:
    table = bits_matrix(record)
    heads = [column.head for column in table.columns]
    lines = [f"## {table.caption}", "", f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for row in table.rows:
        cells = [cell.text + (f" ({cell.note})" if cell.note else "") for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, ""]


def _front(cloud: Cloud) -> list[str]:
    lines = [f"## Front: {cloud.title}", "", f"| scheme | {cloud.axis} | top-1 | points |", "|---|---|---|---|"]
    for point in front_of(cloud):
        change = 100 * (point.accuracy - cloud.baseline)
        lines.append(f"| {point.name} | {cloud.text(point.cost)} | {100 * point.accuracy:.2f} % | {change:+.2f} |")
    return [*lines, ""]


if __name__ == "__main__":
    main()
