"""Which format every tensor of a graph gets under a scheme, and which range every activation gets.

Operators that only move codes share format and range with their inputs, so a scheme alone does not tell.
"""

from __future__ import annotations

import glob
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from quant.formats import Format, integer, minifloat
from quant.functions import fixed_range
from quant.graph import Graph, Node, joined_by
from quant.operators import MOVES, Clip, Conv, Function, Gemm, Minimum, Mul
from quant.ranges import Ranges, with_zero
from quant.scheme import Formats, Scheme


def resolve(scheme: Scheme, graph: Graph) -> Scheme:
    """Write the `ends` of a scheme out as rules for the nodes of a prepared graph; the scheme's own rules still win."""
    layers = [node for node in graph.nodes if isinstance(node.op, Conv | Gemm)]
    if scheme.ends is None or not layers:
        return scheme
    wide = Formats(_wide(scheme.formats.weight, scheme.ends), _wide(scheme.formats.activation, scheme.ends))
    first, last = layers[0], layers[-1]
    # The first layer may make the last one's input: then both of its formats are wide.
    rules = [(node.name, replace(scheme.formats, activation=wide.activation)) for node in _makers(graph, last)]
    rules.append((first.name, replace(dict(rules).get(first.name, scheme.formats), weight=wide.weight)))
    rules += [(node.name, wide) for node in graph.nodes[graph.nodes.index(last) :]]
    written = tuple((glob.escape(name), formats) for name, formats in rules)
    input_bits = scheme.input_bits or scheme.ends
    return replace(scheme, ends=None, input_bits=input_bits, rules=(*written, *scheme.rules))


def _wide(fmt: Format, bits: int) -> Format:
    """Return the wide format that goes with a narrow one; a format as wide already stays."""
    if fmt.bits >= bits:
        return fmt
    return minifloat(3, bits - 4) if fmt.is_minifloat else integer(bits, signed=fmt.signed)


def _makers(graph: Graph, layer: Node) -> list[Node]:
    """Return the node that makes a layer's input and, while it only moves codes, those before it."""
    found: list[Node] = []
    names = [layer.inputs[0]]
    while names:
        maker = graph.producer(names.pop())
        if maker is not None:
            found.append(maker)
            names += maker.inputs if isinstance(maker.op, MOVES) else ()
    return found


def activation_formats(graph: Graph, scheme: Scheme) -> dict[str, Format]:
    """Return each tensor's format: its maker's; an operator that only moves codes passes its input's on."""
    scheme = resolve(scheme, graph)
    first = scheme.at(graph.nodes[0].name).activation
    formats = {graph.input: first if scheme.input_bits is None else integer(scheme.input_bits)}
    for node in graph.nodes:
        moved = isinstance(node.op, MOVES)
        formats[node.output] = formats[node.inputs[0]] if moved else scheme.at(node.name).activation
    return formats


def weight_formats(graph: Graph, scheme: Scheme) -> dict[str, Format]:
    """Return the weight format of every Conv and Gemm by node name."""
    scheme = resolve(scheme, graph)
    return {node.name: scheme.at(node.name).weight for node in graph.nodes if isinstance(node.op, Conv | Gemm)}


def assign_ranges(graph: Graph, ranges: Ranges, formats: Mapping[str, Format]) -> Ranges:
    """Return the range of every activation: shared where codes only move, and never too small for its multiplier."""
    ranges = _fix_functions(graph, ranges, formats)
    return _share_ranges(graph, with_headroom(graph, _share_ranges(graph, ranges), formats))


def _fix_functions(graph: Graph, ranges: Ranges, formats: Mapping[str, Format]) -> Ranges:
    """Give what a sigmoid or tanh makes the 8-bit grid that TFLite's operators write, whatever was measured."""
    found = dict(ranges)
    for node in graph.nodes:
        fmt = formats[node.output]
        fixed = fixed_range(node.op) if isinstance(node.op, Function) else None
        if fixed is not None and fmt.bits == 8 and not fmt.is_minifloat:
            found[node.output] = fixed
    return found


def _share_ranges(graph: Graph, ranges: Ranges) -> Ranges:
    """Give tensors that share one scale (around Pad, Slice, Concat, pooling, Reshape) the union of their ranges.

    What only a Minimum reads may saturate beyond its limits: only what comes out counts.
    """
    shared: Ranges = {}
    for names in joined_by(graph, MOVES):
        ends = [ranges[name] for name in names if not _minimum_behind(graph, name)]
        union = (min(low for low, _ in ends), max(high for _, high in ends))
        shared |= dict.fromkeys(names, union)
    return shared


def with_headroom(graph: Graph, ranges: Ranges, formats: Mapping[str, Format]) -> Ranges:
    """Widen ranges that are tiny beside what a node's inputs can give: its multiplier would leave int32.

    A layer that is all but dead makes values near 0 from large inputs. With A, the largest magnitude its inputs allow,
    an output step of A / 2^29 keeps accumulators below 2^31 behind every left shift (quant.program); sums, means and
    clips, whose inputs are shifted left before, need 2^-13 of A as range. A layer that reaches its clip is not dead: it
    switches between limits, and widening would wipe them out.
    """
    wide = {name: with_zero(*limits) for name, limits in ranges.items()}
    for node in graph.nodes:
        fmt, (low, high) = formats[node.output], wide[node.output]
        if fmt.is_minifloat or isinstance(node.op, MOVES):
            continue
        reach = _reach(graph, node, wide)
        steps = fmt.max_ordinal - fmt.min_ordinal
        least = reach * steps * 2.0**-29 if isinstance(node.op, Conv | Gemm) else reach * 2.0**-13
        if isinstance(node.op, Function) and node.op.name == "hard_swish":
            # TFLite's hard-swish needs an output step of at least 1/128 of its input's.
            least = reach * 2.0**-6
        if high - low < least and not _reaches_clip(graph, node, high):
            wide[node.output] = (low, low + least)
    return wide


def _reaches_clip(graph: Graph, node: Node, high: float) -> bool:
    limit = node.op.high if isinstance(node.op, Clip) else node.clip[1] if node.clip else np.inf
    limit = min(limit, *(max(op.limits) for op in _minimum_behind(graph, node.output)), np.inf)
    return bool(high >= 0.99 * limit > 0)


def _minimum_behind(graph: Graph, tensor: str) -> tuple[Minimum, ...]:
    """Return the one Minimum that is all that reads a tensor; else nothing."""
    readers = [node.op for node in graph.consumers(tensor)]
    alone = len(readers) == 1 and tensor != graph.output
    return tuple(op for op in readers if alone and isinstance(op, Minimum))


def _reach(graph: Graph, node: Node, ranges: Ranges) -> float:
    """Return the largest magnitude a node can make from inputs anywhere in their ranges."""
    spans = [ranges[name][1] - ranges[name][0] for name in node.inputs if name in ranges]
    if isinstance(node.op, Mul):
        return float(np.prod(spans))
    if not isinstance(node.op, Conv | Gemm):
        return sum(spans)
    weight, bias = (np.abs(graph.weights[name].astype(np.float64)) for name in node.inputs[1:])
    return float((weight.reshape(len(weight), -1).sum(axis=1) * spans[0] + bias).max())
