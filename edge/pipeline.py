"""The main job: float model -> quantised graphs -> bundles -> proof -> profile -> report. It resumes where it stopped.

A run folder holds `model.onnx`, `<scheme>.graph`, `bundles/<target>-<scheme>/`, `stages/*.json` (what each stage found,
and what it was made from), `run.json` and `report.html`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from devices import run_record
from devices.measurement import Measurement
from devices.report.page import write_report
from devices.run_record import Accuracy, BundleRecord, RunRecord, SchemeRecord
from edge import evaluate
from edge.calibration import calibration_inputs
from edge.config import Config
from edge.data import load, with_preprocess
from edge.dataset import Dataset
from edge.exporting import scheme_for
from edge.pipeline_bundles import BundleJob, bundle_stage, measure_stage
from edge.stages import Stages, file_digest
from export.atomic import write_text
from export.manifest import VERSION
from export.targets import find_target
from quant import graph_file
from quant.graph import Graph, macs
from quant.onnx_import import load_onnx
from quant.ptq import prepare, quantise
from quant.scheme import Scheme, parse_scheme

REPORT = "report.html"


@dataclass(frozen=True, eq=False)
class Job:
    """What every stage needs: the configuration, the data, the stage store of the run folder."""

    config: Config
    dataset: Dataset
    stages: Stages
    show: bool

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.stages.folder


def run_pipeline(config: Config, folder: Path, say: Callable[[str], None], *, show: bool = True) -> RunRecord:
    """Run every stage that is not done yet.

    Args:
        config: what to do.
        folder: the run folder; made when it is not there.
        say: called with one line when a stage starts.
        show: whether to draw progress bars.

    Returns:
        The record that was written to `run.json` (and drawn in `report.html`).

    Raises:
        EdgeError, QuantError, ExportError, DeviceError: a stage failed; what is finished stays.
    """
    job = _job(config, folder, say, show)
    schemes = [parse_scheme(text) for text in config.quant.schemes]
    targets = [find_target(name) for name in config.export.targets]
    trained = model_stage(job)
    graph = prepare(load_onnx(folder / "model.onnx"))
    wanted = list(dict.fromkeys(s for scheme in schemes for s in (scheme, *(scheme_for(t, scheme) for t in targets))))
    records = {str(scheme): quantise_stage(job, graph, scheme) for scheme in wanted}
    bundles, measurements = _bundles(job, _bundle_jobs(job, graph, schemes, trained["cut"]))
    run = RunRecord(
        name=config.run.name,
        version=VERSION,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        data=job.dataset.name,
        train_images=len(job.dataset.x_train),
        test_images=len(job.dataset.x_test),
        labels=job.dataset.labels,
        model=trained["model"],
        parameters=trained["parameters"],
        macs=sum(macs(graph).values()),
        float_bytes=(folder / "model.onnx").stat().st_size,
        float_accuracy=next(iter(records.values())).accuracy.float_accuracy,
        cut=trained["cut"],
        schemes=tuple(records.values()),
        bundles=bundles,
        measurements=measurements,
    )
    write_text(folder / run_record.FILE, run_record.to_json(run))
    write_report(run, folder / REPORT)
    return run


def _job(config: Config, folder: Path, say: Callable[[str], None], show: bool) -> Job:
    data = config.data
    return Job(config, with_preprocess(load(data.source), data.scale, data.mean, data.std), Stages(folder, say), show)


def train_only(config: Config, folder: Path, say: Callable[[str], None], *, show: bool = True) -> float:
    """Do the model stage alone; returns float accuracy on the test images."""
    job = _job(config, folder, say, show)
    model_stage(job)
    graph = load_onnx(folder / "model.onnx")
    labels = evaluate.float_labels(graph, evaluate.inputs_of(graph, job.dataset, job.dataset.x_test))
    return float((labels == job.dataset.y_test).mean())


def model_stage(job: Job) -> dict[str, Any]:
    """Train the model, or take the user's ONNX file; leaves `model.onnx`."""
    from edge.pipeline_model import obtain_model

    path = job.folder / "model.onnx"
    config = job.config
    inputs = {
        "run": asdict(config.run),
        "data": _data_digest(job.dataset),
        "model": asdict(config.model),
        "train": asdict(config.train),
        "file": file_digest(Path(config.model.onnx)) if config.model.onnx else "",
    }
    job.folder.mkdir(parents=True, exist_ok=True)
    return job.stages.run("model", inputs, lambda: obtain_model(config, job.dataset, path, job.show), lambda: (path,))


def quantise_stage(job: Job, graph: Graph, scheme: Scheme) -> SchemeRecord:
    """Quantise the prepared float graph by one scheme and measure it on all test images; leaves `<scheme>.graph`."""
    path = graph_path(job, scheme)
    count, seed = job.config.quant.calibration, job.config.run.seed

    def compute() -> dict[str, Any]:
        started = time.perf_counter()
        evaluate.check_classes(graph, job.dataset)
        made = quantise(graph, scheme, calibration_inputs(graph, job.dataset, count, seed))
        seconds = time.perf_counter() - started
        graph_file.save(made, path)
        accuracy = measure_accuracy(graph, made, job.dataset)
        return {"weight_bytes": weight_bytes(made), "accuracy": asdict(accuracy), "quantise_s": seconds}

    inputs = {
        "model": file_digest(job.folder / "model.onnx"),
        "data": _data_digest(job.dataset),
        "scheme": str(scheme),
        "calibration": count,
        "seed": seed,
    }
    result = job.stages.run(f"quantise-{slug(scheme)}", inputs, compute, lambda: (path,))
    return SchemeRecord(str(scheme), result["weight_bytes"], Accuracy(**result["accuracy"]), result["quantise_s"])


def _bundles(job: Job, items: list[BundleJob]) -> tuple[tuple[BundleRecord, ...], tuple[Measurement, ...]]:
    records, measurements = [], []
    for item in items:
        record = bundle_stage(job.stages, item)
        records.append(record)
        if record.path is not None:
            measurements += measure_stage(job.stages, record, job.config.profile)
    return tuple(records), tuple(measurements)


def _bundle_jobs(job: Job, graph: Graph, schemes: list[Scheme], cut: str | None) -> list[BundleJob]:
    config, jobs = job.config.export, []
    for scheme in schemes:
        for name in config.targets:
            target = find_target(name)
            needed = scheme_for(target, scheme)
            for divided in (False, True) if cut and name in config.split_targets else (False,):
                jobs.append(
                    BundleJob(
                        name=job.config.run.name,
                        target=target,
                        scheme=str(needed),
                        graph_path=graph_path(job, needed),
                        float_graph=graph,
                        dataset=job.dataset,
                        vectors=config.vectors,
                        cut=cut if divided else None,
                    )
                )
    return jobs


def measure_accuracy(graph: Graph, quantised: Graph, dataset: Dataset) -> Accuracy:
    """Compare a float graph and its quantised form on all test images."""
    x = evaluate.inputs_of(graph, dataset, dataset.x_test)
    guesses = evaluate.float_labels(graph, x), evaluate.quantised_labels(quantised, x)
    return evaluate.compare_labels(dataset.y_test, *guesses)


def weight_bytes(graph: Graph) -> int:
    """Return the size of weights (codes packed at their format's bits) and biases of a quantised graph."""
    bits = 0
    for name, weight in graph.weights.items():
        quant = graph.tensors[name].quant
        bits += weight.size * (quant.format.bits if quant is not None else 8 * weight.itemsize)
    return -(-bits // 8)


def slug(scheme: Scheme | str) -> str:
    """Return a scheme's name as part of a file name."""
    return "".join(c if c.isalnum() or c in "-." else "_" for c in str(scheme))


def graph_path(job: Job, scheme: Scheme) -> Path:
    """Return where the graph of a scheme lies."""
    return job.folder / f"{slug(scheme)}.graph"


def _data_digest(dataset: Dataset) -> str:
    import hashlib

    digest = hashlib.sha256(repr((dataset.name, dataset.labels, dataset.preprocess)).encode())
    for array in (dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test):
        digest.update(array.tobytes())
    return digest.hexdigest()
