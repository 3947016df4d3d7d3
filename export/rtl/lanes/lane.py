"""One lane: the product of two codes, up to the addition that may still be needed to negate it.

A minifloat product takes up to four clocks: codes decoded; significands multiplied and exponents added; the shift
begun; and the rest of the shift, where a negative product becomes its complement and one. That one enters the carry
chain of whatever adder comes next, so the last clock is left to whoever uses the lane.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from export.rtl.lanes.block import CLOCKS, block
from export.rtl.lanes.parts import Parts, parts
from export.rtl.lanes.shift import INPUTS, Window, shifted, window
from export.rtl.lanes.vector import Bits, bits, concat, extend, register
from quant.accumulator import smallest_bits
from quant.formats import Format


@dataclass(frozen=True, slots=True)
class Lane:
    """Registers and wires of a lane: its product is `value`, signed, plus the bit `carry`, `clocks` after the codes.

    Without a carry `value` comes straight from registers; `inputs_held` says that codes meet registers first.
    """

    lines: tuple[str, ...]
    value: Bits
    carry: str | None
    clocks: int
    inputs_held: bool


@cache
def lane(weight: Format, activation: Format, style: str, family: str) -> Lane:
    """Return the lane for codes `x` and `w`; style `dsp` multiplies with the operator `*`."""
    width = smallest_bits(weight, activation, 1)
    if style == "dsp" and not (weight.is_minifloat or activation.is_minifloat):
        lines, value = block(weight, activation, width, family)
        return Lane(lines, value, None, CLOCKS, True)
    made = parts(weight, activation, bits("x", activation.bits), bits("w", weight.bits), style, INPUTS[family])
    product = register("product_held", made.product)
    lines = made.lines + product.lines
    if made.sign is None:
        return Lane(lines, extend(product.value, width, made.signed), None, 1, False)
    sign = register("sign", (made.sign,))
    exponent = register("exponent_held", made.exponent) if made.exponent else None
    select = exponent.value if exponent else ()
    lines += sign.lines + (exponent.lines if exponent else ())
    first = window(product.value, select, made.signed, INPUTS[family])
    if first.lines:
        return _windowed(made, first, lines, width)
    value = _signed(made, shifted(product.value, select, 1, made.signed, made.spare), "sign[0]", width)
    return Lane(lines, value, "sign[0]", 1 + made.clocks, made.clocks > 0)


def _windowed(made: Parts, first: Window, lines: tuple[str, ...], width: int) -> Lane:
    """Return the lane whose shift takes two clocks."""
    data, sign = register("window", first.places), register("sign_held", ("sign[0]",))
    lines += first.lines + data.lines + sign.lines
    places = data.value
    if first.gate is not None:
        lines += register("gate", (first.gate,)).lines
        marks = {"": "{}", "gate": "(gate[0] & {})", "~gate": "(~gate[0] & {})"}
        places = tuple(marks[mark].format(bit) for mark, bit in zip(first.gates, places, strict=True))
    select: Bits = ()
    if first.select:
        held = register("select", first.select)
        lines, select = lines + held.lines, held.value
    value = _signed(made, shifted(places, select, first.step, made.signed), "sign_held[0]", width)
    return Lane(lines, value, "sign_held[0]", 2 + made.clocks, True)


def _signed(made: Parts, moved: Bits, sign: str, width: int) -> Bits:
    """Return the complement where the sign is set, without the places that every shift leaves zero.

    The top place of a magnitude is the sign alone: whatever a shift could put there never comes.
    """
    places = moved[made.spare :] if made.signed else moved[made.spare :][: width - 1]
    return tuple(f"({bit} ^ {sign})" for bit in extend(places, width, made.signed))


def lane_module(made: Lane, weight: Format, activation: Format, name: str) -> str:
    """Return the module with ports `clk`, `x`, `w` (one code each), `p` and, if the lane has one, `carry`."""
    ports = ["input wire clk", f"input wire [{activation.bits - 1}:0] x", f"input wire [{weight.bits - 1}:0] w"]
    ports.append(f"output wire [{len(made.value) - 1}:0] p")
    lines = [*made.lines, f"  assign p = {concat(made.value)};"]
    if made.carry is not None:
        ports.append("output wire carry")
        lines.append(f"  assign carry = {made.carry};")
    text = (f"// {weight.name} * {activation.name}", f"module {name} (\n    " + ",\n    ".join(ports), ");")
    return "\n".join((*text, *lines, "endmodule", ""))
