"""Small bundles with rules: early exits, a cascade, a filter, made of toy graphs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge.split import cut
from export.bundle import BundleSpec
from export.decide import decider, scores
from export.manifest import INPUT, tensor_spec
from export.preprocess import Preprocess
from export.rule import rule
from export.target import Source
from quant.formats import Array, Format
from quant.graph import Graph
from quant.program import lower
from quant.reference import fast_dot, run
from tests.toys import random_codes, toy_graph

COUNT = 48
LABELS = tuple(str(i) for i in range(10))
PREPROCESS = Preprocess(3, 8, 8, scale=1.0, mean=(0.0,) * 3, std=(1.0,) * 3)


def outputs(graph: Graph, codes: Array) -> Array:
    """What the reference computes."""
    return run(lower(graph), codes, fast_dot)[graph.output]


def part(name: str, graph: Graph, codes: Array, **changes) -> Source:
    """A part with its test vectors."""
    return Source(name, graph, codes, outputs(graph, codes), **changes)


def spec(*parts: Source, combine: str = "last") -> BundleSpec:
    """A bundle of these parts."""
    return BundleSpec("toy", "w8a8", PREPROCESS, LABELS, parts, combine=combine)


def named(graph: Graph, name: str) -> Graph:
    """The graph under another name."""
    return replace(graph, name=name)


def exits(threshold: float = 0.4, score: str = "max_probability", count: int = COUNT) -> BundleSpec:
    """Two stages with an exit after the first: stage, exit (rule), rest (reads the stage)."""
    stage, rest = cut(toy_graph(seed=0), "a")
    codes = random_codes(stage, count)
    first = part("stage", named(stage, "stage"), codes)
    early = cut(toy_graph(seed=1), "a")[1]
    leave = part("exit", named(early, "early"), first.outputs, after=rule(score, threshold))
    return spec(first, leave, part("rest", named(rest, "rest"), first.outputs, source="stage"))


def cascade(
    threshold: float = 0.5, combine: str = "surer", score: str = "difference", count: int = COUNT
) -> BundleSpec:
    """Two whole networks; the second is asked where the first is not sure."""
    a, b = named(toy_graph(seed=0), "a"), named(toy_graph(seed=5), "b")
    codes = random_codes(a, count)
    last = rule(score, -np.inf) if combine == "surer" else None
    parts = (part("a", a, codes, after=rule(score, threshold)), part("b", b, codes, source=INPUT, after=last))
    return spec(*parts, combine=combine)


def filtered(threshold: float = 0.3, count: int = COUNT) -> BundleSpec:
    """A stem, a filter that may drop the frame, and the rest."""
    stem, rest = cut(toy_graph(seed=0), "a")
    codes = random_codes(stem, count)
    first = part("stem", named(stem, "stem"), codes)
    judge = cut(toy_graph(seed=3), "a")[1]
    drop = part("judge", named(judge, "judge"), first.outputs, after=rule("max_probability", threshold, action="drop"))
    return spec(first, drop, part("rest", named(rest, "rest"), first.outputs, source="stem"))


def in_format(fmt: Format, score: str, count: int = COUNT) -> BundleSpec:
    """A cascade of two networks in a format, whose threshold is the middle of the first one's scores."""
    a, b = named(toy_graph(fmt, seed=0), "a"), named(toy_graph(fmt, seed=8), "b")
    codes = random_codes(a, count)
    first = part("a", a, codes)
    levels = scores(decider(rule(score, 0.5), tensor_spec(a, a.output)), first.outputs)
    asked = replace(first, after=rule(score, float(np.median(levels))))
    return spec(asked, part("b", b, codes, source=INPUT, after=rule(score, -np.inf)), combine="surer")
