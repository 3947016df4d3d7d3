"""The link's number format: the cut tensor alone is requantised, and nothing else of the network changes.

Two Requantize operators go behind the cut tensor: into the format of the link, where the head ends, and back into the
tensor's own format, where the tail begins. What makes the tensor and what reads it keep their grids, so that weights,
biases and multipliers stay as they are, and head then tail is the same computation as the whole graph.

Minifloats with 5 exponent bits reach further than the 32-bit arithmetic of integer outputs. Between such a format and
an integer one E4M3 stands, at a scale where both have the same top binade: what it does not represent is far below
half a step of any integer that covers the same range.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from edge.errors import EdgeError
from edge.split import cut
from quant.errors import QuantError
from quant.fixedpoint import INT32_LIMIT
from quant.formats import E4M3, FORMATS, Array, Format
from quant.graph import Graph, Node, Quant, Tensor, check, with_nodes
from quant.operators import Requantize
from quant.program import lower
from quant.ptq import activation_quant
from quant.range_search import BINS, Histogram, fitted_ranges
from quant.ranges import check_calibration, with_zero
from quant.reference import dequantise, fast_dot, quantise_input, run

#: What may cross a link: at most one byte a value, and at most 5 exponent bits (see `link_formats`).
LINK_BITS = 8
LINK_EXPONENT = 5
#: Calibration inputs that the reference executes at a time.
CHUNK = 32


def link_formats() -> tuple[Format, ...]:
    """Return the formats a link may have: integers of 2 to 8 bits, minifloats of 3 to 8 bits with 1 to 5 for exponent.

    Minifloats with 6 and 7 exponent bits reach beyond the 48-bit accumulator of every output format.
    """
    return tuple(fmt for fmt in FORMATS if fmt.bits <= LINK_BITS and fmt.exponent <= LINK_EXPONENT)


def link_tensor(graph: Graph, tensor: str) -> str:
    """Return where to cut a graph from `with_link_format`: the requantised tensor, or `tensor` where it was right."""
    name = f"{tensor}_link"
    return name if name in graph.tensors else tensor


def with_link_format(graph: Graph, tensor: str, fmt: Format, calibration: Array) -> Graph:
    """Give one cut tensor of a quantised graph another number format.

    Args:
        graph: quantised.
        tensor: one of `edge.split.cut_points`.
        fmt: one of `link_formats`. The tensor's own format leaves the graph as it is.
        calibration: real inputs, float32 [N, ...]. The range is the one with the least squared error on the format's
            grid over the values these inputs give the tensor (as in `quant.range_search`).

    Returns:
        The graph with the format at tensor `link_tensor(graph, tensor)`: cut there.

    Raises:
        EdgeError: a float graph, a format that no link has, or a tensor that is no cut point.
        QuantError: the calibration inputs do not fit the graph.
    """
    if not graph.is_quantised:
        raise EdgeError(f"graph '{graph.name}' is a float graph; quantise it before its link gets a format.")
    if fmt not in link_formats():
        raise EdgeError(
            f"{fmt.name} is no format of a link; use an integer of 2 to {LINK_BITS} bits, or a minifloat of 3 to "
            f"{LINK_BITS} bits with at most {LINK_EXPONENT} for its exponent."
        )
    head, _ = cut(graph, tensor)
    if graph.quant(tensor).format == fmt:
        return graph
    return with_link(graph, tensor, link_quant(head_values(head, calibration), fmt))


def head_values(head: Graph, calibration: Array) -> Array:
    """Return the real values that a head makes of real inputs, float32 [N, ...] both."""
    name, program = head.output, lower(head)
    codes = quantise_input(head.quant(head.input), check_calibration(head, calibration))
    parts = [run(program, codes[start : start + CHUNK], fast_dot)[name] for start in range(0, len(codes), CHUNK)]
    values: Array = dequantise(head.quant(name), np.concatenate(parts))
    return values


def link_quant(values: Array, fmt: Format) -> Quant:
    """Return the scale and zero point with which a format represents values best (least squared error)."""
    limits = with_zero(float(values.min()), float(values.max()))
    counts, _ = np.histogram(values[values != 0], BINS, limits)
    found = Histogram(*limits, counts.astype(np.float64))
    low, high = fitted_ranges({"": found}, {"": fmt}, "mse", symmetric=False)[""]
    return activation_quant(fmt, low, high, symmetric=False)


def with_link(graph: Graph, tensor: str, link: Quant) -> Graph:
    """Put the operators of `with_link_format` behind a tensor, for a number format that is known already.

    Raises:
        EdgeError: the graph has one there, or cannot take this one.
    """
    own, shape = graph.quant(tensor), graph.shape(tensor)
    if own.format == link.format:
        return graph
    there = (*_between(own, link), link)
    back = (*_between(link, own), own)
    names = [f"{tensor}_to{i}" for i in range(len(there) - 1)] + [f"{tensor}_link"]
    names += [f"{tensor}_from{i}" for i in range(len(back) - 1)] + [f"{tensor}_back"]
    taken = sorted(set(names) & {*graph.tensors, *(node.name for node in graph.nodes)})
    if taken:
        raise EdgeError(f"graph '{graph.name}' has a '{taken[0]}' already: its link at '{tensor}' has a format.")
    sources = [tensor, *names[:-1]]
    added = tuple(Node(y, Requantize(), (x,), y) for x, y in zip(sources, names, strict=True))
    tensors = {name: Tensor(shape, quant) for name, quant in zip(names, (*there, *back), strict=True)}
    changed = with_nodes(graph, _placed(graph, tensor, added), tensors={**graph.tensors, **tensors})
    _try(changed)
    return changed


def _placed(graph: Graph, tensor: str, added: tuple[Node, ...]) -> tuple[Node, ...]:
    """Return the graph's nodes with others behind the one that makes a tensor, read in its place."""
    nodes: list[Node] = []
    for node in graph.nodes:
        inputs = tuple(added[-1].output if name == tensor else name for name in node.inputs)
        nodes.append(replace(node, inputs=inputs))
        nodes += added if node.output == tensor else ()
    return tuple(nodes)


def _between(source: Quant, target: Quant) -> tuple[Quant, ...]:
    """Return what must stand between two number formats: E4M3 where the first reaches beyond int32, else nothing."""
    if target.format.is_minifloat or source.format.max_units < INT32_LIMIT:
        return ()
    binades = math.frexp(source.format.max)[1] - math.frexp(E4M3.max)[1]
    return (Quant(E4M3, (math.ldexp(source.scale[0], binades),)),)


def _try(graph: Graph) -> None:
    try:
        lower(check(graph))
    except QuantError as error:
        raise EdgeError(f"graph '{graph.name}' cannot take this format at its link: {error}") from error
