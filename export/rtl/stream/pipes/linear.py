"""Sums of two integer codes without multipliers: code = clip((A*a + B*b + constant) >> shift), proven for all pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.rtl.stream.pipes.affine import roundest
from export.rtl.stream.pipes.look_up import patterns, scalar
from quant.fixedpoint import multiply_q31
from quant.formats import Format, IntArray
from quant.steps import AddStep

#: The finest grid that the search tries.
MAX_SHIFT = 40


@dataclass(frozen=True, slots=True)
class Linear:
    """code = clip((factors[0] * (a - z_a) + factors[1] * (b - z_b) + base + offset) >> shift).

    `mirrored`: - offset where the sum of the products is negative.
    """

    factors: tuple[int, int]
    base: int
    offset: int
    mirrored: bool
    shift: int


def linear(step: AddStep, formats: tuple[Format, Format]) -> Linear | None:
    """Return the coarsest constants that give the code of every pair of codes, or None when there are none."""
    addends = [np.array(patterns(fmt), dtype=np.int64) - z for fmt, z in zip(formats, step.zeros, strict=True)]
    wanted = pairs(step, formats)
    for shift in range(1, MAX_SHIFT):
        if (found := _fitted(step, addends[0], addends[1], wanted, shift)) is not None:
            return found
    return None


def terms(step: AddStep, index: int, values: IntArray) -> IntArray:
    """Return the scaled addends of one input."""
    scale = step.scales[index]
    return multiply_q31(values << step.left_shift, scalar(scale.mantissa), scalar(scale.exponent))


def pairs(step: AddStep, formats: tuple[Format, Format]) -> IntArray:
    """Return the ordinals by the rule of all pairs of bit patterns: [patterns of a, patterns of b]."""
    last = step.requant.multipliers[0]
    first, second = (
        terms(step, index, np.array(patterns(fmt), dtype=np.int64) - step.zeros[index])
        for index, fmt in enumerate(formats)
    )
    total = first[:, None] + second[None, :]
    result = multiply_q31(total, scalar(last.mantissa), scalar(last.exponent)) + step.requant.zero
    return np.clip(result, step.requant.low, step.requant.high)


def _fitted(step: AddStep, first: IntArray, second: IntArray, wanted: IntArray, shift: int) -> Linear | None:
    last = step.requant.multipliers[0]
    exponent = shift + step.left_shift + last.exponent - 62
    factors = [_rounded(scale.mantissa * last.mantissa, exponent + scale.exponent) for scale in step.scales]
    total = first[:, None] * factors[0] + second[None, :] * factors[1]
    base = (step.requant.zero << shift) + (1 << (shift - 1))
    for mirrored in (False, True):
        low, high = _interval(step, total, wanted, base, shift, mirrored)
        offset = roundest(np.array([low]), np.array([high]))
        if offset is not None:
            return Linear((factors[0], factors[1]), base, offset[0], mirrored and offset[0] != 0, shift)
    return None


def _rounded(value: int, exponent: int) -> int:
    """Return value * 2^exponent to the nearest integer."""
    return value << exponent if exponent >= 0 else (value + (1 << (-exponent - 1))) >> -exponent


def _interval(
    step: AddStep, total: IntArray, wanted: IntArray, base: int, shift: int, mirrored: bool
) -> tuple[int, int]:
    """Return the least and largest offset with which every sum has its code; the highest and lowest are open."""
    least = (wanted << shift) - base - total
    most = least + (1 << shift) - 1
    bound, turned = 1 << 60, (total < 0) & mirrored
    least = np.where(wanted > step.requant.low, least, -bound)
    most = np.where(wanted < step.requant.high, most, bound)
    low = np.where(turned, -most, least).max()
    high = np.where(turned, -least, most).min()
    return int(low), int(high)
