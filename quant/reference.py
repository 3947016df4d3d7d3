"""The one meaning of a quantised graph: slow, readable numpy, with no float between input codes and output codes.

`run` is the definition. `run(..., dot=fast_dot)` gives the same codes much faster: it sums the same integers with
float64 matrix products, which is exact because every accumulator is below 2^53 (`Program` bounds it by 2^48).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from quant import operators as ops
from quant.errors import QuantError
from quant.fixedpoint import divide_half_away, multiply_q31, round_to_minifloat
from quant.formats import Array, Format, IntArray
from quant.graph import Quant
from quant.program import (
    AddStep,
    AveragePoolStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    MinimumStep,
    MoveStep,
    MulStep,
    Program,
    Requant,
    RequantizeStep,
    Step,
    TableStep,
    WideAddStep,
)
from quant.rounding import to_nearest_ordinals

#: Sums of products over the last axes: windows [N,G,C,h,w,kh,kw], weights [G,O,C,kh,kw] -> [N,G,O,h,w].
Dot = Callable[[IntArray, IntArray], IntArray]


def exact_dot(windows: IntArray, weights: IntArray) -> IntArray:
    """Sum products in int64."""
    result: IntArray = np.einsum("ngchwkl,gockl->ngohw", windows, weights)
    return result


def fast_dot(windows: IntArray, weights: IntArray) -> IntArray:
    """Sum the same products in float64: exact below 2^53."""
    n, g, c, h, w, kh, kw = windows.shape
    columns = np.ascontiguousarray(windows.transpose(1, 0, 3, 4, 2, 5, 6), dtype=np.float64)
    matrix = weights.reshape(g, weights.shape[1], -1).transpose(0, 2, 1).astype(np.float64)
    sums = columns.reshape(g, n * h * w, c * kh * kw) @ matrix
    return sums.reshape(g, n, h, w, -1).transpose(1, 0, 4, 2, 3).astype(np.int64)


def run(program: Program, codes: Array, dot: Dot = exact_dot) -> dict[str, Array]:
    """Execute a program.

    Args:
        program: integer steps from `quant.program.lower`.
        codes: input codes, shape [N, ...] with the program's input shape behind the batch axis.
        dot: how products are summed; the result does not depend on it.

    Returns:
        The codes of every activation by tensor name, each [N, ...] in its format's dtype.

    Raises:
        QuantError: the input has another shape, or codes its format does not have.
    """
    shape = program.tensors[program.input].shape
    if codes.ndim != len(shape) or codes.shape[1:] != shape[1:]:
        raise QuantError(
            f"input '{program.input}' has shape {codes.shape}; the graph takes [N, {str(shape[1:])[1:-1]}]."
        )
    fmt = program.quant(program.input).format
    values: dict[str, Array] = {program.input: fmt.from_ordinals(fmt.to_ordinals(codes))}
    for step in program.steps:
        values[step.y] = execute(program, step, values, dot)
    return values


def execute(program: Program, step: Step, values: Mapping[str, Array], dot: Dot = exact_dot) -> Array:
    """Execute one step of a program on the codes of its inputs; returns the codes it makes, [N, ...]."""
    match step:
        case ConvStep():
            x = _centred(program, step.x, values, step.x_zero)
            return _requantise(step.requant, _accumulate(step, x, dot)).reshape(_shape(program, step.y, x))
        case AddStep():
            return _add(program, step, values)
        case WideAddStep():
            return _wide_add(program, step, values)
        case MulStep():
            return _mul(program, step, values)
        case TableStep():
            return _look_up(program, step, values[step.x])
        case MeanStep():
            x = _centred(program, step.x, values, step.x_zero)
            return _requantise(step.requant, x.sum(axis=(2, 3))).reshape(_shape(program, step.y, x))
        case RequantizeStep():
            return _requantise(step.requant, _centred(program, step.x, values, step.x_zero))
        case MaxPoolStep():
            return _max_pool(program, step, values[step.x])
        case AveragePoolStep():
            return _average_pool(program, step, values[step.x])
        case MinimumStep():
            return _minimum(program, step, values[step.x])
        case MoveStep():
            return _move(step, [values[x] for x in step.xs], program.tensors[step.y].shape)


def _shape(program: Program, tensor: str, like: Array) -> tuple[int, ...]:
    return (like.shape[0], *program.tensors[tensor].shape[1:])


def _centred(program: Program, tensor: str, values: Mapping[str, Array], zero: int) -> IntArray:
    """Decode a tensor to units minus its zero point."""
    return program.quant(tensor).format.to_units(values[tensor]) - zero


def _requantise(requant: Requant, acc: IntArray) -> Array:
    """Apply a `Requant` to accumulators [N, channels, ...]."""
    tail = (1,) * (acc.ndim - 2)
    mantissa = np.array([m.mantissa for m in requant.multipliers], dtype=np.int64).reshape(1, -1, *tail)
    exponent = np.array([m.exponent for m in requant.multipliers], dtype=np.int64).reshape(1, -1, *tail)
    if requant.format.is_minifloat:
        ordinals = round_to_minifloat(requant.format, acc, mantissa, exponent)
    else:
        ordinals = multiply_q31(acc, mantissa, exponent) + requant.zero
    return requant.format.from_ordinals(np.clip(ordinals, requant.low, requant.high))


def _windows(
    x: IntArray,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    *,
    dilations: tuple[int, int] = (1, 1),
    fill: int = 0,
) -> IntArray:
    """Return every window of [N,C,H,W] as [N,C,h,w,kh,kw]; positions outside hold `fill`."""
    top, left, bottom, right = pads
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=fill)
    reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    view: IntArray = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=(2, 3))  # type: ignore[call-overload]
    return view[:, :, :: strides[0], :: strides[1], :: dilations[0], :: dilations[1]]


def _accumulate(step: ConvStep, x: IntArray, dot: Dot) -> IntArray:
    if x.ndim == 2:
        x = x[:, :, None, None]
    out, _, kh, kw = step.weight.shape
    windows = _windows(x, (kh, kw), step.op.strides, step.op.pads, dilations=step.op.dilations)
    n, c, h, w = windows.shape[:4]
    groups = step.op.groups
    grouped = windows.reshape(n, groups, c // groups, h, w, kh, kw)
    acc = dot(grouped, step.weight.reshape(groups, out // groups, c // groups, kh, kw))
    return acc.reshape(n, out, h, w) + step.bias[None, :, None, None]


def _add(program: Program, step: AddStep, values: Mapping[str, Array]) -> Array:
    terms = [
        multiply_q31(
            _centred(program, x, values, zero) << step.left_shift,
            np.array(scale.mantissa, dtype=np.int64),
            np.array(scale.exponent, dtype=np.int64),
        )
        for x, zero, scale in zip(step.xs, step.zeros, step.scales, strict=True)
    ]
    return _requantise(step.requant, terms[0] + terms[1])


def _wide_add(program: Program, step: WideAddStep, values: Mapping[str, Array]) -> Array:
    first, second = (_centred(program, x, values, zero) for x, zero in zip(step.xs, step.zeros, strict=True))
    return _requantise(step.requant, first * step.weights[0] + second * step.weights[1])


def _mul(program: Program, step: MulStep, values: Mapping[str, Array]) -> Array:
    first, second = (_centred(program, x, values, zero) for x, zero in zip(step.xs, step.zeros, strict=True))
    return _requantise(step.requant, first * second)


def _look_up(program: Program, step: TableStep, codes: Array) -> Array:
    patterns = codes.astype(np.int64) & (len(step.entries) - 1)
    return program.quant(step.y).format.from_ordinals(np.array(step.entries, dtype=np.int64)[patterns])


def _max_pool(program: Program, step: MaxPoolStep, codes: Array) -> Array:
    fmt = program.quant(step.x).format
    ordinals = fmt.to_ordinals(codes)
    windows = _windows(ordinals, step.op.kernel, step.op.strides, step.op.pads, fill=fmt.min_ordinal)
    return fmt.from_ordinals(windows.max(axis=(4, 5)))


def _minimum(program: Program, step: MinimumStep, codes: Array) -> Array:
    fmt = program.quant(step.x).format
    limits = np.array(step.limits, dtype=np.int64).reshape(1, -1, *(1,) * (codes.ndim - 2))
    return fmt.from_ordinals(np.minimum(fmt.to_ordinals(codes), limits))


def _average_pool(program: Program, step: AveragePoolStep, codes: Array) -> Array:
    fmt, op = program.quant(step.x).format, step.op
    total = _windows(fmt.to_units(codes), op.kernel, op.strides, op.pads).sum(axis=(4, 5))
    count = _windows(np.ones_like(codes, dtype=np.int64), op.kernel, op.strides, op.pads).sum(axis=(4, 5))
    return fmt.from_ordinals(_divide(fmt, step, total, count))


def _divide(fmt: Format, step: AveragePoolStep, total: IntArray, count: IntArray) -> IntArray:
    if not fmt.is_minifloat:
        return divide_half_away(total, count)
    mantissa = np.array([m.mantissa for m in step.multipliers], dtype=np.int64)[count - 1]
    exponent = np.array([m.exponent for m in step.multipliers], dtype=np.int64)[count - 1]
    return round_to_minifloat(fmt, total, mantissa, exponent)


def _move(step: MoveStep, xs: list[Array], shape: tuple[int, ...]) -> Array:
    match step.op:
        case ops.Pad():
            widths = list(zip(step.op.before, step.op.after, strict=True))
            return np.pad(xs[0], widths, constant_values=step.fill)
        case ops.Slice():
            parts = zip(step.op.starts[1:], step.op.ends[1:], step.op.steps[1:], strict=True)
            return xs[0][(slice(None), *(slice(a, b, c) for a, b, c in parts))]
        case ops.Concat():
            return np.concatenate(xs, axis=step.op.axis)
        case ops.Reshape():
            return xs[0].reshape(xs[0].shape[0], *shape[1:])


def quantise_input(quant: Quant, values: Array) -> Array:
    """Turn real inputs into codes as ONNX QuantizeLinear does: float32 division, round half to even, saturate.

    Raises:
        QuantError: a value is NaN.
    """
    scaled = values.astype(np.float32) / np.float32(quant.scale[0])
    if quant.format.is_minifloat:
        return quant.format.from_ordinals(to_nearest_ordinals(quant.format, scaled))
    if np.isnan(scaled).any():
        raise QuantError(f"cannot quantise NaN to {quant.format.name}.")
    ordinals = np.rint(scaled.astype(np.float64)) + quant.zero
    clipped = np.clip(ordinals, quant.format.min_ordinal, quant.format.max_ordinal)
    return quant.format.from_ordinals(clipped.astype(np.int64))


def dequantise(quant: Quant, codes: Array) -> npt.NDArray[np.float32]:
    """Turn codes of a per-tensor quantised tensor into real values (float32)."""
    units = quant.format.to_units(codes) - quant.zero
    return (units * quant.format.unit * quant.scale[0]).astype(np.float32)
