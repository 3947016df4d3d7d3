"""One lane: a product of two codes in registers, as a signed number in units of both formats."""

from __future__ import annotations

from export.rtl.lanes.front import Front, front
from export.rtl.lanes.shift import shifted
from export.rtl.lanes.vector import ZERO, Bits, add, bits, concat, extend, register
from quant.accumulator import smallest_bits
from quant.formats import Format


def lane_clocks(weight: Format, activation: Format) -> int:
    """Return the clocks of one product: integers take one, minifloats a second one for shift and sign."""
    return 2 if weight.is_minifloat or activation.is_minifloat else 1


def lane_module(weight: Format, activation: Format, style: str, family: str, name: str) -> str:
    """Return the module with ports `clk`, `x`, `w` (one code each) and `p`, the product."""
    width = smallest_bits(weight, activation, 1)
    first = front(
        weight, activation, bits("x", activation.bits), bits("w", weight.bits), "star" if style == "dsp" else "rows"
    )
    last, body = _back(first, width)
    ports = (
        "    input wire clk",
        f"    input wire [{activation.bits - 1}:0] x",
        f"    input wire [{weight.bits - 1}:0] w",
        f"    output wire [{width - 1}:0] p",
    )
    title = f"// {weight.name} * {activation.name}"
    lines = (*first.lines, *body, f"  assign p = {concat(last)};")
    return "\n".join((title, f"module {name} (", ",\n".join(ports), ");", *lines, "endmodule", ""))


def _back(first: Front, width: int) -> tuple[Bits, tuple[str, ...]]:
    data = register("data", first.data)
    if first.sign is None:
        return extend(data.value, width, first.signed), data.lines
    select = register("select", first.select) if first.select else None
    sign = register("sign", (first.sign,))
    moved = shifted(data.value, select.value if select else (), first.step, first.signed)[first.spare :]
    moved = extend(moved, width, first.signed) if first.signed else extend(moved, width, False)
    total = add("product_p", tuple(f"({bit} ^ sign[0])" for bit in moved), (ZERO,) * width, "sign[0]")
    held = register("held", total.value)
    lines = data.lines + (select.lines if select else ()) + sign.lines + total.lines + held.lines
    return held.value, lines
