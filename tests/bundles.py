"""A small target and bundles of toy graphs, for tests that need a bundle but no exporter."""

from __future__ import annotations

from pathlib import Path

from export.bundle import BundleSpec
from export.preprocess import Preprocess
from export.target import Capability, Facts, Source, Target
from quant.formats import INT8, Format
from quant.graph import Graph, with_nodes
from quant.operators import OPERATORS
from quant.program import lower
from quant.reference import run
from tests.toys import random_codes, toy_graph

FORMAT_NAMES = ("int8", "int16", "e4m3")


def write_plain(source: Source, folder: Path) -> Facts:
    """Write two files, one in a folder of its own."""
    (folder / "model.txt").write_text(f"{source.graph.name}\n")
    (folder / "more").mkdir()
    (folder / "more" / "size.txt").write_text(f"{len(source.graph.nodes)}\n")
    return {"nodes": len(source.graph.nodes), "layout": ("N", "C")}


def plain_target(formats: tuple[str, ...] = FORMAT_NAMES) -> Target:
    """A target that takes every operator and the given formats."""
    return Target("plain", "Text files.", Capability(formats, formats, OPERATORS), write_plain)


def head_and_tail(graph: Graph, cut: int) -> tuple[Graph, Graph]:
    """Cut a graph after node `cut`, where one tensor crosses."""
    left, right = graph.nodes[:cut], graph.nodes[cut:]
    middle = left[-1].output
    head = with_nodes(Graph("head", graph.input, middle, (), graph.tensors, graph.weights), left)
    tail = with_nodes(Graph("tail", middle, graph.output, (), graph.tensors, graph.weights), right)
    return head, tail


def toy_spec(act: Format = INT8, weight: Format = INT8, *, split: bool = False, name: str = "toy") -> BundleSpec:
    """A bundle of the toy graph, whole or cut after its add, with four test vectors."""
    graph = toy_graph(act, weight)
    codes = random_codes(graph, 4)
    values = run(lower(graph), codes)
    parts = (Source("model", graph, codes, values[graph.output]),)
    if split:
        head, tail = head_and_tail(graph, 3)
        middle = values[head.output]
        parts = (Source("head", head, codes, middle), Source("tail", tail, middle, values[graph.output]))
    preprocess = Preprocess(3, 8, 8, 1 / 255, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    labels = tuple(f"class {index}" for index in range(10))
    return BundleSpec(name, "w8a8", preprocess, labels, parts, "softmax")
