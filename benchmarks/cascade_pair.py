"""One seed of the cascade benchmark: a pool of quantised networks, a pair of them, and what it does on the test set."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cascade_nets import SHAPE, Net, built
from benchmarks.cascade_train import trained
from edge.calibration import calibration_inputs
from edge.dataset import Dataset
from edge.evaluate import quantised_labels, reference_codes
from edge.gates.cascade import MEASURES, best_pair, complementarity
from edge.gates.cascade_bundle import Asked, Cascade, Wish, asked, cascade_spec, chosen, in_steps
from edge.gates.temperature import calibration_error
from edge.onnx_file import to_onnx
from edge.train import logits
from export.bundle import write_bundle
from export.bundle_read import Bundle
from export.dynamic import Answers, macs_spent, run_parts
from export.runtimes.c_joint import answers_on_host
from export.runtimes.session import Told
from export.targets import find_target
from quant.formats import Array
from quant.graph import Graph, macs
from quant.onnx_import import load_onnx
from quant.presets import find_preset, quantise_by
from quant.ptq import prepare
from quant.reference import dequantise, quantise_input
from quant.scheme import parse_scheme

SCHEME, PRESET, CALIBRATION = "w8a8", "fast", 512
SCORE = "difference"
#: Below the goal of 50 %, so that the share on other images than the held-out ones stays below it, too.
MOST_SHARE = 0.45


@dataclass(frozen=True, eq=False)
class Pool:
    """The quantised networks of a seed by name, in the pool's order, asked about the held-out and the test images."""

    graphs: Mapping[str, Graph]
    held_out: Mapping[str, Asked]
    test: Mapping[str, Asked]
    float_accuracy: Mapping[str, float]


def pool(work: Path, validation: Dataset, full: Dataset, seed: int, nets: Sequence[Net]) -> Pool:
    """Train or load the networks of a seed, quantise them, and ask them."""
    modules = {net.name: trained(work, net, validation, seed) for net in nets}
    graphs = {name: quantised(module, name, validation, seed) for name, module in modules.items()}
    held = {name: _asked(graph, validation) for name, graph in graphs.items()}
    test = {name: _asked(graph, full, held[name].temperature) for name, graph in graphs.items()}
    right = {name: logits(module, full, full.x_test).argmax(axis=1) == full.y_test for name, module in modules.items()}
    return Pool(graphs, held, test, {name: float(found.mean()) for name, found in right.items()})


def quantised(module: Any, name: str, dataset: Dataset, seed: int) -> Graph:
    """Return a trained module as a graph of 8 bits, calibrated on training images."""
    graph = prepare(_imported(module))
    x = calibration_inputs(graph, dataset, CALIBRATION, seed)
    return replace(quantise_by(graph, parse_scheme(SCHEME), find_preset(PRESET), x).graph, name=name.replace("-", "_"))


def _imported(module: Any) -> Graph:
    with tempfile.TemporaryDirectory() as folder:
        to_onnx(module, SHAPE, Path(folder) / "net.onnx")
        return load_onnx(Path(folder) / "net.onnx")


def _asked(graph: Graph, dataset: Dataset, temperature: float | None = None) -> Asked:
    codes = quantise_input(graph.quant(graph.input), dataset.preprocess.apply(dataset.x_test))
    return asked(graph, codes, dataset.y_test, SCORE, temperature)


def pairs(found: Pool) -> dict[str, tuple[str, str]]:
    """Return the most complementary pair on the held-out images by each measure."""
    right = {name: one.member.right for name, one in found.held_out.items()}
    return {measure: best_pair(right, measure) for measure in MEASURES}


def complements(found: Pool) -> dict[str, dict[str, float]]:
    """Return complementarity of every pair on the held-out images, by measure."""
    right = {name: one.member.right for name, one in found.held_out.items()}
    names = [(a, b) for i, a in enumerate(right) for b in list(right)[i + 1 :]]
    return {m: {f"{a}+{b}": complementarity(right[a], right[b], m) for a, b in names} for m in MEASURES}


def ordered(found: Pool, pair: tuple[str, str], validation: Dataset, *, post_check: bool) -> tuple[str, str, Cascade]:
    """Return the pair in the order that is more accurate on the held-out images, with its cascade."""
    wish = Wish(score=SCORE, post_check=post_check, most_share=MOST_SHARE)
    tried = [(a, b, cascade_spec(found.graphs[a], found.graphs[b], validation, wish)) for a, b in permutations(pair)]
    return max(tried, key=lambda one: (one[2].figures.accuracy, -one[2].figures.macs))


def most_accurate_pair(found: Pool, wish: Wish) -> tuple[str, str]:
    """Return the ordered pair whose cascade is the most accurate on the held-out images; ties go to the cheaper one."""
    held = found.held_out
    tried = {(a, b): chosen(in_steps(held[a].member, SCORE), held[b].member, wish) for a, b in permutations(held, 2)}
    return max(tried, key=lambda pair: (tried[pair].accuracy, -tried[pair].macs))


def measured(cascade: Cascade, full: Dataset, folder: Path) -> dict[str, Any]:
    """Write the bundle, run all test images through the reference and through its C, and say what came out."""
    bundle = write_bundle(folder, cascade.spec, find_target("arm-m"), overwrite=True)
    answers, told = _answers(bundle, full)
    differ = int(((told.part != answers.part) | (told.label != answers.label)).sum())
    return {
        "accuracy": float((answers.label == full.y_test).mean()),
        "second_share": float(answers.ran[1].mean()),
        "macs": float(macs_spent(bundle.manifest, answers).mean()),
        "threshold": cascade.figures.threshold,
        "temperatures": list(cascade.temperatures),
        "held_out": {"accuracy": cascade.figures.accuracy, "second_share": cascade.figures.second_share},
        "c_answers_that_differ": differ,
        "labels_answered": len(np.unique(answers.label)),
    }


def _answers(bundle: Bundle, full: Dataset) -> tuple[Answers, Told]:
    first = bundle.parts[0].graph
    codes = quantise_input(first.quant(first.input), full.preprocess.apply(full.x_test))

    def execute(index: int, given: Array) -> Array:
        return np.concatenate(list(reference_codes(bundle.parts[index].graph, given)))

    return run_parts(bundle.manifest, execute, codes), answers_on_host(bundle, codes)


def single(work: Path, net: Net, cost: float, validation: Dataset, full: Dataset, seed: int) -> dict[str, Any]:
    """Train one network of a family with the cost nearest to the wanted, and measure it quantised."""
    costs = {width: sum(macs(_imported(built(net, 0, width))).values()) for width in range(4, 2 * net.width + 9)}
    width = min(costs, key=lambda one: abs(costs[one] - cost))
    graph = quantised(trained(work, net, validation, seed, width), f"{net.name}-{width}", validation, seed)
    labels = quantised_labels(graph, full.preprocess.apply(full.x_test))
    return {
        "family": net.name,
        "width": width,
        "macs": costs[width],
        "accuracy": float((labels == full.y_test).mean()),
    }


def calibration(graph: Graph, one: Asked, labels: Array) -> dict[str, float]:
    """Return the expected calibration error of quantised logits before and after their temperature."""
    values = dequantise(graph.quant(graph.output), one.codes).reshape(len(labels), -1)
    return {
        "temperature": one.temperature,
        "error_before": calibration_error(values, labels, 1.0),
        "error_after": calibration_error(values, labels, one.temperature),
    }
