"""From a model and a judge, float or quantised, to the bundle of a filter that drops what is not interesting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge.calibration import calibration_inputs
from edge.dataset import Dataset, with_held_out
from edge.errors import EdgeError
from edge.exporting import fitted, scheme_for
from edge.gates.branches import quantise_branch
from edge.gates.filter_bundle import Filtered, filter_spec
from edge.quantizing import How, quantise_model, scheme_of
from edge.split import cut
from export.bundle import write_bundle
from export.bundle_read import Bundle
from export.target import Target
from quant.graph import Graph
from quant.names import suggestion
from quant.ptq import prepare


@dataclass(frozen=True, eq=False, kw_only=True)
class FilterJob:
    """What a filter is made of: how float models are quantised, where the judge looks, and what must pass.

    `interesting` are names or numbers of classes, `least_recall` the share of their held-out images that must pass.
    `held_out` is how many training images, the last ones, choose the threshold; `name` is the bundle's.
    """

    how: How
    tensor: str
    interesting: tuple[str, ...]
    least_recall: float = 0.95
    held_out: int = 5000
    name: str = "filtered"


def write_filter(
    path: Path, network: Graph, judge: Graph, dataset: Dataset, job: FilterJob, target: Target, *, overwrite: bool
) -> tuple[Bundle, Filtered]:
    """Quantise what is float, choose the threshold on held-out images, and write stem, judge and tail.

    Args:
        path: the bundle's folder.
        network: from image to logits, float or quantised.
        judge: reads the network's tensor `job.tensor` and gives one number; float or quantised.
        dataset: raw images; the last `job.held_out` training images must not have trained the network.
        job: scheme, tensor, classes, recall.
        target: what the bundle is for.
        overwrite: whether a bundle at `path` is replaced.

    Raises:
        EdgeError: unknown classes or tensor, a judge that does not fit, or held-out images of one kind only.
        ExportError: the target cannot express a part.
    """
    training, held_out = with_held_out(dataset, job.held_out)
    classes = class_numbers(job.interesting, dataset.labels)
    _check_kinds(classes, held_out)
    floats = _float_parts(network, judge, job.tensor)
    how = replace(job.how, scheme=scheme_for(target, job.how.scheme))
    graph = network if network.is_quantised else quantise_model(network, how, training).graph
    if not judge.is_quantised:
        stem = cut(graph, job.tensor)[0]
        judge = quantise_branch(stem, judge, how.scheme, calibration_inputs(stem, training, how.count, how.seed))
    made = filter_spec(
        graph,
        job.tensor,
        judge,
        held_out,
        classes,
        least_recall=job.least_recall,
        name=job.name,
        scheme=scheme_of(graph),
    )
    pairs = zip(made.spec.parts, floats, strict=True)
    parts = tuple(fitted(replace(part, float_graph=before), target) for part, before in pairs)
    return write_bundle(path, replace(made.spec, parts=parts), target, overwrite=overwrite), made


def class_numbers(wanted: Sequence[str], labels: Sequence[str]) -> tuple[int, ...]:
    """Return the number of each class, ascending, once each.

    Args:
        wanted: names of classes, or numbers where no name is spelt so.
        labels: the name of every class.

    Raises:
        EdgeError: a class is unknown (the message lists all), none is wanted, or all are.
    """
    known = ", ".join(f"{index} ({name})" if name != str(index) else name for index, name in enumerate(labels))
    numbers = {name: index for index, name in enumerate(labels)}
    numbers = {str(index): index for index in range(len(labels))} | numbers
    for name in wanted:
        if name not in numbers:
            raise EdgeError(f"there is no class '{name}'.{suggestion(name, labels)} Classes: {known}.")
    found = tuple(sorted({numbers[name] for name in wanted}))
    if not 0 < len(found) < len(labels):
        raise EdgeError(f"a filter needs some interesting classes and some others. Classes: {known}.")
    return found


def _check_kinds(classes: Sequence[int], held_out: Dataset) -> None:
    seen = np.isin(held_out.y_test, classes)
    if seen.all() or not seen.any():
        kind = "interesting" if seen.all() else "not interesting"
        raise EdgeError(
            f"all {len(seen)} held-out images of '{held_out.name}' are {kind}; a threshold needs both kinds. Hold more "
            "images out, and mix the training images."
        )


def _float_parts(network: Graph, judge: Graph, tensor: str) -> tuple[Graph | None, Graph | None, Graph | None]:
    """Return stem, judge and tail in float, None where the model is quantised; what does not fit is refused.

    Raises:
        EdgeError: the network cannot be cut there, or the judge does not read that tensor or gives several numbers.
    """
    before = network if network.is_quantised else prepare(network)
    stem, tail = cut(before, tensor)
    read, given = judge.shape(judge.input)[1:], stem.shape(stem.output)[1:]
    if read != given:
        raise EdgeError(f"judge '{judge.name}' reads {list(read)}; '{tensor}' is {list(given)}.")
    outputs = int(np.prod(judge.shape(judge.output)[1:]))
    if outputs != 1:
        raise EdgeError(
            f"judge '{judge.name}' gives {outputs} numbers; a filter needs one that is higher where there is more to "
            "see."
        )
    floats = (None, None) if network.is_quantised else (stem, tail)
    return floats[0], None if judge.is_quantised else prepare(judge), floats[1]
