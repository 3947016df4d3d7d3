"""Post-training quantisation: passes on the float graph, activation ranges, then formats, codes and integer biases."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from quant.assign import activation_formats, assign_ranges, resolve
from quant.errors import QuantError
from quant.formats import Array, Format
from quant.graph import Graph, Node, Quant, Tensor, check, with_nodes
from quant.onnx_quant import emulated_only, quantise_bias
from quant.operators import MOVES, Add, Conv, Gemm, Requantize
from quant.passes.drop_softmax import drop_softmax
from quant.passes.fold_batch_norm import fold_batch_norm
from quant.passes.fold_pad import fold_pad
from quant.passes.fuse_clip import fuse_clip
from quant.passes.own_parameters import own_parameters
from quant.program import lower
from quant.range_search import collect_histograms, fitted_ranges
from quant.ranges import Ranges, check_calibration, estimate_ranges, with_zero
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
    return quantise_with_ranges(graph, scheme, scheme_ranges(graph, scheme, inputs))


def scheme_ranges(graph: Graph, scheme: Scheme, inputs: Array) -> Ranges:
    """Return the activation ranges a scheme's estimator finds on checked calibration inputs."""
    if scheme.criterion:
        formats = activation_formats(graph, scheme)
        return fitted_ranges(collect_histograms(graph, inputs), formats, scheme.criterion, symmetric=scheme.symmetric)
    return estimate_ranges(graph, inputs, scheme.percentile)


def quantise_with_ranges(graph: Graph, scheme: Scheme, ranges: Ranges) -> Graph:
    """Quantise a prepared float graph whose activation ranges are known; refuse accumulators that do not fit."""
    quantised = lay_out(graph, scheme, ranges)
    lower(quantised)
    return quantised


def lay_out(graph: Graph, scheme: Scheme, ranges: Ranges) -> Graph:
    """Give a prepared float graph formats, scales and codes, rounded to nearest.

    Accumulators are not checked: formats with many exponent bits run in `quant.simulate` only.
    """
    scheme = resolve(scheme, graph)
    formats = activation_formats(graph, scheme)
    shared = assign_ranges(graph, ranges, formats)
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


def activation_quant(fmt: Format, low: float, high: float, *, symmetric: bool) -> Quant:
    """Return the scale and zero point that cover [low, high] and represent 0 exactly.

    Minifloats and symmetric integers: scale = max(|low|, |high|) / max. Asymmetric integers: the whole code range
    spans [min(low, 0), max(high, 0)], with the zero point rounded (as ONNX Runtime and TFLite do). A tensor that is
    always 0 gets the range [0, 1].
    """
    low, high = with_zero(low, high)
    if fmt.is_minifloat or symmetric:
        return Quant(fmt, (_float32(max(-low, high) / fmt.max),), 0)
    scale = _float32((high - low) / (fmt.max_ordinal - fmt.min_ordinal))
    zero = int(np.clip(np.rint(fmt.min_ordinal - low / scale), fmt.min_ordinal, fmt.max_ordinal))
    return Quant(fmt, (scale,), zero)


def _float32(value: float) -> float:
    """Round to float32, the type scales have in every file format; never to 0."""
    return float(max(np.float32(value), np.finfo(np.float32).tiny))


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
