"""From a quantised graph and images to the parts of a bundle: test vectors, an optional cut, the scheme it takes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge.split import cut
from export.target import Source, Target
from quant.formats import INT8, Array
from quant.graph import Graph
from quant.passes.widen import widen
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from quant.scheme import Scheme

WHOLE = "model"
HALVES = ("head", "tail")


def scheme_for(target: Target, scheme: Scheme) -> Scheme:
    """Return the scheme a target needs: symmetric activations where it cannot express zero points."""
    symmetric = target.capability.symmetric and not scheme.formats.activation.is_minifloat
    return replace(scheme, symmetric=True) if symmetric else scheme


def fitted(part: Source, target: Target) -> Source:
    """Return a part whose integer activations of fewer than 8 bits are stored as int8 where a target has only that.

    Codes stay what they are, those of the test vectors too. A part with an elastic network stays as it is.
    """
    formats = {part.graph.quant(name).format for name in part.graph.activations()}
    missing = [fmt for fmt in formats if fmt.name not in target.capability.activations]
    narrow = all(fmt.signed and not fmt.is_minifloat and fmt.bits < INT8.bits for fmt in missing)
    if not missing or not narrow or INT8.name not in target.capability.activations or part.elastic is not None:
        return part
    return replace(part, graph=widen(part.graph))


def choose_vectors(labels: Array, count: int) -> Array:
    """Return indices of `count` images whose labels take turns, so that test vectors cover as many labels as they can.

    Args:
        labels: label of each image the network gives, [N].
        count: how many images; fewer when there are fewer.
    """
    order = np.argsort(labels, kind="stable")
    place = np.concatenate([order[:0], *(np.arange(size) for size in np.unique(labels, return_counts=True)[1])])
    return np.sort(order[np.argsort(place, kind="stable")][:count])


def whole(graph: Graph, x: Array, float_graph: Graph | None = None) -> tuple[Source, ...]:
    """Return the one part of an undivided network.

    Args:
        graph: quantised.
        x: pre-processed images for the test vectors, float32 [N, ...].
        float_graph: the prepared float graph, for targets that write it.
    """
    codes = quantise_input(graph.quant(graph.input), x)
    return (_source(WHOLE, graph, codes, float_graph),)


def halves(
    graph: Graph, x: Array, tensor: str, float_graph: Graph | None = None, exits: tuple[str, ...] = ()
) -> tuple[Source, ...]:
    """Return head and tail of a network cut after `tensor`; the tail's inputs are the head's outputs.

    `exits` are tensors that one of them makes, too, though the output needs none of them.

    Raises:
        EdgeError: the graph cannot be cut there.
    """
    codes = quantise_input(graph.quant(graph.input), x)
    parts = cut(graph, tensor, exits)
    floats = cut(float_graph, tensor) if float_graph is not None else (None, None)
    head = _source(HALVES[0], parts[0], codes, floats[0])
    return head, _source(HALVES[1], parts[1], head.outputs, floats[1])


def _source(name: str, graph: Graph, codes: Array, float_graph: Graph | None) -> Source:
    outputs = run(lower(graph), codes, fast_dot)[graph.output]
    return Source(name, graph, codes, outputs, float_graph)
