"""The first clock of a lane: codes become a window of a shifted product, the rest of its shift, and its sign."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.lanes.decode import decode
from export.rtl.lanes.shift import INPUTS, Window, window
from export.rtl.lanes.significand import significand
from export.rtl.lanes.vector import Bits, Logic, add, extend, table
from quant.accumulator import smallest_bits
from quant.formats import Format

#: Inputs of the largest products looked up whole.
TABLE_INPUTS = 6


@dataclass(frozen=True, slots=True)
class Front:
    """A product in parts: the window's value shifted, without its lowest `spare` bits, negated if `sign`.

    `least` is the smallest shift there is; `signed` says that the window's top place is a sign.
    """

    window: Window
    least: int
    spare: int
    sign: str | None
    signed: bool


def front(weight: Format, activation: Format, x: Bits, w: Bits, style: str, family: str) -> Front:
    """Return the parts of the product of two codes; style `dsp` multiplies with the operator `*`."""
    if style == "lut" and whole_table(weight, activation):
        return _looked_up(weight, activation, x, w)
    if style == "lut" and magnitude_table(weight, activation):
        return _looked_up_magnitude(weight, activation, x, w)
    left, right = decode("x", activation, x), decode("w", weight, w)
    signed = left.sign is None or right.sign is None
    product = significand(left, right, style)
    exponent = _exponent(left.raised, right.raised)
    least = bool(left.raised) + bool(right.raised)
    made = window(product.value, exponent.value, signed, INPUTS[family])
    lines = left.lines + right.lines + product.lines + exponent.lines + made.lines
    signs = [sign for sign in (left.sign, right.sign) if sign is not None]
    return Front(_with(lines, made), least, least, f"({' ^ '.join(signs)})" if signs else None, signed)


def _with(lines: tuple[str, ...], made: Window) -> Window:
    return Window(lines, made.places, made.gates, made.gate, made.select, made.step)


def whole_table(weight: Format, activation: Format) -> bool:
    """Whether one look-up table per bit makes the signed product."""
    return weight.bits + activation.bits <= TABLE_INPUTS


def magnitude_table(weight: Format, activation: Format) -> bool:
    """Whether one look-up table per bit makes the product's magnitude."""
    return weight.is_minifloat and activation.is_minifloat and weight.bits + activation.bits <= TABLE_INPUTS + 2


def _looked_up(weight: Format, activation: Format, x: Bits, w: Bits) -> Front:
    width = smallest_bits(weight, activation, 1)
    products = [a * b for b in units(weight) for a in units(activation)]
    made = table("product", (*x, *w), width, tuple(products))
    return Front(_whole(made), 0, 0, None, True)


def _looked_up_magnitude(weight: Format, activation: Format, x: Bits, w: Bits) -> Front:
    width = smallest_bits(weight, activation, 1) - 1
    half = [units(fmt)[: 1 << (fmt.bits - 1)] for fmt in (weight, activation)]
    made = table("product", (*x[:-1], *w[:-1]), width, tuple(a * b for b in half[0] for a in half[1]))
    return Front(_whole(made), 0, 0, f"({x[-1]} ^ {w[-1]})", False)


def _whole(made: Logic) -> Window:
    return Window(made.lines, made.value, ("",) * len(made.value), None, (), 1)


def units(fmt: Format) -> tuple[int, ...]:
    """Return the value of every bit pattern in units; reserved ones go on with the rule of the numbers."""
    patterns = range(1 << fmt.bits)
    if not fmt.is_minifloat:
        return tuple(p - ((p >> (fmt.bits - 1)) << fmt.bits) if fmt.signed else p for p in patterns)
    top = 1 << (fmt.bits - 1)
    return tuple(-fmt.units_of_ordinal(p - top) if p >= top else fmt.units_of_ordinal(p) for p in patterns)


def _exponent(left: Bits, right: Bits) -> Logic:
    if not left or not right:
        return Logic((), left or right)
    width = max(len(left), len(right)) + 1
    return add("exponent", extend(left, width, False), extend(right, width, False))
