"""What the commands quantize, eval and export do with one model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from devices.runtimes import find_runtime
from edge import evaluate
from edge.binary_eval import binary_labels, is_binary
from edge.calibration import calibration_inputs
from edge.circuits import circuits_of
from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.exporting import fitted
from edge.model_file import elastic_of, load_model, split_subnet
from edge.pipeline_bundles import parts_of
from export.arm_a import TARGET as ARM_A
from export.atomic import new_folder, write_file
from export.bundle import BundleSpec, write_bundle
from export.bundle_read import MANIFEST, Bundle, read_bundle
from export.chain import answering
from export.dynamic import Answers, macs_spent
from export.host import TARGET as HOST
from export.onnx_qdq import qdq_model
from export.rtl.stream.request import CircuitRequest
from export.target import Target, check_capability
from export.tflite import encode
from quant import graph_file
from quant.formats import Array
from quant.graph import Graph
from quant.method import parse_method
from quant.passes.dequantise import dequantise
from quant.presets import Choice, find_preset, quantise_by, quantise_with
from quant.ptq import prepare
from quant.ranges import check_calibration
from quant.scheme import Formats, Scheme

#: Endings of model files that only hold some formats: what they are called, and the target that says which.
FORMS: dict[str, tuple[str, Target]] = {".onnx": ("ONNX", HOST), ".tflite": ("TFLite", ARM_A)}


@dataclass(frozen=True, slots=True)
class Answered:
    """What one part of a bundle with rules answered: share of the images, and of these the share that is right."""

    part: str
    share: float
    accuracy: float | None


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Top-1 accuracy on `images` test images, and what executed the network.

    Where rules decide what runs: what each part answered, and the mean multiply-accumulates of an image.
    """

    images: int
    accuracy: float
    executed_by: str
    answered: tuple[Answered, ...] = ()
    macs: float | None = None


@dataclass(frozen=True, eq=False)
class ExportJob:
    """What to export: a quantised model, its float form for targets that need it, data for vectors and labels.

    `circuit` is what is asked of an FPGA core.
    """

    model: str
    float_model: str | None
    dataset: Dataset
    vectors: int
    cut: str | None
    name: str | None
    probabilities: bool = False
    circuit: CircuitRequest | None = None


@dataclass(frozen=True, slots=True)
class How:
    """How to quantise: a preset, unless `passes` names a method; `count` calibration images drawn by `seed`.

    `anew` takes a quantised graph, too: from the real values of its codes.
    """

    scheme: Scheme
    preset: str = "default"
    passes: str | None = None
    count: int = 256
    seed: int = 0
    anew: bool = False


def quantise_model(graph: Graph, how: How, dataset: Dataset, say: Callable[[str], None] | None = None) -> Choice:
    """Quantise a graph on training images; `say` is told what a preset tries."""
    if how.anew and graph.is_quantised:
        graph = dequantise(graph)
    evaluate.check_classes(graph, dataset)
    method = parse_method(how.passes) if how.passes is not None else None
    preset = find_preset(how.preset)
    prepared = prepare(graph)
    inputs = check_calibration(prepared, calibration_inputs(graph, dataset, how.count, how.seed))
    if method is not None:
        return quantise_with(prepared, how.scheme, method, inputs)
    return quantise_by(prepared, how.scheme, preset, inputs, say)


def save_quantised(graph: Graph, path: Path) -> None:
    """Write a quantised graph as `.graph` (any format), QDQ `.onnx` or `.tflite` (what these can express), atomically.

    Raises:
        EdgeError: another ending.
        ExportError: ONNX or TFLite cannot express the graph, or the file cannot be written.
    """
    check_suffix(path)
    if path.suffix == ".graph":
        write_file(path, graph_file.to_bytes(graph))
        return
    check_capability(FORMS[path.suffix][1], graph)
    write_file(path, qdq_model(graph).SerializeToString() if path.suffix == ".onnx" else encode(graph))


def check_suffix(path: Path, scheme: Scheme | None = None) -> None:
    """Refuse an output file, before any work, whose ending names no form of this scheme."""
    if path.suffix != ".graph" and path.suffix not in FORMS:
        raise EdgeError(
            f"{path}: write .onnx (QDQ, integers of at most 8 bits) or .graph (any format), or .tflite (weights of at "
            "most 8 bits, int8 or int16 activations)."
        )
    if path.suffix == ".graph" or scheme is None:
        return
    what, target = FORMS[path.suffix]
    layers = (scheme.formats, *(formats for _, formats in scheme.rules))
    pairs = [(formats.weight.name, target.capability.weights) for formats in layers]
    pairs += [(formats.activation.name, target.capability.activations) for formats in layers]
    foreign = [name for name, known in pairs if name not in known]
    if foreign:
        raise EdgeError(f"{path}: {what} has no {foreign[0]}; write {path.with_suffix('.graph').name}, any format.")


def is_bundle(model: str) -> bool:
    """Whether MODEL on the command line is a bundle's folder, or `FOLDER@SUBNET`."""
    return (Path(split_subnet(model)[0]) / MANIFEST).is_file()


def evaluate_model(model: str, dataset: Dataset, runtime: str | None, weights: Path | None) -> Evaluation:
    """Measure accuracy on the test images: of a bundle (a folder), a quantised graph, or a float model."""
    if is_bundle(model):
        folder, subnet = split_subnet(model)
        return _evaluate_bundle(_switched(read_bundle(Path(folder)), subnet, runtime), dataset, runtime)
    if runtime is not None:
        raise EdgeError("--runtime executes bundles; this is a model, which the reference or ONNX Runtime executes.")
    if is_binary(model):
        return _result(dataset, binary_labels(Path(model), dataset), "XNOR-popcount reference")
    graph = load_model(model, weights, dataset.preprocess.shape)
    evaluate.check_classes(graph, dataset)
    x = evaluate.inputs_of(graph, dataset, dataset.x_test)
    if graph.is_quantised:
        return _result(dataset, evaluate.quantised_labels(graph, x), "integer reference")
    return _result(dataset, evaluate.float_labels(graph, x), "float, ONNX Runtime")


def _switched(bundle: Bundle, subnet: str, runtime: str | None) -> Bundle:
    """Return a bundle whose parts compute another subnet of their elastic networks; as it is for an empty name."""
    if subnet and runtime is not None:
        raise EdgeError(f"the files for runtime '{runtime}' have one width; leave out --runtime to switch to {subnet}.")
    parts = tuple(replace(part, graph=part.at(subnet)) for part in bundle.parts) if subnet else bundle.parts
    return replace(bundle, parts=parts)


def _evaluate_bundle(bundle: Bundle, dataset: Dataset, runtime: str | None) -> Evaluation:
    chosen = find_runtime(runtime) if runtime else None
    if chosen is not None and (chosen.target != bundle.manifest.target or chosen.missing() is not None):
        why = chosen.missing() or f"it runs bundles of target {chosen.target}, not {bundle.manifest.target}"
        raise EdgeError(f"runtime '{chosen.name}' cannot execute this bundle: {why}.")
    check_labels(bundle.manifest.labels, dataset)
    first = bundle.parts[0].graph
    x = bundle.manifest.preprocess.input_for(dataset.x_test, first.shape(first.input))
    answers = evaluate.bundle_answers(bundle, chosen, x)
    result = _result(dataset, answers.label, chosen.name if chosen else "integer reference")
    if not bundle.manifest.is_dynamic:
        return result
    spent = float(macs_spent(bundle.manifest, answers).mean())
    return replace(result, answered=_answered(bundle, answers, dataset.y_test), macs=spent)


def _answered(bundle: Bundle, answers: Answers, labels: Array) -> tuple[Answered, ...]:
    found = []
    for index in answering(bundle.manifest):
        here = answers.part == index
        accuracy = float((answers.label == labels)[here].mean()) if here.any() else None
        found.append(Answered(bundle.parts[index].name, float(here.mean()), accuracy))
    return tuple(found)


def check_labels(labels: tuple[str, ...], dataset: Dataset) -> None:
    """Check that the data speaks of a bundle's labels; labels that are only numbers may be fewer."""
    numbers = tuple(str(k) for k in range(len(labels)))
    if dataset.labels == labels or dataset.labels == numbers[: len(dataset.labels)]:
        return
    raise EdgeError(
        f"the bundle's labels are {', '.join(labels)}; those of data '{dataset.name}' are {', '.join(dataset.labels)}."
    )


def _result(dataset: Dataset, labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]], by: str) -> Evaluation:
    return Evaluation(len(labels), float((labels == dataset.y_test).mean()), by)


def places_of(targets: Sequence[Target], output: Path) -> tuple[Path, ...]:
    """Return where the bundle of each target goes: one is `output` itself, several are folders in it.

    Raises:
        EdgeError: a target is given twice.
    """
    if len({target.name for target in targets}) < len(targets):
        raise EdgeError("the same target is given twice.")
    return (output,) if len(targets) == 1 else tuple(output / target.name for target in targets)


def export_models(job: ExportJob, targets: Sequence[Target], output: Path, *, overwrite: bool) -> tuple[Bundle, ...]:
    """Write a bundle of a quantised model for each target, at `places_of`.

    Every target is asked whether it can express the model before anything is written.

    Raises:
        EdgeError: the model is a float model, or a target is given twice.
        ExportError: a target cannot express it, or the place cannot be written.
    """
    places, whole = places_of(targets, output), _spec(job)
    specs = [replace(whole, parts=tuple(fitted(part, target) for part in whole.parts)) for target in targets]
    for spec, target in zip(specs, targets, strict=True):
        for part in spec.parts:
            check_capability(target, part.graph)
    if len(targets) == 1 or output.exists():
        jobs = zip(places, specs, targets, strict=True)
        return tuple(write_bundle(place, spec, target, overwrite=overwrite) for place, spec, target in jobs)
    with new_folder(output) as folder:
        for spec, target in zip(specs, targets, strict=True):
            write_bundle(folder / target.name, spec, target)
    return tuple(read_bundle(place) for place in places)


def _spec(job: ExportJob) -> BundleSpec:
    graph = load_model(job.model)
    if not graph.is_quantised:
        raise EdgeError(
            f"'{job.model}' is a float model; quantise it first: edgemill quantize {job.model} --scheme w8a8 "
            "--calib DATA -o OUT.graph"
        )
    labels = evaluate.output_labels(graph, job.dataset)
    float_graph = prepare(load_model(job.float_model)) if job.float_model else None
    exits = tuple(tap.tensor for tap in job.circuit.taps) if job.circuit is not None else ()
    parts = parts_of(graph, float_graph, job.dataset, job.vectors, job.cut, exits)
    if job.cut is None:
        # Half a network is no subnet, so the parts of a divided one carry none.
        parts = tuple(replace(part, elastic=elastic_of(job.model)) for part in parts)
    if job.circuit is not None:
        circuits = circuits_of(job.circuit, [part.graph for part in parts])
        parts = tuple(replace(part, circuit=circuit) for part, circuit in zip(parts, circuits, strict=True))
    parts = (*parts[:-1], replace(parts[-1], probabilities=job.probabilities))
    return BundleSpec(
        name=job.name or graph.name,
        scheme=scheme_of(graph),
        preprocess=job.dataset.preprocess,
        labels=labels,
        parts=parts,
        postprocess="softmax",
    )


def scheme_of(graph: Graph) -> str:
    """Name the scheme a quantised graph looks like: formats of its first weight and its input, and symmetry."""
    weights = [graph.quant(name) for name in graph.weights if graph.tensors[name].quant is not None]
    activations = [graph.quant(name) for name in graph.activations()]
    first = weights[0].format if weights else activations[0].format
    symmetric = not activations[0].format.is_minifloat and all(quant.zero == 0 for quant in activations)
    per_channel = any(len(quant.scale) > 1 for quant in weights)
    return str(Scheme(Formats(first, activations[0].format), per_channel=per_channel, symmetric=symmetric))
