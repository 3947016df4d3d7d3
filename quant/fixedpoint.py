"""The integer arithmetic between accumulators and codes, without any float at run time.

Two rules, chosen by the output format:

* integer outputs follow TFLite-Micro and CMSIS-NN: a 31-bit multiplier, double rounding;
* minifloat outputs use a 15-bit multiplier, an exact product below 2^63 and one rounding to nearest even.

`Multiplier` constants are made here from real scales, once, at export.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from quant.errors import QuantError
from quant.formats import Format, IntArray

#: Accumulators of integer outputs are int32.
INT32_LIMIT = 1 << 31
#: Magnitude limit of accumulators of minifloat outputs: times a 15-bit multiplier it stays below 2^63.
WIDE_LIMIT = 1 << 48
#: Bits of the multiplier of the minifloat rule.
WIDE_MULTIPLIER_BITS = 15


@dataclass(frozen=True, slots=True)
class Multiplier:
    """A positive real number as `mantissa * 2^exponent` with an integer mantissa of fixed width.

    In the integer rule the mantissa is Q31 (2^30 <= mantissa < 2^31) and `exponent` is TFLite's shift e, so that
    the number is mantissa * 2^(e-31). In the minifloat rule the number is mantissa * 2^exponent with
    2^14 <= mantissa < 2^15.
    """

    mantissa: int
    exponent: int


def q31_multiplier(real: float) -> Multiplier:
    """Split `real` as TFLite's QuantizeMultiplier does: M = f * 2^e, mantissa = round(f * 2^31).

    Raises:
        QuantError: the number is not positive and finite, or needs a left shift of more than 30 bits.
    """
    if not (math.isfinite(real) and real > 0):
        raise QuantError(f"a requantisation multiplier must be positive and finite, not {real}.")
    fraction, exponent = math.frexp(real)
    mantissa = math.floor(fraction * (1 << 31) + 0.5)
    if mantissa == 1 << 31:
        mantissa, exponent = 1 << 30, exponent + 1
    if exponent < -31:
        return Multiplier(0, 0)
    if exponent > 30:
        raise QuantError(f"a requantisation multiplier of {real} needs a left shift of {exponent} bits; at most 30.")
    return Multiplier(mantissa, exponent)


def wide_multiplier(real: float) -> Multiplier:
    """Split `real` for the minifloat rule: mantissa = round(f * 2^15), number = mantissa * 2^exponent."""
    if not (math.isfinite(real) and real > 0):
        raise QuantError(f"a requantisation multiplier must be positive and finite, not {real}.")
    fraction, exponent = math.frexp(real)
    mantissa = math.floor(fraction * (1 << WIDE_MULTIPLIER_BITS) + 0.5)
    if mantissa == 1 << WIDE_MULTIPLIER_BITS:
        mantissa, exponent = mantissa >> 1, exponent + 1
    return Multiplier(mantissa, exponent - WIDE_MULTIPLIER_BITS)


def multiply_q31(acc: IntArray, mantissa: IntArray, exponent: IntArray) -> IntArray:
    """Return acc * mantissa * 2^(exponent-31) by TFLite's double rounding (MultiplyByQuantizedMultiplier).

    First the high half of the doubled product, rounded half up: v = ((acc << left) * mantissa + 2^30) >> 31;
    then a rounding right shift, halves away from zero. `acc << left` must fit int32, as in the C kernels.

    Args:
        acc: int64 array holding int32 values.
        mantissa: Q31 mantissas, broadcastable to `acc`.
        exponent: TFLite shifts, broadcastable to `acc`.
    """
    left, right = np.maximum(exponent, 0), np.maximum(-exponent, 0)
    high = ((acc << left) * mantissa + (1 << 30)) >> 31
    mask = (np.int64(1) << right) - 1
    threshold = (mask >> 1) + (high < 0)
    result: IntArray = (high >> right) + ((high & mask) > threshold)
    return result


def divide_half_away(total: IntArray, count: IntArray) -> IntArray:
    """Divide int64 totals by positive counts, rounding halves away from zero (TFLite's average pool)."""
    magnitude = (np.abs(total) + count // 2) // count
    result: IntArray = np.where(total < 0, -magnitude, magnitude)
    return result


def bit_length(values: IntArray) -> IntArray:
    """Return the number of bits of non-negative int64 values (0 for 0), exactly."""
    high = values >> 32
    top = np.where(high > 0, high, values & 0xFFFFFFFF)
    _, exponent = np.frexp(top.astype(np.float64))
    result: IntArray = np.where(values == 0, 0, exponent + np.where(high > 0, 32, 0)).astype(np.int64)
    return result


def round_to_minifloat(fmt: Format, acc: IntArray, mantissa: IntArray, exponent: IntArray) -> IntArray:
    """Round acc * mantissa * 2^exponent (in units of `fmt`) to ordinals of the minifloat `fmt`.

    P = |acc| * mantissa is exact. With L = bit_length(P), the grid step around P * 2^exponent is 2^t units,
    t = max(L - 1 + exponent - M, 0). Dropping d = t - exponent bits of P with round half to even gives n, and the
    magnitude code is (t << M) + n: the carry of n into 2^(M+1) is the next binade. Larger codes saturate.

    Args:
        fmt: an all-finite or OCP minifloat.
        acc: int64 accumulators, magnitude below 2^48.
        mantissa: 15-bit mantissas, broadcastable to `acc`.
        exponent: exponents, broadcastable to `acc`.
    """
    product = np.abs(acc) * mantissa
    # Zero has no leading bit: without the test a large exponent would lift it off zero.
    step = np.where(product == 0, 0, np.maximum(bit_length(product) - 1 + exponent - fmt.mantissa, 0))
    drop = step - exponent
    rounded = _shift_half_even(product, drop)
    # A huge step saturates before the shift could overflow.
    magnitude = (np.minimum(step, fmt.max_ordinal + 1) << fmt.mantissa) + rounded
    magnitude = np.minimum(magnitude, fmt.max_ordinal)
    result: IntArray = np.where(acc < 0, -magnitude, magnitude)
    return result


def _shift_half_even(value: IntArray, drop: IntArray) -> IntArray:
    """Shift non-negative `value` right by `drop` (left when negative), rounding half to even.

    A left shift happens only for values of fewer than M + 1 bits, so it cannot overflow.
    """
    right = np.clip(drop, 0, 63)
    kept = value >> right
    rest = value - (kept << right)
    # right = 63 drops everything: value < 2^63 is then at most half only when right is exactly bit_length.
    half = np.where(right > 0, np.int64(1) << np.maximum(right - 1, 0), 0)
    up = (right > 0) & ((rest > half) | ((rest == half) & (kept & 1 == 1))) & (drop <= 63)
    result: IntArray = (kept + up) << np.clip(-drop, 0, 62)
    return result


def wide_product_fits(acc_max: int) -> bool:
    """Whether an accumulator magnitude fits the minifloat rule."""
    return acc_max < WIDE_LIMIT
