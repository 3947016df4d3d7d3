"""The stages of a run behind quantisation: write a bundle, prove it, measure it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from devices import conditions, measurement_record, runner
from devices.board import Board
from devices.boards import find_board
from devices.errors import DeviceError
from devices.measurement import Measurement
from devices.plan import plans
from devices.roofline import measure
from devices.roofline.ceiling import Ceiling
from devices.roofline.ceiling import from_record as ceiling_from_record
from devices.run_record import BundleRecord, parity_from_record
from devices.runtimes import missing, runtimes_for
from devices.worker import versions
from edge import evaluate
from edge.config import ProfileConfig
from edge.dataset import Dataset
from edge.exporting import choose_vectors, halves, whole
from edge.stages import Stages, file_digest
from export.bundle import BundleSpec, add_certificate, write_bundle
from export.bundle_read import MANIFEST, Bundle, read_bundle
from export.errors import ExportError
from export.parity import certificate, check_bundle
from export.target import Source, Target, check_capability
from quant import graph_file
from quant.graph import Graph


@dataclass(frozen=True, eq=False)
class BundleJob:
    """One bundle to make: a quantised graph for a target, whole or cut after the tensor `cut`."""

    name: str
    target: Target
    scheme: str
    graph_path: Path
    float_graph: Graph
    dataset: Dataset
    vectors: int
    cut: str | None

    @property
    def title(self) -> str:
        """The bundle's folder name."""
        plain = "".join(c if c.isalnum() or c in "-." else "_" for c in self.scheme)
        return f"{self.target.name}-{plain}{'-split' if self.cut else ''}"


def bundle_stage(stages: Stages, job: BundleJob) -> BundleRecord:
    """Write a bundle and prove it on every runtime this machine has, or note why the target refuses the scheme."""
    path = stages.folder / "bundles" / job.title

    def compute() -> dict[str, Any]:
        graph = graph_file.load(job.graph_path)
        try:
            check_capability(job.target, graph)
            written = write_bundle(path, _spec(job, graph), job.target, overwrite=True)
        except ExportError as error:
            if isinstance(error.__cause__, OSError) or (path.exists() and not (path / MANIFEST).is_file()):
                raise
            return {"refused": str(error)}
        return _prove(written)

    runtimes = {r.name: r.missing() or "here" for r in runtimes_for(job.target.name)}
    inputs = {
        "graph": file_digest(job.graph_path),
        "float": file_digest(stages.folder / "model.onnx"),
        "name": job.name,
        "preprocess": job.dataset.preprocess.to_record(),
        "labels": job.dataset.labels,
        "vectors": job.vectors,
        "cut": job.cut,
        "runtimes": runtimes,
    }
    result = stages.run(f"bundle-{job.title}", inputs, compute, lambda: _files(path))
    return _record(stages.folder, path, job, result)


def _files(bundle: Path) -> list[Path]:
    """Return every file of a bundle, so that a damaged one is written again."""
    return sorted(path for path in bundle.rglob("*") if path.is_file())


def _spec(job: BundleJob, graph: Graph) -> BundleSpec:
    return BundleSpec(
        name=job.name,
        scheme=job.scheme,
        preprocess=job.dataset.preprocess,
        labels=evaluate.output_labels(job.float_graph, job.dataset),
        parts=parts_of(graph, job.float_graph, job.dataset, job.vectors, job.cut),
        postprocess="softmax",
    )


def parts_of(
    graph: Graph,
    float_graph: Graph | None,
    dataset: Dataset,
    vectors: int,
    cut: str | None,
    exits: tuple[str, ...] = (),
) -> tuple[Source, ...]:
    """Return the parts of a bundle with test vectors from the test images, labels taking turns.

    `exits` are tensors that parts make beside their outputs; see `edge.split.cut`.
    """
    x = evaluate.inputs_of(graph, dataset, dataset.x_test[: 16 * vectors])
    picked = x[choose_vectors(evaluate.quantised_labels(graph, x), vectors)]
    return whole(graph, picked, float_graph) if cut is None else halves(graph, picked, cut, float_graph, exits)


def _prove(bundle: Bundle) -> dict[str, Any]:
    record = certificate(check_bundle(bundle, runtimes_for(bundle.manifest.target)))
    bundle = add_certificate(bundle.path, record)
    return {"digest": bundle.digest, "parity": record["results"]}


def _record(folder: Path, path: Path, job: BundleJob, result: dict[str, Any]) -> BundleRecord:
    if "refused" in result:
        return BundleRecord(job.target.name, job.scheme, (), None, None, None, result["refused"], ())
    return BundleRecord(
        target=job.target.name,
        scheme=job.scheme,
        parts=tuple(part.name for part in read_bundle(path).parts),
        path=str(path.relative_to(folder)),
        digest=result["digest"],
        size_bytes=sum(file.stat().st_size for file in _files(path)),
        refused=None,
        parity=tuple(parity_from_record(item, str(path)) for item in result["parity"]),
    )


def measure_stage(stages: Stages, record: BundleRecord, config: ProfileConfig) -> list[Measurement]:
    """Profile a bundle on every board of the configuration that runs its target and works here."""
    assert record.path is not None
    found: list[Measurement] = []
    for board in map(find_board, config.boards):
        if not board.takes(record.target):
            continue
        reason = missing(board)
        if reason is not None:
            stages.say(f"profile of {record.path} on {board.name}: not run, {reason}")
            continue
        found += _measure(stages, read_bundle(stages.folder / record.path), board, config)
    return found


def _measure(stages: Stages, bundle: Bundle, board: Board, config: ProfileConfig) -> list[Measurement]:
    def compute() -> dict[str, Any]:
        made = plans(
            bundle,
            board,
            windows=config.windows,
            window_s=config.window_s,
            warmup_s=config.warmup_s,
            images=config.images,
        )
        return {"measurements": [measurement_record.to_record(runner.profile(plan)) for plan in made]}

    lengths = {key: value for key, value in asdict(config).items() if key != "boards"}
    inputs = {"bundle": bundle.digest, "board": board.name, "versions": versions(board), "profile": lengths}
    stage = f"profile-{board.name}-{bundle.path.name}"
    try:
        result = stages.run(stage, inputs, compute)
    except DeviceError as error:
        raise DeviceError(f"profile of {bundle.path.name} on {board.name}: {error}") from error
    return [measurement_record.from_record(item, stage) for item in result["measurements"]]


def ceiling_stage(stages: Stages, measurements: Sequence[Measurement]) -> tuple[Ceiling, ...]:
    """Measure what this machine can do at most, when it measured a latency and has a compiler."""
    if not any(item.method == "measured" and item.latency_s for item in measurements):
        return ()
    reason = measure.missing()
    if reason is not None:
        stages.say(f"roofline: not measured, {reason}")
        return ()
    machine = conditions.cpu_model()
    found = stages.run("roofline", {"machine": machine}, lambda: asdict(measure.measure()))
    return (ceiling_from_record(found, "roofline"),)
