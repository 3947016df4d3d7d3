"""How accurate a network is with its cut tensor in the link's formats: the integer reference on a sample of images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edge import evaluate
from edge.calibration import calibration_inputs
from edge.errors import EdgeError
from edge.link.requantise import head_values, link_quant, with_link
from edge.split import cut
from edge.splitting.job import Network, SplitJob
from edge.stages import Stages
from quant.formats import Array, Format, find_format
from quant.graph import Graph, Quant
from quant.reference import quantise_input


def sample(job: SplitJob) -> tuple[Array, Array]:
    """Return the images that accuracies come from, drawn by the seed, and their labels."""
    count = len(job.dataset.x_test)
    picked = np.sort(np.random.default_rng(job.seed).permutation(count)[: job.images])
    return job.dataset.x_test[picked], job.dataset.y_test[picked]


def whole_stage(stages: Stages, job: SplitJob, network: Network, inputs: Mapping[str, object]) -> float:
    """Return the accuracy of an undivided network on the sample."""

    def compute() -> dict[str, Any]:
        images, truth = sample(job)
        x = evaluate.inputs_of(network.graph, job.dataset, images)
        return {"accuracy": float((evaluate.quantised_labels(network.graph, x) == truth).mean())}

    result = stages.run(f"whole-{network.name}", {**inputs, "graph": network.digest}, compute)
    return float(result["accuracy"])


def cut_stage(
    stages: Stages, job: SplitJob, network: Network, tensor: str, title: str, inputs: Mapping[str, object]
) -> dict[str, tuple[Quant, float] | str]:
    """Return number format of the link and accuracy for each format at one cut, or why a format cannot be.

    Args:
        stages: keeps the result.
        job: names formats and images.
        network: what is cut.
        tensor: where.
        title: of the stage.
        inputs: what the result depends on, beside the graph and the cut.
    """

    def compute() -> dict[str, Any]:
        return {"formats": _tried(job, network.graph, tensor)}

    names = [fmt.name for fmt in job.formats]
    key = {**inputs, "graph": network.digest, "tensor": tensor, "formats": names}
    found = stages.run(f"cut-{title}", key, compute)["formats"]
    return {name: _read(name, found[name]) for name in names}


def _read(name: str, entry: Mapping[str, Any]) -> tuple[Quant, float] | str:
    if "refused" in entry:
        return str(entry["refused"])
    return Quant(find_format(name), tuple(entry["scale"]), entry["zero"]), float(entry["accuracy"])


def _tried(job: SplitJob, graph: Graph, tensor: str) -> dict[str, Any]:
    """Run the head once, then what follows it once for each format."""
    head, _ = cut(graph, tensor)
    values = head_values(head, calibration_inputs(graph, job.dataset, job.calibration, job.seed))
    images, truth = sample(job)
    codes = quantise_input(graph.quant(graph.input), evaluate.inputs_of(graph, job.dataset, images))
    middle = np.concatenate(list(evaluate.reference_codes(head, codes)))
    return {fmt.name: _format(graph, tensor, fmt, values, middle, truth) for fmt in job.formats}


def _format(graph: Graph, tensor: str, fmt: Format, values: Array, middle: Array, truth: Array) -> dict[str, Any]:
    own = graph.quant(tensor)
    link = own if own.format == fmt else link_quant(values, fmt)
    try:
        rest = cut(with_link(graph, tensor, link), tensor)[1]
    except EdgeError as error:
        return {"refused": str(error)}
    labels = evaluate.code_labels(rest, np.concatenate(list(evaluate.reference_codes(rest, middle))))
    return {"scale": list(link.scale), "zero": link.zero, "accuracy": float((labels == truth).mean())}
