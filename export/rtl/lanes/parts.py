"""A product of two codes taken apart: product of significands, sum of exponents, sign."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.lanes.decode import decode, held, units
from export.rtl.lanes.significand import significand
from export.rtl.lanes.vector import Bits, Logic, add, extend, register, table
from quant.accumulator import smallest_bits
from quant.formats import Format

#: Inputs of a table that costs one look-up table a bit.
TABLE_INPUTS = 6


@dataclass(frozen=True, slots=True)
class Parts:
    """`product` << `exponent` without its lowest `spare` bits, negated if `sign` (never, if None).

    `exponent`, empty where nothing is shifted, is at least `spare`; `signed` says that the product has a sign itself.
    `clocks` have passed since the codes came.
    """

    lines: tuple[str, ...]
    product: Bits
    exponent: Bits
    spare: int
    sign: str | None
    signed: bool
    clocks: int = 0


def parts(weight: Format, activation: Format, x: Bits, w: Bits, style: str, inputs: int) -> Parts:
    """Return the parts of the product of two codes; style `dsp` multiplies with the operator `*`.

    Whole products of few bits are looked up; `inputs` are those of one look-up table.

    Where the product of two minifloats' significands is no table, they are decoded in a clock of its own: otherwise
    mapping melts decoder and multiplier into a larger whole.
    """
    if style == "lut" and weight.bits + activation.bits <= TABLE_INPUTS:
        return _looked_up(weight, activation, x, w)
    both = weight.is_minifloat and activation.is_minifloat
    if style == "lut" and inputs == TABLE_INPUTS and both and weight.bits + activation.bits <= TABLE_INPUTS + 2:
        return _looked_up_magnitude(weight, activation, x, w)
    left, right = decode("x", activation, x), decode("w", weight, w)
    clocks = int(both and len(left.significand) + len(right.significand) > TABLE_INPUTS)
    signs = [sign for sign in (left.sign, right.sign) if sign is not None]
    sign: tuple[str, ...] = (f"({' ^ '.join(signs)})",) if signs else ()
    lines: tuple[str, ...] = ()
    if clocks:
        left, right, negative = held("x", left), held("w", right), register("negative", sign)
        lines, sign = negative.lines, negative.value
    product, exponent = significand(left, right, style, inputs), _exponent(left.raised, right.raised)
    spare = bool(left.raised) + bool(right.raised)
    lines += left.lines + right.lines + product.lines + exponent.lines
    return Parts(lines, product.value, exponent.value, spare, sign[0] if sign else None, not both, clocks)


def _looked_up(weight: Format, activation: Format, x: Bits, w: Bits) -> Parts:
    width = smallest_bits(weight, activation, 1)
    made = table("product", (*x, *w), width, tuple(a * b for b in units(weight) for a in units(activation)))
    return Parts(made.lines, made.value, (), 0, None, True)


def _looked_up_magnitude(weight: Format, activation: Format, x: Bits, w: Bits) -> Parts:
    width = smallest_bits(weight, activation, 1) - 1
    left, right = (units(fmt)[: 1 << (fmt.bits - 1)] for fmt in (activation, weight))
    made = table("product", (*x[:-1], *w[:-1]), width, tuple(a * b for b in right for a in left))
    return Parts(made.lines, made.value, (), 0, f"({x[-1]} ^ {w[-1]})", False)


def _exponent(left: Bits, right: Bits) -> Logic:
    if not left or not right:
        return Logic((), left or right)
    width = max(len(left), len(right)) + 1
    return add("exponent", extend(left, width, False), extend(right, width, False))
