"""Logistic, tanh, hard-swish and leaky ReLU of 8-bit codes in the integer arithmetic of TFLite-Micro's kernels.

All take x - zero_x, int64, and return y - zero_y before the clamp. Fixed-point numbers are int32 values held in int64;
Qm has m integer bits, the sign apart. A test compares every code with TFLite-Micro at many scales.
"""

from __future__ import annotations

import math

import numpy as np

from quant.errors import QuantError
from quant.fixedpoint import Multiplier, multiply_q31, q31_multiplier
from quant.formats import Array, IntArray

#: Inputs of the logistic function and of tanh are brought to Q4 first: the range [-16, 16).
INPUT_BITS = 4
#: Input steps from which on the kernels of the logistic function and of tanh are wrong at zero.
COARSE = 8.0
#: 1 in Q0 is just below 1: the largest int32.
_ONE = (1 << 31) - 1
#: exp(-2^k) in Q0 for k = -2 .. 4.
_EXP_POWERS = tuple((k, round(math.exp(-(2.0**k)) * (1 << 31))) for k in range(-2, 5))
#: Half of the smallest step of an int16 in int32.
_HALF_SHORT = 1 << 15


def logistic(x: IntArray, scale: float) -> IntArray:
    """Return 1 / (1 + exp(-scale * x)) in steps of 1/256: 0 .. 256 (the clamp makes 255 of the end)."""
    inside, q4 = _to_q4(x, scale)
    positive = _one_over_one_plus(_exp_negative(-np.abs(q4)))
    q0 = np.where(q4 > 0, positive, np.where(q4 < 0, _ONE - positive, 1 << 30))
    return np.where(inside, _shift_away(q0, 23), np.where(x > 0, 256, 0))


def tanh(x: IntArray, scale: float) -> IntArray:
    """Return the hyperbolic tangent of scale * x in steps of 1/128: -128 .. 128 (the clamp makes 127 of the end)."""
    inside, q4 = _to_q4(x, scale)
    # The bits of 2 * |x| in Q4 read as Q5: doubling costs nothing.
    positive = _one_minus_over_one_plus(_exp_negative(-np.abs(q4), INPUT_BITS + 1))
    q0 = np.where(q4 > 0, positive, np.where(q4 < 0, -positive, 0))
    return np.where(inside, _shift_away(q0, 24), np.where(x > 0, 128, -128))


def hard_swish(x: IntArray, scale: float, out_scale: float) -> IntArray:
    """Return x * min(max(x + 3, 0), 6) / 6 in steps of `out_scale`, in 16-bit arithmetic.

    Raises:
        QuantError: the output's scale is finer than 1/128 of the input's, which the kernel cannot shift.
    """
    fine = np.float32(1.0 / 128.0) * np.float32(scale)
    out, gate = q31_multiplier(float(fine / np.float32(out_scale))), q31_multiplier(float(fine / np.float32(3 / 32768)))
    if out.exponent > 0:
        raise QuantError(
            f"hard-swish from scale {scale} to {out_scale}: TFLite's kernel needs an output scale of at least "
            f"{float(fine)}; calibrate the layer again."
        )
    hires = x << 7
    ours = _double_high(hires, _short(out))
    relu = _gate(hires, gate)
    product = _double_high(relu, ours, half=0)
    return _shift_away(product, -out.exponent)


def _gate(hires: IntArray, rule: Multiplier) -> IntArray:
    """Return min(max(x / 3, -1), 1) mapped to [0, 1] in Q15."""
    value = hires
    if rule.exponent > 0:
        value = _saturate(value << (rule.exponent - 1))
    value = _double_high(value, _short(rule))
    if rule.exponent > 0:
        value = _saturate(value << 1)
    if rule.exponent < 0:
        value = _shift_away(value, -rule.exponent)
    return (value + (1 << 15)) >> 1


def _short(rule: Multiplier) -> int:
    """Return the 16 high bits of a Q31 mantissa, rounded; the largest stay."""
    top = rule.mantissa if rule.mantissa >= _ONE - _HALF_SHORT else rule.mantissa + _HALF_SHORT
    return top >> 16


def _saturate(value: IntArray) -> IntArray:
    return np.clip(value, -(1 << 15), (1 << 15) - 1)


def _double_high(a: IntArray, b: IntArray | int, half: int = 1 << 14) -> IntArray:
    """Return a * b / 2^15 of 16-bit values: halves away from zero, or truncated with `half` 0."""
    product = np.asarray(a * b)
    magnitude = np.abs(product)
    # Negative products get 2^14 - 1 less: a tie goes up, towards zero, before the truncating division.
    rounded = np.where(product < 0, -((magnitude + max(half - 1, 0)) >> 15), (magnitude + half) >> 15)
    return _saturate(rounded)


def leaky_relu(x: IntArray, scale: float, out_scale: float, alpha: float) -> IntArray:
    """Return x where positive, else alpha * x, in steps of `out_scale`: each side has its own Q31 multiplier."""
    sides = (q31_multiplier(scale / out_scale), q31_multiplier(scale * alpha / out_scale))
    up, down = (multiply_q31(x, np.array(m.mantissa), np.array(m.exponent)) for m in sides)
    return np.where(x >= 0, up, down)


def _to_q4(x: IntArray, scale: float) -> tuple[Array, IntArray]:
    """Return which inputs lie inside the radius that Q4 covers, and those in Q4 (others as 0).

    From `COARSE` on only zero does. There TFLite's kernel would take zero itself for the lowest input.
    """
    if scale >= COARSE:
        return x == 0, np.zeros_like(x)
    rule = q31_multiplier(float(scale) * 2.0 ** (31 - INPUT_BITS))
    radius = math.floor(((1 << INPUT_BITS) - 1) * 2.0 ** (31 - INPUT_BITS) / 2.0**rule.exponent)
    inside = np.abs(x) < radius
    kept = np.where(inside, x, 0)
    return inside, multiply_q31(kept, np.array(rule.mantissa), np.array(rule.exponent))


def _multiply(a: IntArray, b: IntArray | int) -> IntArray:
    """Return a * b / 2^31, halves up (no operand is the lowest int32 here)."""
    return (a * b + (1 << 30)) >> 31


def _shift_away(value: IntArray, bits: int) -> IntArray:
    """Return value / 2^bits, halves away from zero."""
    if bits == 0:
        return value
    magnitude = (np.abs(value) + (1 << (bits - 1))) >> bits
    return np.where(value < 0, -magnitude, magnitude)


def _exp_negative(a: IntArray, integer_bits: int = INPUT_BITS) -> IntArray:
    """Return exp(a) in Q0 for a <= 0: a series on [-1/4, 0), then one factor for each bit of the rest."""
    fraction = 31 - integer_bits
    quarter = 1 << (fraction - 2)
    rest = (a & (quarter - 1)) - quarter
    result = _exp_series(rest << integer_bits)
    remainder = rest - a
    for power, factor in _EXP_POWERS:
        if power < integer_bits:
            chosen = (remainder >> (fraction + power)) & 1
            result = np.where(chosen == 1, _multiply(result, factor), result)
    return np.where(a == 0, _ONE, result)


def _exp_series(a: IntArray) -> IntArray:
    """Return exp(a) in Q0 for a in [-1/4, 0): exp(-1/8) * (1 + x + x^2/2 + x^3/6 + x^4/24) with x = a + 1/8."""
    centre, third = round(math.exp(-1 / 8) * (1 << 31)), round((1 << 31) / 3)
    x = a + (1 << 28)
    square = _multiply(x, x)
    cube, fourth = _multiply(square, x), _multiply(square, square)
    tail = _shift_away(_multiply(_shift_away(fourth, 2) + cube, third) + square, 1)
    return centre + _multiply(x + tail, centre)


def _newton(a: IntArray) -> tuple[IntArray, IntArray]:
    """Return (1 + a) / 2 in Q0 and, by three Newton steps, its inverse in Q2."""
    half = _half_sum(a)
    x = round(48 / 17 * (1 << 29)) + _multiply(half, round(-32 / 17 * (1 << 29)))
    for _ in range(3):
        error = (1 << 29) - _multiply(half, x)
        x = x + (_multiply(x, error) << 2)
    return half, x


def _half_sum(a: IntArray) -> IntArray:
    """Return (a + 1) / 2 in Q0, halves away from zero."""
    return (a + _ONE + 1) >> 1


def _one_over_one_plus(a: IntArray) -> IntArray:
    """Return 1 / (1 + a) in Q0 for a in [0, 1]."""
    _, inverse = _newton(a)
    # Half of the inverse of the half sum: Q2 read as Q1, then brought to Q0.
    return np.minimum(inverse << 1, _ONE)


def _one_minus_over_one_plus(a: IntArray) -> IntArray:
    """Return (1 - a) / (1 + a) in Q0 for a in [0, 1]."""
    _, inverse = _newton(a)
    return np.minimum((inverse - (1 << 29)) << 2, _ONE)
