"""Products of significands: signed where an integer takes part, otherwise unsigned."""

from __future__ import annotations

from export.rtl.lanes import booth, rows
from export.rtl.lanes.decode import Operand
from export.rtl.lanes.vector import ZERO, Bits, Logic, named


def significand(left: Operand, right: Operand, style: str, inputs: int) -> Logic:
    """Return the product of two significands.

    Style `dsp` uses the operator `*`, which tools turn into a DSP block; `lut` fills look-up tables of `inputs` inputs.
    """
    x, w = left.significand, right.significand
    signed = left.sign is None or right.sign is None
    if style != "dsp" and not signed and rows.fits(x, w, inputs):
        return rows.product("product", x, w)
    if signed or style != "dsp":
        x, w = (x if left.sign is None else (*x, ZERO)), (w if right.sign is None else (*w, ZERO))
    if style == "dsp":
        return _star("product", x, w, signed)
    made = booth.product("product", *((x, w) if _booth_cost(x, w) <= _booth_cost(w, x) else (w, x)))
    return made if signed else Logic(made.lines, made.value[:-2])


def _booth_cost(x: Bits, w: Bits) -> int:
    return (len(w) + 1) // 2 * (len(x) + 2)


def _star(name: str, x: Bits, w: Bits, signed: bool) -> Logic:
    kind = "  wire signed [" if signed else "  wire ["
    width = len(x) + len(w)
    parts = (named(f"{name}_x", x), named(f"{name}_w", w))
    lines = tuple(line.replace("  wire [", kind) for part in parts for line in part.lines)
    made = f"{kind}{width - 1}:0] {name} = {name}_x * {name}_w;"
    return Logic((*lines, made), tuple(f"{name}[{bit}]" for bit in range(width)))
