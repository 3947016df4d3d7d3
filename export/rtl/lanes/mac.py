"""A multiply-accumulate unit around the lanes: input registers, dot product, accumulator."""

from __future__ import annotations

from export.rtl.lanes.lanes import Lanes, verilog
from export.rtl.lanes.vector import add, bits, extend
from quant.accumulator import smallest_bits


def mac_bits(lanes: Lanes, terms: int) -> int:
    """Return the width of an accumulator that no sum of `terms` products overflows."""
    return smallest_bits(lanes.weight, lanes.activation, terms)


def mac_latency(lanes: Lanes) -> int:
    """Return the clocks from codes to the accumulator that holds their sum."""
    return lanes.latency + 2


def mac_verilog(lanes: Lanes, terms: int, module_name: str) -> str:
    """Return the unit and all it instantiates.

    Ports: `clk`; `en` says that `x` and `w` (as in `verilog`) hold codes, `clr` that they begin a new sum; `acc`,
    signed, `mac_latency` clocks later. At most `terms` products make one sum.
    """
    width, last = mac_bits(lanes, terms), lanes.latency
    total = extend(bits("dot", lanes.sum_bits), width, True)
    kept = tuple(f"({bit} & ~begins[{last}])" for bit in bits("acc", width))
    lines = (
        *_ports(lanes, width, module_name),
        f"  reg [{lanes.simd * lanes.activation.bits - 1}:0] x_held;",
        f"  reg [{lanes.simd * lanes.weight.bits - 1}:0] w_held;",
        f"  reg [{last}:0] counts, begins;",
        f"  wire [{lanes.sum_bits - 1}:0] dot;",
        f"  {module_name}_dot lanes (.clk(clk), .x(x_held), .w(w_held), .sum(dot));",
        *add("next", total, kept).lines,
        "  always @(posedge clk) begin",
        "    x_held <= x;",
        "    w_held <= w;",
        f"    counts <= {{counts[{last - 1}:0], en}};",
        f"    begins <= {{begins[{last - 1}:0], clr}};",
        f"    if (counts[{last}]) acc <= next;",
        "  end",
        "endmodule",
        "",
    )
    return verilog(lanes, f"{module_name}_dot") + "\n" + "\n".join(lines)


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
