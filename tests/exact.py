"""Number formats and rounding written a second time, with exact fractions and search, as a check on the fast ones."""

from __future__ import annotations

import re
from bisect import bisect_left
from fractions import Fraction

from quant.formats import Format

#: Bits of exponent and mantissa, and magnitude codes at the top that are no numbers, of the names that are not ExMy.
OCP = {"e4m3fn": (4, 3, 1), "e5m2ocp": (5, 2, 4)}


def layout(name: str) -> tuple[int, int, int]:
    """Return exponent bits, mantissa bits and reserved magnitude codes of a minifloat, from its name alone."""
    found = re.fullmatch(r"e(\d)m(\d)", name)
    return (int(found[1]), int(found[2]), 0) if found else OCP[name]


def power(exponent: int) -> Fraction:
    """2 to a whole power, exact."""
    return Fraction(2) ** exponent


def minifloat_value(name: str, code: int) -> Fraction | None:
    """Return the value of a bit pattern by the formula (-1)^s (1 + F / 2^M) 2^(X - b); None for NaN and infinity."""
    e, m, reserved = layout(name)
    fraction, field, sign = code % 2**m, code // 2**m % 2**e, code // 2 ** (m + e)
    if code % 2 ** (m + e) >= 2 ** (m + e) - reserved:
        return None
    bias = 2 ** (e - 1) - 1
    leading, exponent = (0, 1 - bias) if field == 0 else (1, field - bias)
    magnitude = (leading + Fraction(fraction, 2**m)) * power(exponent)
    return -magnitude if sign else magnitude


def code_value(fmt: Format, code: int) -> Fraction | None:
    """Return the value of a code of any format."""
    return Fraction(code) if not fmt.name.startswith("e") else minifloat_value(fmt.name, code)


def axis(fmt: Format) -> list[tuple[Fraction, int]]:
    """Return every value of a format with its code, ascending; zero once, with the positive code."""
    table: dict[Fraction, int] = {}
    for code in fmt.codes():
        value = code_value(fmt, code)
        if value is not None:
            table.setdefault(value, code)
    return sorted(table.items())


def nearest(table: list[tuple[Fraction, int]], value: Fraction) -> int:
    """Return the code nearest to `value` by search; at a tie the one with the even magnitude, see `even`."""
    values = [v for v, _ in table]
    at = bisect_left(values, value)
    if at == 0:
        return table[0][1]
    if at == len(table):
        return table[-1][1]
    below, above = table[at - 1], table[at]
    if value - below[0] != above[0] - value:
        return below[1] if value - below[0] < above[0] - value else above[1]
    return below[1] if even(below[0], above[0]) else above[1]


def even(value: Fraction, other: Fraction) -> bool:
    """Whether `value` is an even multiple of the distance to its neighbour `other` (the other one then is odd).

    For integers this is the even integer, for minifloats with mantissa bits the even code. Without mantissa bits
    neighbours are powers of two, 2^k and 2^(k+1), at distance 2^k: the larger one is the even multiple.
    """
    return (value / (value - other)) % 2 == 0
