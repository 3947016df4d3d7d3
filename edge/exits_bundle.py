"""From a float network with early exits to a bundle whose parts stop where an input is sure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edge import evaluate
from edge.dataset import Dataset, with_held_out
from edge.errors import EdgeError
from edge.exit_parts import split_exits, stage_graphs
from edge.exporting import choose_vectors, fitted, scheme_for
from edge.gates.exits import ExitFigures
from edge.gates.shares import (
    ExitOutputs,
    cheapest,
    exits_taken,
    figures,
    most_accurate,
    rules_for,
    settings,
    temperatures,
)
from edge.quantizing import How, quantise_model, scheme_of
from export.bundle import BundleSpec, write_bundle
from export.bundle_read import Bundle
from export.manifest import tensor_spec
from export.rule import Rule
from export.target import Source, Target
from quant.formats import Array
from quant.graph import Graph, macs
from quant.program import lower
from quant.ptq import prepare
from quant.reference import fast_dot, quantise_input, run

#: Training images, the last ones, that only temperatures and thresholds are chosen on; no training may use them.
VALIDATION = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What the thresholds are chosen for: exactly one of three.

    Attributes:
        shares: of inputs that leave at each exit, adding up to 1.
        most_macs: the expected multiply-accumulates, as a share of the whole network's, at the best accuracy.
        least_accuracy: accuracy on the validation images, 0 to 1, at the least expected multiply-accumulates.
    """

    shares: tuple[float, ...] | None = None
    most_macs: float | None = None
    least_accuracy: float | None = None

    def __post_init__(self) -> None:
        """Refuse none and several."""
        given = [value is not None for value in (self.shares, self.most_macs, self.least_accuracy)]
        if sum(given) != 1:
            raise EdgeError(
                "exits are set by shares, by the most MACs or by the least accuracy: give one of the three."
            )


@dataclass(frozen=True, eq=False, kw_only=True)
class ExitJob:
    """What a bundle with exits is made of: how to quantise, what the thresholds are for, by which score.

    `validation` is how many training images, the last ones, choose temperatures and thresholds; `vectors` is how many
    test vectors the bundle gets, `name` its name (None: the graph's).
    """

    how: How
    wish: Wish
    score: str = "max_probability"
    validation: int = VALIDATION
    vectors: int = 18
    name: str | None = None


@dataclass(frozen=True, eq=False)
class ExitNetwork:
    """A quantised network with exits.

    Attributes:
        graph: its output is the last exit.
        exits: the tensors of the early exits' logits.
        stages: one more than early exits, each a graph.
        leaves: the early exits, each a graph that reads the stage of the same place.
        floats: stages and leaves of the float network, for targets that write it.
    """

    graph: Graph
    exits: tuple[str, ...]
    stages: tuple[Graph, ...]
    leaves: tuple[Graph, ...]
    floats: tuple[tuple[Graph, ...], tuple[Graph, ...]]


@dataclass(frozen=True, eq=False)
class Exits:
    """A bundle with exits, the rule of every exit (the last one always answers), and figures on validation images."""

    bundle: Bundle
    rules: tuple[Rule, ...]
    validation: ExitFigures


def write_exits(
    path: Path, joined: Graph, dataset: Dataset, job: ExitJob, target: Target, *, overwrite: bool = False
) -> Exits:
    """Quantise a network with exits, choose its thresholds on its own logits, and write it as a bundle.

    Args:
        path: the bundle's folder.
        joined: a float graph whose output joins the logits of all exits, the last one last, as
            `edge.models.exit_net.Joined` gives it.
        dataset: raw images; the last `job.validation` training images must have trained nothing.
        job: scheme, wish, score.
        target: what the bundle is for.
        overwrite: whether a bundle at `path` is replaced.

    Raises:
        EdgeError: the graph is no network with exits, or the wish cannot be granted.
        ExportError: the target cannot express a part or decide by the score.
    """
    training, kept = with_held_out(dataset, job.validation)
    how = replace(job.how, scheme=scheme_for(target, job.how.scheme))
    network = quantise_exits(joined, training, how)
    validation = exit_outputs(network, evaluate.inputs_of(network.graph, dataset, kept.x_test))
    rules = chosen_rules(validation, kept.y_test, job.wish, job.score)
    spec = exit_spec(network, rules, dataset, job)
    parts = tuple(fitted(part, target) for part in spec.parts)
    bundle = write_bundle(path, replace(spec, parts=parts), target, overwrite=overwrite)
    return Exits(bundle, rules, figures(validation, rules, kept.y_test))


def quantise_exits(joined: Graph, training: Dataset, how: How) -> ExitNetwork:
    """Quantise a network with exits; every exit keeps an output scale of its own.

    Args:
        joined: see `write_exits`.
        training: its training images calibrate.
        how: scheme and preset.
    """
    graph, exits = split_exits(joined)
    quantised = quantise_model(graph, how, training).graph
    stages, leaves = stage_graphs(quantised, exits)
    return ExitNetwork(quantised, exits, stages, leaves, stage_graphs(prepare(graph), exits))


def exit_outputs(network: ExitNetwork, x: Array) -> ExitOutputs:
    """Return what every exit gives for float32 inputs [N, ...], by the integer reference."""
    graph, names = network.graph, (*network.exits, network.graph.output)
    program, codes = lower(graph), quantise_input(graph.quant(graph.input), x)
    found: list[list[Array]] = [[] for _ in names]
    for start in range(0, len(codes), evaluate.BATCH):
        values = run(program, codes[start : start + evaluate.BATCH], fast_dot)
        for place, name in zip(found, names, strict=True):
            place.append(values[name])
    specs = tuple(tensor_spec(graph, name) for name in names)
    return ExitOutputs(tuple(np.concatenate(place) for place in found), specs, exit_macs(network))


def exit_macs(network: ExitNetwork) -> tuple[int, ...]:
    """Return the multiply-accumulates of an inference that leaves at each exit, asked exits included."""
    stages, leaves = ([sum(macs(g).values()) for g in graphs] for graphs in (network.stages, network.leaves))
    ends = [sum(stages[: k + 1]) + sum(leaves[: k + 1]) for k in range(len(leaves))]
    return (*ends, sum(stages) + sum(leaves))


def chosen_rules(validation: ExitOutputs, labels: Array, wish: Wish, score: str) -> tuple[Rule, ...]:
    """Return the rule of every exit for a wish.

    Raises:
        EdgeError: shares that do not fit, or a wish that no setting grants.
    """
    heat = temperatures(validation, labels)
    if wish.shares is not None:
        return rules_for(validation, wish.shares, score, heat)
    family = settings(validation, labels, score, heat)
    if wish.most_macs is not None:
        return most_accurate(family, wish.most_macs * validation.macs[-1]).rules
    assert wish.least_accuracy is not None
    return cheapest(family, wish.least_accuracy).rules


def exit_spec(network: ExitNetwork, rules: Sequence[Rule], dataset: Dataset, job: ExitJob) -> BundleSpec:
    """Return the bundle: stage1, exit1, stage2, exit2, ...; test vectors leave at every exit that takes any."""
    graph = network.graph
    x = evaluate.inputs_of(graph, dataset, dataset.x_test[: 32 * job.vectors])
    codes = quantise_input(graph.quant(graph.input), x[_picked(exit_outputs(network, x), rules, job.vectors)])
    return BundleSpec(
        name=job.name or graph.name,
        scheme=scheme_of(graph),
        preprocess=dataset.preprocess,
        labels=evaluate.output_labels(graph, dataset),
        parts=exit_parts(network, rules, codes),
        postprocess="softmax",
    )


def _picked(outputs: ExitOutputs, rules: Sequence[Rule], count: int) -> Array:
    """Return indices of inputs whose exits, and in each the labels, take turns."""
    taken, labels = exits_taken(outputs, rules), np.stack(outputs.labels())
    each = -(-count // len(rules))
    picked = []
    for place, answered in enumerate(labels):
        here = np.flatnonzero(taken == place)
        picked.append(here[choose_vectors(answered[here], each)] if len(here) else here)
    return np.sort(np.concatenate(picked))


def exit_parts(network: ExitNetwork, rules: Sequence[Rule], codes: Array) -> tuple[Source, ...]:
    """Return the parts of a bundle, in order, with the reference's outputs for these input codes.

    Args:
        network: quantised.
        rules: one per exit; that of the last exit is not needed, since nothing runs after it.
        codes: of the input, [N, ...].
    """
    parts, before = [], None
    for place, stage in enumerate(network.stages):
        floats = network.floats[0][place]
        parts.append(_part(f"stage{place + 1}", stage, floats, codes, source=before))
        codes, before = parts[-1].outputs, f"stage{place + 1}"
        if place < len(network.leaves):
            leaf, floats = network.leaves[place], network.floats[1][place]
            parts.append(_part(f"exit{place + 1}", leaf, floats, codes, after=rules[place]))
    return tuple(parts)


def _part(
    name: str, graph: Graph, floats: Graph, codes: Array, after: Rule | None = None, source: str | None = None
) -> Source:
    outputs = run(lower(graph), codes, fast_dot)[graph.output]
    return Source(name, graph, codes, outputs, floats, after=after, source=source)
