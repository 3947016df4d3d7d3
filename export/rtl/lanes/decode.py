"""Codes taken apart: value = significand * 2^shift units, negated where a minifloat's sign says so.

With z = (exponent field is not 0) a minifloat's significand is {z, mantissa} and its shift max(field, 1) - 1, so that
subnormals need no case of their own. The raised exponent max(field, 1) differs from the field in its lowest bit alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.lanes.vector import ZERO, Bits, register
from quant.formats import Format


@dataclass(frozen=True, slots=True)
class Operand:
    """One code in parts.

    `significand` is signed for integers and unsigned for minifloats, whose `sign` is apart. `raised` is the exponent
    max(field, 1), empty where it is always 1.
    """

    lines: tuple[str, ...]
    significand: Bits
    sign: str | None
    raised: Bits


def integer(fmt: Format, code: Bits) -> Operand:
    """Return an integer's code as it comes."""
    return Operand((), code if fmt.signed else (*code, ZERO), None, ())


def decode(name: str, fmt: Format, code: Bits) -> Operand:
    """Return the parts of a code."""
    if not fmt.is_minifloat:
        return integer(fmt, code)
    mantissa, field = code[: fmt.mantissa], code[fmt.mantissa : -1]
    normal = f"{name}_normal"
    lines: tuple[str, ...] = (f"  wire {normal} = {' | '.join(field)};",)
    if fmt.exponent == 1:
        return Operand(lines, (*mantissa, normal), code[-1], ())
    lowest = f"{name}_lowest"
    lines += (f"  wire {lowest} = {field[0]} | ~({' | '.join(field[1:])});",)
    return Operand(lines, (*mantissa, normal), code[-1], (lowest, *field[1:]))


def held(name: str, made: Operand) -> Operand:
    """Return the parts of a minifloat one clock later, but for its sign."""
    significand = register(f"{name}_significand", made.significand)
    if not made.raised:
        return Operand(made.lines + significand.lines, significand.value, made.sign, ())
    raised = register(f"{name}_raised", made.raised)
    return Operand(made.lines + significand.lines + raised.lines, significand.value, made.sign, raised.value)


def units(fmt: Format) -> tuple[int, ...]:
    """Return the value of every bit pattern in units; reserved ones go on by the rule of the numbers."""
    patterns = range(1 << fmt.bits)
    if not fmt.is_minifloat:
        return tuple(p - ((p >> (fmt.bits - 1)) << fmt.bits) if fmt.signed else p for p in patterns)
    top = 1 << (fmt.bits - 1)
    return tuple(-fmt.units_of_ordinal(p - top) if p >= top else fmt.units_of_ordinal(p) for p in patterns)
