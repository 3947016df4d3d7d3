"""A quantised graph lowered to integer steps: every scale turned into multipliers, shifts and clamps.

The reference interpreter executes these steps, and the C and RTL exporters print them, so all three share one set of
constants. The steps themselves are in `quant.steps`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from quant import operators as ops
from quant.errors import QuantError
from quant.fixedpoint import INT32_LIMIT, WIDE_LIMIT, Multiplier, q31_multiplier, wide_multiplier
from quant.formats import Format
from quant.functions import limits, table
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.rounding import to_nearest_ordinals
from quant.steps import (
    AddStep,
    AveragePoolStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    MinimumStep,
    MoveStep,
    MulStep,
    Requant,
    RequantizeStep,
    Step,
    TableStep,
    WideAddStep,
)

__all__ = [
    "AddStep",
    "AveragePoolStep",
    "ConvStep",
    "MaxPoolStep",
    "MeanStep",
    "MinimumStep",
    "MoveStep",
    "MulStep",
    "Program",
    "Requant",
    "RequantizeStep",
    "Step",
    "TableStep",
    "WideAddStep",
    "clip_ordinals",
    "limit_ordinals",
    "lower",
    "mean_multiplier",
]

#: Weights of the two addends of a minifloat sum are whole numbers of 2^-14 of the larger scale.
WIDE_ADD_SHIFT = 14


@dataclass(frozen=True, eq=False)
class Program:
    """Integer steps in execution order, and the tensors they read and write."""

    name: str
    input: str
    output: str
    steps: tuple[Step, ...]
    tensors: dict[str, Tensor]

    def quant(self, tensor: str) -> Quant:
        """Return the number format of a tensor."""
        found = self.tensors[tensor].quant
        if found is None:
            raise QuantError(f"tensor '{tensor}' is not quantised.")
        return found


def lower(graph: Graph) -> Program:
    """Turn a quantised graph into integer steps.

    Raises:
        QuantError: the graph is not well formed, holds an operator without an integer meaning, or an accumulator
            does not fit; the message names the node and shows the arithmetic.
    """
    if not graph.is_quantised:
        raise QuantError(f"graph '{graph.name}' is a float graph; quantise it first.")
    check(graph)
    tensors = {name: graph.tensors[name] for name in graph.activations()}
    return Program(graph.name, graph.input, graph.output, tuple(_step(graph, node) for node in graph.nodes), tensors)


def _step(graph: Graph, node: Node) -> Step:
    match node.op:
        case ops.Conv() | ops.Gemm():
            return _conv(graph, node)
        case ops.Add():
            return _add(graph, node)
        case ops.Mul():
            return _mul(graph, node)
        case ops.Function():
            return _function(graph, node, node.op)
        case ops.Mean():
            return _mean(graph, node)
        case ops.Requantize() | ops.Clip():
            return _requantize(graph, node)
        case ops.MaxPool():
            return MaxPoolStep(node.name, node.inputs[0], node.output, node.op)
        case ops.AveragePool():
            return _average_pool(graph, node)
        case ops.Minimum():
            return MinimumStep(
                node.name, node.inputs[0], node.output, limit_ordinals(graph.quant(node.output), node.op)
            )
        case ops.Pad() | ops.Slice() | ops.Concat() | ops.Reshape():
            return MoveStep(node.name, node.inputs, node.output, node.op, graph.quant(node.output).zero)
        case ops.BatchNorm():
            raise QuantError(f"node '{node.name}': {node.kind} has no integer form; run the passes of quant.ptq first.")
        case ops.Softmax():
            raise QuantError(
                f"node '{node.name}': {node.kind} has no integer form; the passes of quant.ptq take off a last one. "
                "End the network at the logits and leave the rest to the program around it."
            )


def _unit(quant: Quant) -> float:
    """Real value of one unit of a per-tensor quantised tensor."""
    return quant.scale[0] * quant.format.unit


def clip_ordinals(quant: Quant, clip: tuple[float, float] | None) -> tuple[int, int]:
    """Return the lowest and highest ordinals an output may have.

    Integers as in TFLite: zero + round-half-away(limit / scale) in float32. Minifloats: the nearest value. A limit
    beyond the format becomes the format's own, so that low <= high are always ordinals of the format.
    """
    low, high = quant.format.min_ordinal, quant.format.max_ordinal
    if clip is None:
        return low, high
    first, last = (min(max(_clip_ordinal(quant, limit), low), high) for limit in clip)
    return first, last


def limit_ordinals(quant: Quant, op: ops.Minimum) -> tuple[int, ...]:
    """Return the highest ordinal each channel may have behind a Minimum, by the rule of `clip_ordinals`."""
    return tuple(clip_ordinals(quant, (-np.inf, limit))[1] for limit in op.limits)


def _clip_ordinal(quant: Quant, limit: float) -> int:
    scaled = np.float32(limit) / np.float32(quant.scale[0])
    if quant.format.is_minifloat:
        return int(to_nearest_ordinals(quant.format, np.array([scaled]))[0])
    if not np.isfinite(scaled):
        return quant.format.max_ordinal if limit > 0 else quant.format.min_ordinal
    return quant.zero + int(np.trunc(scaled + np.copysign(np.float32(0.5), scaled)))


def _requant(
    graph: Graph,
    node: Node,
    units: tuple[float, ...],
    reach: tuple[int, ...],
    split: Callable[[float], Multiplier] | None = None,
) -> Requant:
    """Build the requantisation of accumulators that count `units` (one real number, or one per output channel).

    `reach` bounds the accumulators' magnitudes: one number, or one per output channel.
    """
    out = graph.quant(node.output)
    low, high = clip_ordinals(out, node.clip if not isinstance(node.op, ops.Clip) else (node.op.low, node.op.high))
    if split is None:
        split = wide_multiplier if out.format.is_minifloat else q31_multiplier
    try:
        multipliers = tuple(split(unit / _unit(out)) for unit in units)
    except QuantError as error:
        raise QuantError(f"node '{node.name}' ({node.kind}): {error}") from error
    _check_accumulator(node, out.format, reach, multipliers)
    return Requant(out.format, multipliers, out.zero, low, high)


def _check_accumulator(node: Node, fmt: Format, reach: tuple[int, ...], multipliers: tuple[Multiplier, ...]) -> None:
    channels = max(len(reach), len(multipliers))
    for channel in range(channels):
        acc_max, multiplier = reach[channel % len(reach)], multipliers[channel % len(multipliers)]
        left = 0 if fmt.is_minifloat else max(0, multiplier.exponent)
        limit = WIDE_LIMIT if fmt.is_minifloat else INT32_LIMIT
        if acc_max << left < limit:
            continue
        why = "times a 15-bit multiplier must stay below 2^63"
        if not fmt.is_minifloat:
            why = f"shifted left by {left} must fit int32"
        raise QuantError(
            f"node '{node.name}' ({node.kind}): the accumulator can reach {acc_max} ({acc_max.bit_length() + 1} bits "
            f"with sign), which {why} for output format {fmt.name} (limit {limit}). Use formats with fewer exponent "
            "bits, or fewer bits, for this layer."
        )


def _input_max(quant: Quant) -> int:
    """Largest |x - zero| in units."""
    fmt = quant.format
    low, high = fmt.units_of_ordinal(fmt.min_ordinal), fmt.max_units
    return max(abs(low - quant.zero), abs(high - quant.zero))


def _conv(graph: Graph, node: Node) -> ConvStep:
    x, w = graph.quant(node.inputs[0]), graph.quant(node.inputs[1])
    codes, bias = graph.weights[node.inputs[1]], graph.weights[node.inputs[2]]
    units = w.format.to_units(codes)
    op = node.op if isinstance(node.op, ops.Conv) else ops.Conv()
    if isinstance(node.op, ops.Gemm):
        codes, units = codes[:, :, None, None], units[:, :, None, None]
    sums = np.abs(units.astype(object)).sum(axis=(1, 2, 3)) * _input_max(x) + np.abs(bias.astype(object))
    reach = tuple(int(bound) for bound in sums)
    scales = tuple(x.scale[0] * scale * x.format.unit * w.format.unit for scale in w.scale)
    requant = _requant(graph, node, scales, reach)
    wide_bias = bias.astype(np.int64)
    return ConvStep(
        node.name, node.inputs[0], node.output, op, codes, units, w.format, wide_bias, x.zero, requant, max(reach)
    )


def _add(graph: Graph, node: Node) -> AddStep | WideAddStep:
    a, b, out = graph.quant(node.inputs[0]), graph.quant(node.inputs[1]), graph.quant(node.output)
    names, zeros = (node.inputs[0], node.inputs[1]), (a.zero, b.zero)
    if out.format.is_minifloat:
        top = max(_unit(a), _unit(b))
        weights = (_wide_weight(_unit(a), top), _wide_weight(_unit(b), top))
        reach = _input_max(a) * weights[0] + _input_max(b) * weights[1]
        requant = _requant(graph, node, (top * 2.0**-WIDE_ADD_SHIFT,), (reach,))
        return WideAddStep(node.name, names, node.output, zeros, weights, requant)
    if a.format.is_minifloat or b.format.is_minifloat:
        raise QuantError(
            f"node '{node.name}' (Add): minifloat inputs with integer output {out.format.name}; use one kind."
        )
    left_shift = 20 if max(a.format.bits, b.format.bits, out.format.bits) <= 8 else 15
    twice = 2 * max(a.scale[0], b.scale[0])
    scales = (q31_multiplier(a.scale[0] / twice), q31_multiplier(b.scale[0] / twice))
    reach = (_input_max(a) + _input_max(b)) << (left_shift - 1)
    requant = _requant(graph, node, (twice / (1 << left_shift),), (reach,))
    return AddStep(node.name, names, node.output, zeros, left_shift, scales, requant)


def _wide_weight(unit: float, top: float) -> int:
    return max(1, round(unit / top * (1 << WIDE_ADD_SHIFT)))


def _mul(graph: Graph, node: Node) -> MulStep:
    a, b = (graph.quant(name) for name in node.inputs)
    reach = _input_max(a) * _input_max(b)
    # TFLite's order of operations: both scales first, then the output's.
    requant = _requant(graph, node, (_unit(a) * _unit(b),), (reach,))
    return MulStep(node.name, (node.inputs[0], node.inputs[1]), node.output, (a.zero, b.zero), requant)


def _function(graph: Graph, node: Node, op: ops.Function) -> TableStep:
    x, y = graph.quant(node.inputs[0]), graph.quant(node.output)
    try:
        entries, off = table(op, x, y, clip_ordinals(y, limits(op, node.clip)))
    except QuantError as error:
        raise QuantError(f"node '{node.name}' ({op.name}): {error}") from error
    return TableStep(node.name, node.inputs[0], node.output, entries, off)


def _mean(graph: Graph, node: Node) -> MeanStep:
    x = graph.quant(node.inputs[0])
    count = int(np.prod(graph.shape(node.inputs[0])[2:]))
    reach = (_input_max(x) * count,)
    if graph.quant(node.output).format.is_minifloat:
        requant = _requant(graph, node, (_unit(x) / count,), reach)
    else:
        requant = _requant(graph, node, (_unit(x),), reach, lambda real: mean_multiplier(real, count))
    return MeanStep(node.name, node.inputs[0], node.output, x.zero, requant)


def mean_multiplier(real: float, count: int) -> Multiplier:
    """Fold 1/count into a Q31 multiplier as TFLite's MEAN does: q' = (q << k) // n, e' = e - k."""
    whole = q31_multiplier(real)
    k = min(count.bit_length() - 1, 32, 31 + whole.exponent)
    return Multiplier((whole.mantissa << k) // count, whole.exponent - k)


def _requantize(graph: Graph, node: Node) -> RequantizeStep:
    x = graph.quant(node.inputs[0])
    requant = _requant(graph, node, (_unit(x),), (_input_max(x),))
    return RequantizeStep(node.name, node.inputs[0], node.output, x.zero, requant)


def _average_pool(graph: Graph, node: Node) -> AveragePoolStep:
    assert isinstance(node.op, ops.AveragePool)
    quant = graph.quant(node.output)
    most = node.op.kernel[0] * node.op.kernel[1]
    multipliers: tuple[Multiplier, ...] = ()
    if quant.format.is_minifloat:
        multipliers = tuple(wide_multiplier(1 / count) for count in range(1, most + 1))
    _check_accumulator(node, quant.format, (_input_max(quant) * most,), multipliers or (Multiplier(0, 0),))
    return AveragePoolStep(node.name, node.inputs[0], node.output, node.op, multipliers)
