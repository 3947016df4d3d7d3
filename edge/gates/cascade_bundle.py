"""A bundle of two complementary networks: the second is asked where the first is not sure, and the surer one answers.

Temperatures and the threshold are chosen after quantisation, on the scores that the rules compare.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.evaluate import code_labels, inputs_of, output_labels, reference_codes
from edge.exporting import choose_vectors
from edge.gates.cascade import CascadeFigures, Member, cheapest, figures, fullest, most_accurate
from edge.gates.temperature import fit_temperature
from export.bundle import BundleSpec
from export.chain import SURER
from export.decide import decider, scores
from export.manifest import INPUT, tensor_spec
from export.rule import COMBINATIONS, STEPS, rule
from export.target import Source
from quant.formats import Array
from quant.graph import Graph, macs
from quant.reference import dequantise, quantise_input

FIRST, SECOND = "first", "second"
#: Test vectors of every part.
VECTORS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a cascade is to do on the held-out images.

    Attributes:
        score: one of `export.rule.SCORES`; entropy cannot be decided in C.
        post_check: whether the surer of both answers, or always the second where it is asked.
        most_share: the second is asked for at most this share of images.
        least_accuracy: None for the most accurate threshold; else the cheapest one that reaches this.
        by_share: the second is asked for just `most_share` of the images, without a look at labels.
    """

    score: str = "difference"
    post_check: bool = True
    most_share: float = 0.5
    least_accuracy: float | None = None
    by_share: bool = False


@dataclass(frozen=True, eq=False)
class Asked:
    """A quantised network on some images: logit codes [N, classes], labels [N], temperature, as a cascade's member."""

    codes: Array
    labels: Array
    temperature: float
    member: Member


@dataclass(frozen=True, eq=False)
class Cascade:
    """A cascade ready to be written, both temperatures, and what it does on the held-out images.

    `alone` is the accuracy of each network by itself on the same images.
    """

    spec: BundleSpec
    temperatures: tuple[float, float]
    figures: CascadeFigures
    alone: tuple[float, float]


def cascade_spec(
    first: Graph,
    second: Graph,
    held_out: Dataset,
    wish: Wish | None = None,
    *,
    name: str = "cascade",
    scheme: str = "w8a8",
) -> Cascade:
    """Join two quantised networks as a cascade.

    Args:
        first: quantised; asked for every image.
        second: quantised, with the very same input format and scale, which the same calibration images give.
        held_out: its test images choose temperatures and threshold; no network has been trained on them.
        wish: None for the most accurate cascade with the post-check that asks the second at most half of the time.
        name: of the bundle.
        scheme: how the bundle says it was quantised.

    Raises:
        EdgeError: the networks do not go together, or no threshold does what is wished.
        ExportError: the score is unknown.
    """
    wish = wish or Wish()
    check_pair(first, second)
    x = inputs_of(first, held_out, held_out.x_test)
    codes = quantise_input(first.quant(first.input), x)
    a, b = (asked(graph, codes, held_out.y_test, wish.score) for graph in (first, second))
    found = chosen(in_steps(a.member, wish.score), b.member, wish)
    picked = choose_vectors(a.labels, VECTORS)
    rules = (
        rule(wish.score, found.threshold, temperature=a.temperature),
        rule(wish.score, -np.inf, temperature=b.temperature) if wish.post_check else None,
    )
    found = figures(a.member, b.member, rules[0].threshold, post_check=wish.post_check)
    parts = (
        Source(FIRST, first, codes[picked], a.codes[picked], after=rules[0]),
        Source(SECOND, second, codes[picked], b.codes[picked], after=rules[1], source=INPUT),
    )
    labels, combine = output_labels(first, held_out), SURER if wish.post_check else COMBINATIONS[0]
    spec = BundleSpec(name, scheme, held_out.preprocess, labels, parts, postprocess="softmax", combine=combine)
    alone = float(a.member.right.mean()), float(b.member.right.mean())
    return Cascade(spec, (a.temperature, b.temperature), found, alone)


def in_steps(member: Member, score: str) -> Member:
    """Return a member whose scores are those that rules tell apart, so that a threshold among them is met exactly."""
    return member if score == "max_logit" else replace(member, score=np.floor(member.score * STEPS) / STEPS)


def chosen(a: Member, b: Member, wish: Wish) -> CascadeFigures:
    """Return the threshold that a wish leads to, with its figures.

    Raises:
        EdgeError: no threshold reaches the accuracy, or not with the second asked so rarely.
    """
    if wish.by_share:
        return fullest(a, b, post_check=wish.post_check, most_share=wish.most_share)
    if wish.least_accuracy is None:
        return most_accurate(a, b, post_check=wish.post_check, most_share=wish.most_share)
    found = cheapest(a, b, wish.least_accuracy, post_check=wish.post_check)
    if found.second_share > wish.most_share:
        raise EdgeError(
            f"an accuracy of {wish.least_accuracy:.4f} asks the second network for {found.second_share:.1%} of the "
            f"images; at most {wish.most_share:.1%} are wished."
        )
    return found


def asked(graph: Graph, codes: Array, labels: Array, score: str, temperature: float | None = None) -> Asked:
    """Run a quantised network and score its answers.

    Args:
        graph: quantised.
        codes: of its input, [N, ...].
        labels: the right ones, [N].
        score: one of `export.rule.SCORES`.
        temperature: None fits one to these images.
    """
    made = np.concatenate(list(reference_codes(graph, codes)))
    if temperature is None:
        logits = dequantise(graph.quant(graph.output), made).reshape(len(made), -1)
        temperature = fit_temperature(logits, labels)
    ready = decider(rule(score, 0.0, temperature=temperature), tensor_spec(graph, graph.output))
    answered = code_labels(graph, made)
    member = Member(answered == labels, scores(ready, made), sum(macs(graph).values()))
    return Asked(made, answered, temperature, member)


def check_pair(first: Graph, second: Graph) -> None:
    """Check that two networks can be one cascade.

    Raises:
        EdgeError: they are not quantised, or differ in input or number of outputs; says what to do.
    """
    if not (first.is_quantised and second.is_quantised):
        raise EdgeError("a cascade is made of quantised networks; quantise both on the same images first.")
    ours, theirs = (tensor_spec(graph, graph.input) for graph in (first, second))
    if ours != theirs:
        raise EdgeError(
            f"'{first.name}' takes {ours.format} {list(ours.shape)} of step {ours.scale:g} and zero {ours.zero}, "
            f"'{second.name}' {theirs.format} {list(theirs.shape)} of step {theirs.scale:g} and zero {theirs.zero}; "
            "quantise both by one scheme on the same calibration images."
        )
    outputs = [int(np.prod(graph.shape(graph.output)[1:])) for graph in (first, second)]
    if outputs[0] != outputs[1]:
        raise EdgeError(f"'{first.name}' knows {outputs[0]} labels, '{second.name}' {outputs[1]}.")
