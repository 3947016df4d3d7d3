"""A bundle with a filter: the stem of a split network, a judge that may drop the frame, and the network's tail.

The threshold is chosen after quantisation, among the scores of the quantised judge: those are what a device compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.evaluate import inputs_of, output_labels, reference_codes
from edge.exporting import halves
from edge.gates.filter import FilterFigures, roc_auc, threshold_for_recall
from edge.split import cut
from export.bundle import BundleSpec
from export.decide import decider, scores
from export.manifest import tensor_spec
from export.rule import Rule, rule
from export.target import Source
from quant.formats import Array, FloatArray
from quant.graph import Graph
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run

STEM, JUDGE, TAIL = "stem", "judge", "tail"
#: Test vectors of every part.
VECTORS = 32


@dataclass(frozen=True, eq=False)
class Filtered:
    """A filter bundle ready to be written, and what the quantised filter does on the held-out images."""

    spec: BundleSpec
    roc_auc: float
    figures: FilterFigures


def filter_spec(
    network: Graph,
    tensor: str,
    judge: Graph,
    held_out: Dataset,
    interesting: Sequence[int],
    *,
    least_recall: float = 0.95,
    name: str = "filtered",
    scheme: str = "w8a8",
) -> Filtered:
    """Join a quantised network and a quantised judge on one of its cut tensors, with a threshold for a wanted recall.

    Args:
        network: quantised, from image to logits.
        tensor: the cut point that the judge reads, and that crosses the link.
        judge: quantised, one output: how interesting the frame is; from `edge.gates.branches.quantise_branch`.
        held_out: its test images choose the threshold; no network has been trained on them.
        interesting: classes that are not to be missed.
        least_recall: share of interesting held-out images that must pass.
        name: of the bundle.
        scheme: how the bundle says it was quantised.

    Raises:
        EdgeError: the graph cannot be cut there, the judge does not fit, or the held-out images do not.
    """
    stem = cut(network, tensor)[0]
    spec = tensor_spec(stem, stem.output)
    if tensor_spec(judge, judge.input) != spec or int(np.prod(judge.shape(judge.output))) != 1:
        raise EdgeError(
            f"judge '{judge.name}' must read what '{tensor}' holds ({spec.format} {list(spec.shape)}, the very scale) "
            "and give one number; quantise it with edge.gates.branches.quantise_branch."
        )
    x, wanted = inputs_of(stem, held_out, held_out.x_test), np.isin(held_out.y_test, list(interesting))
    levels = judged(stem, judge, x)
    found = threshold_for_recall(levels, wanted, least_recall)
    drop = rule("max_logit", found.threshold, action="drop")
    parts = _parts(network, tensor, judge, x[_picked(levels, found.threshold)], drop)
    labels = output_labels(network, held_out)
    bundle = BundleSpec(name, scheme, held_out.preprocess, labels, parts, postprocess="softmax")
    return Filtered(bundle, roc_auc(levels, wanted), found)


def judged(stem: Graph, judge: Graph, x: Array) -> FloatArray:
    """Return the scores a quantised filter gives inputs, float64 [N]; thresholds are compared with these.

    Args:
        stem: quantised.
        judge: quantised, reads the stem's output.
        x: inputs of the stem, float32 [N, ...].
    """
    features = np.concatenate(list(reference_codes(stem, quantise_input(stem.quant(stem.input), x))))
    codes = np.concatenate(list(reference_codes(judge, features)))
    ready = decider(rule("max_logit", 0.0, action="drop"), tensor_spec(judge, judge.output))
    return scores(ready, codes)


def _picked(levels: FloatArray, threshold: float) -> Array:
    """Return images for the test vectors: of those that pass and of those that do not, half each where there are."""
    passed, dropped = np.flatnonzero(levels >= threshold), np.flatnonzero(levels < threshold)
    half = VECTORS // 2
    return np.sort(np.concatenate([passed[: VECTORS - min(half, len(dropped))], dropped[:half]]))


def _parts(network: Graph, tensor: str, judge: Graph, x: Array, drop: Rule) -> tuple[Source, ...]:
    stem, tail = halves(network, x, tensor)
    outputs = run(lower(judge), stem.outputs, fast_dot)[judge.output]
    named = replace(judge, name=f"{network.name}_judge")
    return (
        replace(stem, name=STEM),
        Source(JUDGE, named, stem.outputs, outputs, after=drop),
        replace(tail, name=TAIL, source=STEM),
    )
