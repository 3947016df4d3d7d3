"""A sweep: every pair of formats, granularity and passes on one network. Resumes where it stopped, cell by cell."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from devices.errors import DeviceError
from devices.sweep_record import FILE, SweepCell, SweepRecord, cell_from_record, to_json
from edge import evaluate
from edge.calibration import calibration_inputs
from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.run_folder import hold
from edge.stages import code_digest
from edge.sweep_cell import Task
from edge.sweep_plan import CellSpec
from edge.sweep_pool import compute_all
from export import strict_json
from export.atomic import write_file, write_text
from export.errors import ExportError
from quant import graph_file
from quant.graph import Graph, macs
from quant.luts import XCUP, Family
from quant.ptq import prepare
from quant.ranges import check_calibration
from quant.workshop import shared_method

CELLS = "cells"

#: Called when a sweep starts and after every cell: how many are done, and of how many.
Tell = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class SweepJob:
    """What to sweep: a float model, data, the cells, and how many training images calibrate."""

    graph: Graph
    dataset: Dataset
    specs: tuple[CellSpec, ...]
    count: int = 256
    seed: int = 0
    family: Family = XCUP


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def run_sweep(job: SweepJob, folder: Path, jobs: int, tell: Tell = lambda done, total: None) -> SweepRecord:
    """Compute the cells that `folder` lacks, and leave `sweep.json` there.

    Calibration sees training images only, accuracies are of the test images. Every cell is written when it is done, so
    a sweep that is stopped, or killed, goes on where it was. The record's bytes depend on the inputs alone.

    Raises:
        EdgeError: the data does not fit the model, a pass is unknown, or the folder is used by another process.
        QuantError: the model cannot be quantised at all.
    """
    for method in {spec.method for spec in job.specs}:
        shared_method(method)
    task = task_of(job)
    keys = _keys(task, job.specs)
    with hold(folder, (CELLS,)):
        found = {spec: cell for spec in job.specs if (cell := _stored(folder, spec, keys[spec])) is not None}
        missing = tuple(spec for spec in job.specs if spec not in found)
        tell(len(found), len(job.specs))

        def keep(spec: CellSpec, cell: SweepCell) -> None:
            record = {"key": keys[spec], "cell": asdict(cell)}
            write_file(_path(folder, spec, keys[spec]), strict_json.canonical(record))
            found[spec] = cell
            tell(len(found), len(job.specs))

        compute_all(task, missing, jobs, keep)
        sweep = _record(job, task, tuple(found[spec] for spec in job.specs))
        write_text(folder / FILE, to_json(sweep))
    return sweep


def task_of(job: SweepJob) -> Task:
    """Prepare the network and its inputs, and label the test images in float."""
    evaluate.check_classes(job.graph, job.dataset)
    graph = prepare(job.graph)
    calibration = check_calibration(graph, calibration_inputs(graph, job.dataset, job.count, job.seed))
    test = evaluate.inputs_of(graph, job.dataset, job.dataset.x_test)
    guess = evaluate.float_labels(graph, test)
    if len(np.unique(guess)) < 2:
        raise EdgeError(
            f"the float model gives all test images of '{job.dataset.name}' one label; nothing can be compared."
        )
    return Task(graph, calibration, test, job.dataset.y_test, guess, job.family)


def _keys(task: Task, specs: tuple[CellSpec, ...]) -> dict[CellSpec, str]:
    """Return a digest for each cell of everything its result depends on."""
    digest = hashlib.sha256(code_digest(packages=("quant",)).encode())
    digest.update(graph_file.to_bytes(task.graph) + task.family.name.encode())
    for array in (task.calibration, task.test, task.truth):
        digest.update(repr(array.shape).encode() + array.tobytes())
    base = digest.hexdigest()
    return {spec: hashlib.sha256(json.dumps([base, spec.name]).encode()).hexdigest() for spec in specs}


def _path(folder: Path, spec: CellSpec, key: str) -> Path:
    readable = "".join(c if c.isalnum() or c in "-.+" else "_" for c in spec.name)
    return folder / CELLS / f"{readable[:80]}-{key[:12]}.json"


def _stored(folder: Path, spec: CellSpec, key: str) -> SweepCell | None:
    path = _path(folder, spec, key)
    if not path.is_file():
        return None
    try:
        record = strict_json.fields(strict_json.read(path), ("key", "cell"), str(path))
        return cell_from_record(record["cell"], str(path)) if record["key"] == key else None
    except (ExportError, DeviceError):
        # A damaged cell is no reason to stop: it is computed again.
        return None


def _record(job: SweepJob, task: Task, cells: tuple[SweepCell, ...]) -> SweepRecord:
    return SweepRecord(
        model=task.graph.name,
        data=job.dataset.name,
        calibration_images=len(task.calibration),
        test_images=len(task.test),
        seed=job.seed,
        float_accuracy=float((task.float_guess == task.truth).mean()),
        parameters=sum(int(weight.size) for weight in task.graph.weights.values()),
        macs=sum(macs(task.graph).values()),
        family=job.family.name,
        tool=job.family.tool,
        cells=cells,
    )
