"""Lanes as a simulator runs them fast: the same ports, latency and sums as `export.rtl.lanes`, from multiplications.

A simulation of a whole network spends its time in the products. Built with EDGEMILL_FAST it takes these instead of the
gates that are synthesised; that both agree is proven for every pair of codes (`tests/test_export_rtl_lanes*`), and
networks are simulated with the gates, too.
"""

from __future__ import annotations

from export.rtl.lanes.lanes import Lanes
from export.rtl.stream.pipes.decode import decode
from quant.formats import Format


def fast_lanes(lanes: Lanes, module: str) -> str:
    """Return a module with the name, ports and latency of `lanes.verilog(lanes, module)`."""
    kinds = ("0", "1") if lanes.style == "dsp_pair" else ("",)
    x_bits, w_bits = lanes.simd * lanes.activation.bits, lanes.simd * lanes.weight.bits
    ports = ["input wire clk", f"input wire [{x_bits - 1}:0] x"]
    ports += [f"input wire [{w_bits - 1}:0] w{kind}" for kind in kinds]
    ports += [f"output wire signed [{lanes.sum_bits - 1}:0] sum{kind}" for kind in kinds]
    body = [line for kind in kinds for line in _sum(lanes, kind)]
    head = f"module {module} (\n    " + ",\n    ".join(ports) + "\n);"
    return "\n".join((head, *body, "endmodule", ""))


def _sum(lanes: Lanes, kind: str) -> list[str]:
    bits, last = lanes.sum_bits, lanes.latency - 1
    lines = []
    for lane in range(lanes.simd):
        for port, name, fmt in (
            ("x", f"x{kind}_{lane}", lanes.activation),
            (f"w{kind}", f"w{kind}_{lane}", lanes.weight),
        ):
            lines += _operand(port, name, fmt, lane, bits)
    terms = " + ".join(f"x{kind}_{lane}_value * w{kind}_{lane}_value" for lane in range(lanes.simd))
    lines += [
        f"  wire signed [{bits - 1}:0] total{kind} = {terms};",
        f"  reg signed [{bits - 1}:0] line{kind}[0:{last}];",
        f"  integer i{kind};",
        "  always @(posedge clk) begin",
        f"    line{kind}[0] <= total{kind};",
        f"    for (i{kind} = 1; i{kind} <= {last}; i{kind} = i{kind} + 1)",
        f"      line{kind}[i{kind}] <= line{kind}[i{kind}-1];",
        "  end",
        f"  assign sum{kind} = line{kind}[{last}];",
    ]
    return lines


def _operand(port: str, name: str, fmt: Format, lane: int, bits: int) -> list[str]:
    """Return the wires of one code and of its value in units, as wide as the sum."""
    code = f"{name}_code"
    return [
        f"  wire [{fmt.bits - 1}:0] {code} = {port}[{lane * fmt.bits} +: {fmt.bits}];",
        f"  wire signed [{bits - 1}:0] {name}_value = {decode(fmt, code, bits)};",
    ]
