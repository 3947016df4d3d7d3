"""Bounds of values in the engine: the arithmetic that makes every width provably enough."""

from __future__ import annotations

from quant.formats import Format
from quant.graph import Quant

#: Exponents of the minifloat rule outside this range give the same codes as its ends: below, every product of 63 bits
#: rounds to 0; above, every product but 0 saturates (ordinals have at most 7 bits).
WIDE_EXPONENTS = (-80, 160)


def signed_bits(low: int, high: int) -> int:
    """Return the bits of a two's-complement number that holds [low, high]; at least 2."""
    return max(2, (-low - 1).bit_length() + 1 if low < 0 else 0, high.bit_length() + 1 if high > 0 else 0)


def unsigned_bits(high: int) -> int:
    """Return the bits of an unsigned number that holds [0, high]; at least 1."""
    return max(1, high.bit_length())


def significand_range(fmt: Format) -> tuple[int, int]:
    """Return the least and largest signed significand (integers: value) of a format."""
    if not fmt.is_minifloat:
        return fmt.min_ordinal, fmt.max_ordinal
    top = (1 << (fmt.mantissa + 1)) - 1
    return -top, top


def centred_range(fmt: Format, zero: int) -> tuple[int, int]:
    """Return the least and largest of significand, zero point and their difference."""
    low, high = significand_range(fmt)
    return min(low, low - zero, zero), max(high, high - zero, zero)


def shift_max(fmt: Format) -> int:
    """Return the largest left shift of a significand: 2^E - 2, or 0 for integers."""
    return (1 << fmt.exponent) - 2 if fmt.is_minifloat else 0


def magnitude_max(quant: Quant) -> int:
    """Return the largest |x - zero| in units."""
    fmt = quant.format
    return max(abs(fmt.units_of_ordinal(fmt.min_ordinal) - quant.zero), abs(fmt.max_units - quant.zero))
