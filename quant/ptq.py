"""Post-training quantisation: passes on the float graph, activation ranges, then formats, codes and integer biases."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from quant.errors import QuantError
from quant.formats import Array, Format
from quant.graph import Graph, Node, Quant, Tensor, check, with_nodes
from quant.onnx_quant import emulated_only, quantise_bias
from quant.operators import MOVES, Add, Clip, Conv, Gemm, Requantize
from quant.passes.drop_softmax import drop_softmax
from quant.passes.fold_batch_norm import fold_batch_norm
from quant.passes.fold_pad import fold_pad
from quant.passes.fuse_clip import fuse_clip
from quant.passes.own_parameters import own_parameters
from quant.program import lower
from quant.ranges import Ranges, check_calibration, estimate_ranges
from quant.rounding import to_nearest_ordinals
from quant.scheme import Scheme

Pass = Callable[[Graph], Graph]
#: Largest magnitude a bias may have in accumulator units: leaves three bits of int32, and of 48 bits, for the sum.
BIAS_LIMIT, BIAS_LIMIT_WIDE = 1 << 28, 1 << 44
#: What prepares a float graph, in this order. Each keeps the function (drop_softmax keeps the labels).
PASSES: tuple[Pass, ...] = (own_parameters, fold_batch_norm, fold_pad, fuse_clip, drop_softmax)


def prepare(graph: Graph) -> Graph:
    """Run PASSES over a float graph.

    Raises:
        QuantError: the graph is quantised already, or a pass failed; the message names the pass.
    """
    if graph.is_quantised:
        raise QuantError(f"graph '{graph.name}' is quantised already; export it as it is.")
    for step in PASSES:
        try:
            graph = check(step(graph))
        except QuantError as error:
            raise QuantError(f"pass {step.__name__}: {error}") from error
    if not graph.nodes:
        raise QuantError(f"graph '{graph.name}' computes nothing that can be quantised.")
    return graph


def quantise(graph: Graph, scheme: Scheme, calibration: Array) -> Graph:
    """Quantise a float graph.

    Args:
        graph: a float graph, prepared or not.
        scheme: formats and ranges.
        calibration: pre-processed inputs, float32 [N, ...].

    Raises:
        QuantError: the calibration data or the graph does not fit, or an accumulator would overflow.
    """
    graph = prepare(graph)
    inputs = check_calibration(graph, calibration)
    return quantise_with_ranges(graph, scheme, estimate_ranges(graph, inputs, scheme.percentile))


def quantise_with_ranges(graph: Graph, scheme: Scheme, ranges: Ranges) -> Graph:
    """Quantise a prepared float graph whose activation ranges are known; refuse accumulators that do not fit."""
    quantised = lay_out(graph, scheme, ranges)
    lower(quantised)
    return quantised


def lay_out(graph: Graph, scheme: Scheme, ranges: Ranges) -> Graph:
    """Give a prepared float graph formats, scales and codes, rounded to nearest.

    Accumulators are not checked: formats with many exponent bits run in `quant.simulate` only.
    """
    formats = _activation_formats(graph, scheme)
    shared = _share_ranges(graph, with_headroom(graph, _share_ranges(graph, ranges), formats))
    tensors = dict(graph.tensors)
    for name in graph.activations():
        quant = activation_quant(formats[name], *shared[name], symmetric=scheme.symmetric)
        tensors[name] = Tensor(graph.shape(name), quant)
    graph = _align(replace(graph, tensors=tensors), shared, scheme)
    weights, tensors = dict(graph.weights), dict(graph.tensors)
    for node in graph.nodes:
        if isinstance(node.op, Conv | Gemm):
            _quantise_layer(tensors, weights, node, scheme)
    return replace(graph, tensors=tensors, weights=weights)


def _activation_formats(graph: Graph, scheme: Scheme) -> dict[str, Format]:
    """Each tensor's format: its maker's; an operator that only moves codes passes its input's on."""
    formats = {graph.input: scheme.at(graph.nodes[0].name).activation}
    for node in graph.nodes:
        moved = isinstance(node.op, MOVES)
        formats[node.output] = formats[node.inputs[0]] if moved else scheme.at(node.name).activation
    return formats


def _share_ranges(graph: Graph, ranges: Ranges) -> Ranges:
    """Give tensors that share one scale (around Pad, Slice, Concat, pooling, Reshape) the union of their ranges."""
    root = {name: name for name in graph.activations()}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for node in graph.nodes:
        if isinstance(node.op, MOVES):
            for name in node.inputs:
                root[find(name)] = find(node.output)
    shared: Ranges = {}
    for name in graph.activations():
        low, high = ranges[name]
        known = shared.get(find(name), (low, high))
        shared[find(name)] = (min(known[0], low), max(known[1], high))
    return {name: shared[find(name)] for name in graph.activations()}


def activation_quant(fmt: Format, low: float, high: float, *, symmetric: bool) -> Quant:
    """Return the scale and zero point that cover [low, high] and represent 0 exactly.

    Minifloats and symmetric integers: scale = max(|low|, |high|) / max. Asymmetric integers: the whole code range
    spans [min(low, 0), max(high, 0)], with the zero point rounded (as ONNX Runtime and TFLite do). A tensor that is
    always 0 gets the range [0, 1].
    """
    low, high = _with_zero(low, high)
    if fmt.is_minifloat or symmetric:
        return Quant(fmt, (_float32(max(-low, high) / fmt.max),), 0)
    scale = _float32((high - low) / (fmt.max_ordinal - fmt.min_ordinal))
    zero = int(np.clip(np.rint(fmt.min_ordinal - low / scale), fmt.min_ordinal, fmt.max_ordinal))
    return Quant(fmt, (scale,), zero)


def _with_zero(low: float, high: float) -> tuple[float, float]:
    return min(low, 0.0), max(high, 0.0) if high > 0 or low < 0 else 1.0


def _float32(value: float) -> float:
    """Round to float32, the type scales have in every file format; never to 0."""
    return float(max(np.float32(value), np.finfo(np.float32).tiny))


def with_headroom(graph: Graph, ranges: Ranges, formats: Mapping[str, Format]) -> Ranges:
    """Widen ranges that are tiny beside what a node's inputs can give: its multiplier would leave int32.

    A layer that is all but dead makes values near 0 from large inputs. With A, the largest magnitude its inputs allow,
    an output step of A / 2^29 keeps accumulators below 2^31 behind every left shift (quant.program); sums, means and
    clips, whose inputs are shifted left before, need 2^-13 of A as range. A layer that reaches its clip is not dead: it
    switches between limits, and widening would wipe them out.
    """
    wide = {name: _with_zero(*limits) for name, limits in ranges.items()}
    for node in graph.nodes:
        fmt, (low, high) = formats[node.output], wide[node.output]
        if fmt.is_minifloat or isinstance(node.op, MOVES):
            continue
        reach = _reach(graph, node, wide)
        steps = fmt.max_ordinal - fmt.min_ordinal
        least = reach * steps * 2.0**-29 if isinstance(node.op, Conv | Gemm) else reach * 2.0**-13
        if high - low < least and not _reaches_clip(node, high):
            wide[node.output] = (low, low + least)
    return wide


def _reaches_clip(node: Node, high: float) -> bool:
    limit = node.op.high if isinstance(node.op, Clip) else node.clip[1] if node.clip else np.inf
    return bool(high >= 0.99 * limit > 0)


def _reach(graph: Graph, node: Node, ranges: Ranges) -> float:
    """Return the largest magnitude a node can make from inputs anywhere in their ranges."""
    spans = [ranges[name][1] - ranges[name][0] for name in node.inputs if name in ranges]
    if not isinstance(node.op, Conv | Gemm):
        return sum(spans)
    weight, bias = (np.abs(graph.weights[name].astype(np.float64)) for name in node.inputs[1:])
    return float((weight.reshape(len(weight), -1).sum(axis=1) * spans[0] + bias).max())


def _align(graph: Graph, shared: Ranges, scheme: Scheme) -> Graph:
    """Put a Requantize where formats differ and an operator needs them alike (mixed schemes).

    Operators that only move codes need the very format of their output. A sum towards integers needs integers.
    """
    nodes: list[Node] = []
    tensors = dict(graph.tensors)
    for node in graph.nodes:
        inputs = list(node.inputs)
        for index, name in enumerate(inputs):
            wanted = _wanted(graph, node, name, shared, scheme)
            if wanted is not None:
                inputs[index] = f"{node.name}.{index}.requantized"
                tensors[inputs[index]] = Tensor(graph.shape(name), wanted)
                nodes.append(Node(inputs[index], Requantize(), (name,), inputs[index]))
        nodes.append(replace(node, inputs=tuple(inputs)))
    return with_nodes(graph, tuple(nodes), tensors=tensors)


def _wanted(graph: Graph, node: Node, name: str, shared: Ranges, scheme: Scheme) -> Quant | None:
    """Return the format an input must be brought to first, None when it fits."""
    if isinstance(node.op, MOVES):
        return graph.quant(node.output) if graph.quant(name) != graph.quant(node.output) else None
    out = graph.quant(node.output).format
    if isinstance(node.op, Add) and graph.quant(name).format.is_minifloat and not out.is_minifloat:
        return activation_quant(out, *shared[name], symmetric=scheme.symmetric)
    return None


def _quantise_layer(tensors: dict[str, Tensor], weights: dict[str, Array], node: Node, scheme: Scheme) -> None:
    x, weight, bias = node.inputs
    source = tensors[x].quant
    assert source is not None
    fmt = scheme.at(node.name).weight
    floor = bias_floor(weights[bias], source, fmt)
    codes, quant = quantise_weight(weights[weight], fmt, floor, per_channel=scheme.per_channel)
    tensors[weight], weights[weight] = Tensor(codes.shape, quant), codes
    weights[bias] = quantise_bias(weights[bias], source, quant)


def bias_floor(bias: Array, x: Quant, fmt: Format) -> Array:
    """Return the smallest weight scale per output channel whose bias still fits the accumulator with room to spare.

    A channel whose weights are all but zero would otherwise get a scale so small that its bias overflows.
    """
    if emulated_only(x.format, fmt):
        return np.zeros(len(bias))
    limit = BIAS_LIMIT_WIDE if x.format.is_minifloat or fmt.is_minifloat else BIAS_LIMIT
    floor: Array = np.abs(bias.astype(np.float64)) / (x.scale[0] * x.format.unit * fmt.unit * limit)
    return floor


def quantise_weight(
    weight: Array, fmt: Format, floor: Array | float = 0.0, *, per_channel: bool
) -> tuple[Array, Quant]:
    """Round weights [O, ...] to codes, symmetric, scale = max|w| / max; integers use the narrow range (no -2^(n-1)).

    Args:
        weight: float weights.
        fmt: of the codes.
        floor: no scale is smaller than this (one number, or one per output channel).
        per_channel: one scale per output channel, else one for all.

    Returns:
        Codes of `fmt.dtype`, and their Quant with one scale or one per output channel (axis 0).

    Raises:
        QuantError: the format is unsigned.
    """
    if not fmt.signed:
        raise QuantError(f"weights are negative too; {fmt.name} is not a signed format.")
    flat = np.abs(weight.reshape(len(weight), -1)).astype(np.float64)
    top = flat.max(axis=1) if per_channel else np.array([flat.max()])
    least = np.broadcast_to(floor, (len(weight),)) if per_channel else np.array([np.max(floor)])
    scale = np.array([_float32(max(t / fmt.max, f)) if max(t, f) > 0 else 1.0 for t, f in zip(top, least, strict=True)])
    shape = (-1, *(1 for _ in weight.shape[1:]))
    ordinals = to_nearest_ordinals(fmt, weight.astype(np.float64) / scale.reshape(shape))
    codes = fmt.from_ordinals(np.clip(ordinals, -fmt.max_ordinal, fmt.max_ordinal))
    return codes, Quant(fmt, tuple(scale.tolist()), 0, 0)
