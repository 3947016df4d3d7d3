"""The main job: float model -> quantised graphs -> bundles -> proof -> profile -> report. It resumes where it stopped.

A run folder holds `model.onnx`, `<scheme>.graph`, `bundles/<target>-<scheme>/`, `stages/*.json` (what each stage found,
and what it was made from), `run.json` and `report.html`. What an earlier configuration left stays; `run.json` and the
report speak only of the last one.
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
from edge.config import Config
from edge.data import load, with_preprocess, with_resize
from edge.dataset import Dataset
from edge.exporting import scheme_for
from edge.pipeline_bundles import BundleJob, bundle_stage, ceiling_stage, measure_stage
from edge.quantizing import How, quantise_model
from edge.run_folder import hold
from edge.stages import Stages, code_digest, file_digest
from export.atomic import write_file, write_text
from export.manifest import VERSION
from export.targets import find_target
from quant import graph_file
from quant.cost import Summary, assigned, cost, summary
from quant.graph import Graph, macs
from quant.onnx_import import load_onnx
from quant.ptq import prepare
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
    with hold(folder):
        run = _run(job)
        write_text(folder / run_record.FILE, run_record.to_json(run))
        write_report(run, folder / REPORT)
    return run


def _run(job: Job) -> RunRecord:
    config, model = job.config, job.folder / "model.onnx"
    schemes = [parse_scheme(text) for text in config.quant.schemes]
    targets = [find_target(name) for name in config.export.targets]
    trained = model_stage(job)
    graph = prepare(load_onnx(model))
    wanted = list(dict.fromkeys(s for scheme in schemes for s in (scheme, *(scheme_for(t, scheme) for t in targets))))
    records = {str(scheme): quantise_stage(job, graph, scheme) for scheme in wanted}
    bundles, measurements = _bundles(job, bundle_jobs(job, graph, schemes, trained["cut"]))
    return RunRecord(
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
        float_bytes=model.stat().st_size,
        float_accuracy=next(iter(records.values())).accuracy.float_accuracy,
        cut=trained["cut"],
        schemes=tuple(records.values()),
        bundles=bundles,
        measurements=measurements,
        ceilings=ceiling_stage(job.stages, measurements),
    )


def _job(config: Config, folder: Path, say: Callable[[str], None], show: bool) -> Job:
    data = config.data
    dataset = with_resize(with_preprocess(load(data.source), data.scale, data.mean, data.std), data.resize)
    return Job(config, dataset, Stages(folder, say, code_digest()), show)


def train_only(config: Config, folder: Path, say: Callable[[str], None], *, show: bool = True) -> float:
    """Do the model stage alone; returns float accuracy on the test images."""
    job = _job(config, folder, say, show)
    with hold(folder):
        model_stage(job)
        graph = load_onnx(folder / "model.onnx")
    evaluate.check_classes(graph, job.dataset)
    labels = evaluate.float_labels(graph, evaluate.inputs_of(graph, job.dataset, job.dataset.x_test))
    return float((labels == job.dataset.y_test).mean())


def model_stage(job: Job) -> dict[str, Any]:
    """Train the model, or take the user's ONNX file; leaves `model.onnx`."""
    from edge.pipeline_model import obtain_model

    path = job.folder / "model.onnx"
    config = job.config
    inputs = {
        "seed": config.run.seed,
        "data": _data_digest(job.dataset),
        "model": asdict(config.model),
        "train": asdict(config.train),
        "file": file_digest(Path(config.model.onnx)) if config.model.onnx else "",
    }
    left = (path,) if config.model.onnx else (path, job.folder / "weights.npz")
    return job.stages.run("model", inputs, lambda: obtain_model(config, job.dataset, path, job.show), lambda: left)


def quantise_stage(job: Job, graph: Graph, scheme: Scheme) -> SchemeRecord:
    """Quantise the prepared float graph by one scheme and measure it on all test images; leaves `<scheme>.graph`.

    Beside it lie what the preset tried and chose, and the float graph the weights were rounded from. A pass may have
    scaled its channels, and the float form of a bundle must have the very tensors of its quantised form.
    """
    path = graph_path(job, scheme)
    count, seed, preset = job.config.quant.calibration, job.config.run.seed, job.config.quant.preset

    def compute() -> dict[str, Any]:
        started = time.perf_counter()
        choice = quantise_model(graph, How(scheme, preset, None, count, seed), job.dataset)
        seconds = time.perf_counter() - started
        write_file(path, graph_file.to_bytes(choice.graph))
        write_file(float_path(path), graph_file.to_bytes(choice.shaped))
        write_text(choice_path(path), "\n".join([*choice.reasons(), ""]))
        accuracy = measure_accuracy(graph, choice.graph, job.dataset)
        hardware = summary(cost(choice.graph, assigned(choice.graph)))
        return {
            "weight_bytes": weight_bytes(choice.graph),
            "accuracy": asdict(accuracy),
            "quantise_s": seconds,
            "cost": asdict(hardware),
        }

    inputs = {
        "model": file_digest(job.folder / "model.onnx"),
        "data": _data_digest(job.dataset),
        "scheme": str(scheme),
        "calibration": count,
        "seed": seed,
        "preset": preset,
    }
    result = job.stages.run(
        f"quantise-{slug(scheme)}", inputs, compute, lambda: (path, float_path(path), choice_path(path))
    )
    accuracy, hardware = Accuracy(**result["accuracy"]), Summary(**result["cost"])
    return SchemeRecord(str(scheme), result["weight_bytes"], accuracy, result["quantise_s"], hardware)


def float_path(path: Path) -> Path:
    """Return where the float graph of a quantised graph's file lies."""
    return path.with_suffix(".float.graph")


def choice_path(path: Path) -> Path:
    """Return where lies what the preset tried for a quantised graph's file."""
    return path.with_suffix(".choice.txt")


def _bundles(job: Job, items: list[BundleJob]) -> tuple[tuple[BundleRecord, ...], tuple[Measurement, ...]]:
    records: list[BundleRecord] = []
    measurements: list[Measurement] = []
    refused: set[tuple[str, str]] = set()
    for item in items:
        # What a target cannot take whole, it cannot take in halves: said once.
        if (item.target.name, item.scheme) in refused:
            continue
        record = bundle_stage(job.stages, item)
        records.append(record)
        if record.path is None:
            refused.add((item.target.name, item.scheme))
        else:
            measurements += measure_stage(job.stages, record, job.config.profile)
    return tuple(records), tuple(measurements)


def bundle_jobs(job: Job, graph: Graph, schemes: list[Scheme], cut: str | None) -> list[BundleJob]:
    """Return the bundles a configuration asks for, each once, whole ones before their halves."""
    jobs: dict[str, BundleJob] = {}
    for scheme in schemes:
        for name in job.config.export.targets:
            for tensor in (None, cut) if cut and name in job.config.export.split_targets else (None,):
                made = _bundle_job(job, graph, scheme, name, tensor)
                # Two schemes become one where a target needs symmetric activations.
                jobs.setdefault(made.title, made)
    return list(jobs.values())


def _bundle_job(job: Job, graph: Graph, scheme: Scheme, target_name: str, cut: str | None) -> BundleJob:
    target = find_target(target_name)
    needed = scheme_for(target, scheme)
    return BundleJob(
        name=job.config.run.name,
        target=target,
        scheme=str(needed),
        graph_path=graph_path(job, needed),
        float_graph=graph_file.load(float_path(graph_path(job, needed))),
        dataset=job.dataset,
        vectors=job.config.export.vectors,
        cut=cut,
    )


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
