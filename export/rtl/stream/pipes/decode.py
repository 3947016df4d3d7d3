"""Verilog expressions about codes. An operand is a name `x`, or a part of one, `x[base +: bits]`, of the format's bits.

Minus zero is no code of any activation: the reference never makes it, and an input converter must turn it into zero.
"""

from __future__ import annotations

from export.rtl.fields import literal
from quant.formats import Format


def bit(operand: str, index: int) -> str:
    """Return bit `index` of an operand."""
    name, bracket, select = operand.partition("[")
    base = f"{select.partition('+:')[0].strip()}+" if bracket else ""
    return f"{name}[{base}{index}]"


def bits(operand: str, low: int, count: int) -> str:
    """Return `count` bits of an operand from bit `low` on."""
    name, bracket, select = operand.partition("[")
    base = f"{select.partition('+:')[0].strip()}+" if bracket else ""
    return f"{name}[{base}{low} +: {count}]"


def ordinal_less(fmt: Format, first: str, second: str) -> str:
    """Return an expression that is true when the code `first` stands for a smaller number than `second`."""
    if not fmt.is_minifloat:
        return f"($signed({first}) < $signed({second}))" if fmt.signed else f"({first} < {second})"
    return f"({_key(fmt, first)} < {_key(fmt, second)})"


def _key(fmt: Format, code: str) -> str:
    """Sign and magnitude as a number whose two's complement has the same order: magnitudes below zero inverted."""
    mask = literal((1 << (fmt.bits - 1)) - 1, fmt.bits)
    return f"$signed({code} ^ ({bit(code, fmt.bits - 1)} ? {mask} : {literal(0, fmt.bits)}))"


def decode(fmt: Format, code: str, width: int) -> str:
    """Return an unsigned expression of `width` bits: the two's complement of a code's value in units.

    `width` must hold the format's units with sign.
    """
    if not fmt.is_minifloat:
        return extend(code, fmt.bits, width, fmt.signed)
    magnitude = _magnitude(fmt, code, width)
    return f"({bit(code, fmt.bits - 1)} ? -{magnitude} : {magnitude})"


def extend(operand: str, count: int, width: int, signed: bool) -> str:
    """Return an operand of `count` bits in `width` bits."""
    if width <= count:
        return bits(operand, 0, width) if width < count else operand
    fill = f"{{{width - count}{{{bit(operand, count - 1)}}}}}" if signed else literal(0, width - count)
    return f"{{{fill}, {operand}}}"


def _magnitude(fmt: Format, code: str, width: int) -> str:
    """Return significand << shift: with z = (exponent field is not 0), {z, mantissa} << (exponent field - z)."""
    field = bits(code, fmt.mantissa, fmt.exponent)
    parts = [f"|{field}"] + ([bits(code, 0, fmt.mantissa)] if fmt.mantissa else [])
    pad = width - fmt.mantissa - 1
    significand = "{" + ", ".join(([literal(0, pad)] if pad > 0 else []) + parts) + "}"
    if fmt.exponent == 1:
        return significand
    return f"({significand} << ({field} - {{{literal(0, fmt.exponent - 1)}, |{field}}}))"
