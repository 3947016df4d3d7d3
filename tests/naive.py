"""A program executed one number at a time in Python integers and exact fractions: a second writing of the meaning."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from quant import operators as ops
from quant.fixedpoint import Multiplier
from quant.formats import Array, Format
from quant.program import (
    AddStep,
    AveragePoolStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    MoveStep,
    Program,
    Requant,
    RequantizeStep,
    Step,
    WideAddStep,
)
from tests.exact import axis, code_value, nearest, power

Index = tuple[int, ...]
Codes = dict[Index, int]


def truncate(value: Fraction) -> int:
    """Divide as C does: towards zero."""
    return math.trunc(value)


def high_mul(a: int, b: int) -> int:
    """TFLite's SaturatingRoundingDoublingHighMul, with its nudge that depends on the sign."""
    product = a * b
    nudge = (1 << 30) if product >= 0 else 1 - (1 << 30)
    return truncate(Fraction(product + nudge, 1 << 31))


def half_away(value: Fraction) -> int:
    """Round to nearest, halves away from zero (TFLite's RoundingDivideByPOT, and its average pool)."""
    magnitude = math.floor(abs(value) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


def tflite_multiply(acc: int, mantissa: int, shift: int) -> int:
    """TFLite's MultiplyByQuantizedMultiplier (double rounding)."""
    left, right = max(shift, 0), max(-shift, 0)
    return half_away(Fraction(high_mul(acc << left, mantissa), 1 << right))


def units(fmt: Format, code: int) -> int:
    """Decode a code to whole units."""
    value = code_value(fmt, code)
    assert value is not None
    return int(value / Fraction(fmt.unit))


def ordinal(fmt: Format, code: int) -> int:
    """Return a code's position on the value axis."""
    half = 1 << (fmt.bits - 1)
    return (half - code if code >= half else code) if fmt.is_minifloat else code


def from_ordinal(fmt: Format, position: int) -> int:
    """Return the code at a position."""
    return -position | (1 << (fmt.bits - 1)) if fmt.is_minifloat and position < 0 else position


def requantise(requant: Requant, acc: int, channel: int) -> int:
    """Turn one accumulator into a code."""
    multiplier = requant.multipliers[channel % len(requant.multipliers)]
    if requant.format.is_minifloat:
        position = wide(requant.format, acc, multiplier)
    else:
        position = tflite_multiply(acc, multiplier.mantissa, multiplier.exponent) + requant.zero
    return from_ordinal(requant.format, min(max(position, requant.low), requant.high))


def wide(fmt: Format, acc: int, multiplier: Multiplier) -> int:
    """Round acc * mantissa * 2^exponent units to the nearest value by search; returns its position."""
    exact = acc * multiplier.mantissa * power(multiplier.exponent) * Fraction(fmt.unit)
    return ordinal(fmt, nearest(axis(fmt), exact))


def every(shape: Index) -> Iterator[Index]:
    """Return every index of a shape."""
    return itertools.product(*(range(size) for size in shape))


def taps(op: ops.Conv | ops.MaxPool | ops.AveragePool, kernel: Index, at: Index, image: Index) -> list[Index]:
    """Return (ky, kx, y, x) of every tap of the window at output position `at` that lies inside the image."""
    dilations = op.dilations if isinstance(op, ops.Conv) else (1, 1)
    found = []
    for ky, kx in every(kernel):
        y = at[0] * op.strides[0] + ky * dilations[0] - op.pads[0]
        x = at[1] * op.strides[1] + kx * dilations[1] - op.pads[1]
        if 0 <= y < image[0] and 0 <= x < image[1]:
            found.append((ky, kx, y, x))
    return found


def conv(program: Program, step: ConvStep, x: Codes, fmt: Format, index: Index) -> int:
    """One output code of a convolution or fully connected layer."""
    _, o, *at = (*index, 0, 0)[:4]
    image = (*program.tensors[step.x].shape, 1, 1)[2:4]
    channels, rank = step.weight.shape[1], len(program.tensors[step.x].shape)
    first = o // (step.weight.shape[0] // step.op.groups) * channels
    acc = int(step.bias[o])
    for ky, kx, row, column in taps(step.op, step.weight.shape[2:], tuple(at), image):
        for c in range(channels):
            value = units(fmt, x[(0, first + c, row, column)[:rank]]) - step.x_zero
            acc += value * units(step.weight_format, int(step.codes[o, c, ky, kx]))
    assert abs(acc) <= step.acc_max
    return requantise(step.requant, acc, o)


def pool(program: Program, step: MaxPoolStep | AveragePoolStep, x: Codes, fmt: Format, index: Index) -> int:
    """One output code of a pool."""
    n, c, *at = index
    window = [
        x[n, c, y, z] for _, _, y, z in taps(step.op, step.op.kernel, tuple(at), program.tensors[step.x].shape[2:])
    ]
    if isinstance(step, MaxPoolStep):
        return from_ordinal(fmt, max(ordinal(fmt, code) for code in window))
    total = sum(units(fmt, code) for code in window)
    if fmt.is_minifloat:
        return from_ordinal(fmt, wide(fmt, total, step.multipliers[len(window) - 1]))
    return half_away(Fraction(total, len(window)))


def add(step: AddStep | WideAddStep, xs: list[Codes], fmts: list[Format], index: Index) -> int:
    """One output code of a sum."""
    centred = [units(fmt, x[index]) - zero for x, fmt, zero in zip(xs, fmts, step.zeros, strict=True)]
    if isinstance(step, WideAddStep):
        return requantise(step.requant, sum(v * w for v, w in zip(centred, step.weights, strict=True)), 0)
    scaled = [
        tflite_multiply(value << step.left_shift, scale.mantissa, scale.exponent)
        for value, scale in zip(centred, step.scales, strict=True)
    ]
    return requantise(step.requant, sum(scaled), 0)


def move(step: MoveStep, xs: list[Codes], shapes: list[Index], shape: Index, index: Index) -> int:
    """One output code of an operator that only moves codes."""
    match step.op:
        case ops.Pad():
            source = tuple(i - before for i, before in zip(index, step.op.before, strict=True))
            return xs[0].get(source, step.fill)
        case ops.Slice():
            return xs[0][tuple(a + i * s for i, a, s in zip(index, step.op.starts, step.op.steps, strict=True))]
        case ops.Concat():
            first = shapes[0][step.op.axis]
            which = int(index[step.op.axis] >= first)
            shifted = list(index)
            shifted[step.op.axis] -= which * first
            return xs[which][tuple(shifted)]
        case ops.Reshape():
            return list(xs[0].values())[int(np.ravel_multi_index(index, shape))]


def element(program: Program, step: Step, values: dict[str, Codes], index: Index) -> int:
    """One output code of any step."""
    names = step.xs if isinstance(step, AddStep | WideAddStep | MoveStep) else (step.x,)
    xs, fmts = [values[name] for name in names], [program.quant(name).format for name in names]
    match step:
        case ConvStep():
            return conv(program, step, xs[0], fmts[0], index)
        case MaxPoolStep() | AveragePoolStep():
            return pool(program, step, xs[0], fmts[0], index)
        case AddStep() | WideAddStep():
            return add(step, xs, fmts, index)
        case MeanStep():
            image = [code for at, code in xs[0].items() if at[1] == index[1]]
            return requantise(step.requant, sum(units(fmts[0], code) - step.x_zero for code in image), 0)
        case RequantizeStep():
            return requantise(step.requant, units(fmts[0], xs[0][index]) - step.x_zero, 0)
        case MoveStep():
            shapes = [program.tensors[name].shape for name in names]
            return move(step, xs, shapes, program.tensors[step.y].shape, index)


def run_one(program: Program, codes: Array) -> dict[str, Codes]:
    """Execute a program on one image of codes, shape [1, ...]; returns the code at every index of every tensor."""
    values = {program.input: {index: int(codes[index]) for index in every(codes.shape)}}
    for step in program.steps:
        shape = program.tensors[step.y].shape
        values[step.y] = {index: element(program, step, values, index) for index in every(shape)}
    return values
