"""A multiply-accumulate unit around the lanes: input registers, dot product, accumulator."""

from __future__ import annotations

from export.rtl.lanes.lane import lane, lane_module
from export.rtl.lanes.lanes import Lanes, verilog
from export.rtl.lanes.vector import Bits, add, bits, concat, extend
from quant.accumulator import smallest_bits


def mac_bits(lanes: Lanes, terms: int) -> int:
    """Return the width of an accumulator that no sum of `terms` products overflows."""
    return smallest_bits(lanes.weight, lanes.activation, terms)


def mac_latency(lanes: Lanes) -> int:
    """Return the clocks from codes to the accumulator that holds their sum."""
    return _clocks(lanes) + 2


def _clocks(lanes: Lanes) -> int:
    """Return the clocks of what the accumulator adds, input registers not counted; a single product comes unsummed."""
    made = lane(lanes.weight, lanes.activation, lanes.style, lanes.family)
    return (made.clocks if lanes.simd == 1 else lanes.latency) - made.inputs_held


def mac_verilog(lanes: Lanes, terms: int, module_name: str) -> str:
    """Return the unit and all it instantiates; style `dsp_pair` has none.

    Ports: `clk`; `en` says that `x` and `w` (as in `verilog`) hold codes, `clr` that they begin a new sum; `acc`,
    signed, `mac_latency` clocks later. At most `terms` products make one sum.
    """
    width, last, name = mac_bits(lanes, terms), _clocks(lanes), f"{module_name}_dot"
    dot, text, wires, carry = _addend(lanes, name)
    kept = tuple(f"({bit} & ~begins[{last}])" for bit in bits("acc", width))
    following = add("next", extend(dot, width, True), kept, carry)
    lines = (
        *_ports(lanes, width, module_name),
        *_inputs(lanes),
        f"  reg [{last}:0] counts, begins;",
        *wires,
        *following.lines,
        "  always @(posedge clk) begin",
        f"    counts <= {{counts[{last - 1}:0], en}};",
        f"    begins <= {{begins[{last - 1}:0], clr}};",
        f"    if (counts[{last}]) acc <= {concat(following.value)};",
        "  end",
        "endmodule",
        "",
    )
    return text + "\n" + "\n".join(lines)


def _inputs(lanes: Lanes) -> tuple[str, ...]:
    """Return the input registers, unless the lanes have them."""
    made = lane(lanes.weight, lanes.activation, lanes.style, lanes.family)
    kind, rule = (
        ("wire", "assign {0}_held = {0};") if made.inputs_held else ("reg", "always @(posedge clk) {0}_held <= {0};")
    )
    sizes = (("x", lanes.simd * lanes.activation.bits), ("w", lanes.simd * lanes.weight.bits))
    return tuple(f"  {kind} [{size - 1}:0] {port}_held; {rule.format(port)}" for port, size in sizes)


def _addend(lanes: Lanes, name: str) -> tuple[Bits, str, tuple[str, ...], str | None]:
    """Return what the accumulator adds: its bits, its modules, the lines that make it, and its carry."""
    if lanes.simd > 1:
        made_of = f"  {name} lanes (.clk(clk), .x(x_held), .w(w_held), .sum(dot));"
        wires = (f"  wire [{lanes.sum_bits - 1}:0] dot;", made_of)
        return bits("dot", lanes.sum_bits), verilog(lanes, name), wires, None
    made = lane(lanes.weight, lanes.activation, lanes.style, lanes.family)
    port = ", .carry(carry)" if made.carry else ""
    lines: tuple[str, ...] = (
        f"  wire [{len(made.value) - 1}:0] dot;",
        f"  {name} lane (.clk(clk), .x(x_held), .w(w_held), .p(dot){port});",
    )
    if made.carry:
        lines = ("  wire carry;", *lines)
    text = lane_module(made, lanes.weight, lanes.activation, name)
    return bits("dot", len(made.value)), text, lines, "carry" if made.carry else None


def _ports(lanes: Lanes, width: int, module_name: str) -> tuple[str, ...]:
    return (
        f"// Sums of products {lanes.weight.name} * {lanes.activation.name}, {lanes.simd} a clock.",
        f"module {module_name} (",
        "    input wire clk,",
        "    input wire en,",
        "    input wire clr,",
        f"    input wire [{lanes.simd * lanes.activation.bits - 1}:0] x,",
        f"    input wire [{lanes.simd * lanes.weight.bits - 1}:0] w,",
        f"    output reg signed [{width - 1}:0] acc",
        ");",
    )
