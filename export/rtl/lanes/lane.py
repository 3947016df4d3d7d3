"""One lane: a product of two codes in registers, as a signed number in units of both formats."""

from __future__ import annotations

from export.rtl.lanes.front import Front, front, whole_table
from export.rtl.lanes.shift import Window, shifted
from export.rtl.lanes.vector import ZERO, Bits, add, bits, concat, extend, register
from quant.accumulator import smallest_bits
from quant.formats import Format


def lane_clocks(weight: Format, activation: Format, style: str) -> int:
    """Return the clocks of one product: minifloats take a second one for shift and sign."""
    if not weight.is_minifloat and not activation.is_minifloat:
        return 1
    return 1 if style == "lut" and whole_table(weight, activation) else 2


def lane_module(weight: Format, activation: Format, style: str, family: str, name: str) -> str:
    """Return the module with ports `clk`, `x`, `w` (one code each) and `p`, the product."""
    width = smallest_bits(weight, activation, 1)
    first = front(weight, activation, bits("x", activation.bits), bits("w", weight.bits), style, family)
    last, body = _back(first, width)
    ports = (
        "    input wire clk",
        f"    input wire [{activation.bits - 1}:0] x",
        f"    input wire [{weight.bits - 1}:0] w",
        f"    output wire [{width - 1}:0] p",
    )
    title = f"// {weight.name} * {activation.name}"
    lines = (*first.window.lines, *body, f"  assign p = {concat(last)};")
    return "\n".join((title, f"module {name} (", ",\n".join(ports), ");", *lines, "endmodule", ""))


def _back(first: Front, width: int) -> tuple[Bits, tuple[str, ...]]:
    places, lines = _held(first.window)
    if first.sign is None:
        return extend(places, width, first.signed), lines
    sign = register("sign", (first.sign,))
    lines += sign.lines
    if first.window.select:
        select = register("select", first.window.select)
        lines += select.lines
        least = first.least if first.window.step == 1 else 0
        places = shifted(places, select.value, first.window.step, first.signed, least)
    moved = extend(places[first.spare :], width, first.signed)
    total = add("product_p", tuple(f"({bit} ^ sign[0])" for bit in moved), (ZERO,) * width, "sign[0]")
    held = register("held", total.value)
    return held.value, lines + total.lines + held.lines


def _held(made: Window) -> tuple[Bits, tuple[str, ...]]:
    """Return the registered places, gates applied, and the lines of the registers."""
    data = register("data", made.places)
    if made.gate is None:
        return data.value, data.lines
    gate = register("gate", (made.gate,))
    marks = {"": "{}", "gate": "(gate[0] & {})", "~gate": "(~gate[0] & {})"}
    places = tuple(marks[mark].format(bit) for mark, bit in zip(made.gates, data.value, strict=True))
    return places, data.lines + gate.lines
