"""The first clock of a lane: codes become a significand product, selectors of its shift, and a sign."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.lanes import booth, rows
from export.rtl.lanes.decode import Operand, decode
from export.rtl.lanes.shift import shifted
from export.rtl.lanes.vector import ZERO, Bits, Logic, add, extend, named
from quant.formats import Format


@dataclass(frozen=True, slots=True)
class Front:
    """A product in parts: (data << (select * step)) without its lowest `spare` bits, negated if `sign`.

    `data` is signed unless both operands are minifloats.
    """

    lines: tuple[str, ...]
    data: Bits
    select: Bits
    step: int
    spare: int
    sign: str | None
    signed: bool


def front(weight: Format, activation: Format, x: Bits, w: Bits, multiplier: str) -> Front:
    """Return the parts of the product of two codes; `multiplier` is `rows` or `star`."""
    left, right = decode("x", activation, x), decode("w", weight, w)
    signed = left.sign is None or right.sign is None
    product = _product(left, right, multiplier)
    exponent = _exponent(left.raised, right.raised)
    spare = bool(left.raised) + bool(right.raised)
    lines = left.lines + right.lines + product.lines + exponent.lines
    signs = [sign for sign in (left.sign, right.sign) if sign is not None]
    sign = f"({' ^ '.join(signs)})" if signs else None
    fine = exponent.value[:2] if len(exponent.value) > 2 else ()
    moved = named("moved", shifted(product.value, fine, 1, signed)) if fine else product
    if fine:
        lines += moved.lines
    return Front(lines, moved.value, exponent.value[len(fine) :], 1 << len(fine), spare, sign, signed)


def _product(left: Operand, right: Operand, multiplier: str) -> Logic:
    x, w = left.significand, right.significand
    if multiplier == "star":
        return star("product", x, w, left.sign is None, right.sign is None)
    if left.sign is None or right.sign is None:
        x = x if left.sign is None else (*x, ZERO)
        w = w if right.sign is None else (*w, ZERO)
        return booth.product("product", *((x, w) if _booth_cost(x, w) <= _booth_cost(w, x) else (w, x)))
    return rows.product("product", x, w)


def _booth_cost(x: Bits, w: Bits) -> int:
    return (len(w) + 1) // 2 * (len(x) + 2)


def star(name: str, x: Bits, w: Bits, x_signed: bool, w_signed: bool) -> Logic:
    """Return the product with the operator `*`, which tools turn into a DSP block."""
    signed = x_signed or w_signed
    x, w = (x if x_signed or not signed else (*x, ZERO)), (w if w_signed or not signed else (*w, ZERO))
    kind = "signed " if signed else ""
    width = len(x) + len(w)
    parts = (named(f"{name}_x", x), named(f"{name}_w", w))
    lines = tuple(line.replace("  wire [", f"  wire {kind}[") for part in parts for line in part.lines)
    made = f"  wire {kind}[{width - 1}:0] {name} = {name}_x * {name}_w;"
    return Logic((*lines, made), tuple(f"{name}[{bit}]" for bit in range(width)))


def _exponent(left: Bits, right: Bits) -> Logic:
    if not left or not right:
        return Logic((), left or right)
    width = max(len(left), len(right)) + 1
    return add("exponent", extend(left, width, False), extend(right, width, False))
