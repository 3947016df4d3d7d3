"""Lanes whose integer product is one DSP block, with registers before it, in it and behind it."""

from __future__ import annotations

from export.rtl.lanes.parts import parts
from export.rtl.lanes.shift import INPUTS
from export.rtl.lanes.vector import Bits, bits, concat, extend, register
from quant.formats import Format

#: Clocks of a product.
CLOCKS = 3
#: Bits of the signed inputs and of the product of a MULT18X18D.
_SIDE, _PRODUCT = 18, 36


def block(weight: Format, activation: Format, width: int, family: str) -> tuple[tuple[str, ...], Bits]:
    """Return the lines and the product, `width` bits, of integer codes `x` and `w`, `CLOCKS` later.

    Tools move the registers into the block. yosys does so neither for ECP5, where it is given the block by name, nor
    for iCE40, where they only stand beside the block; there one register for all lanes that share a code would stand
    far from most of them, so each keeps its own.
    """
    lines, value = _operator(weight, activation, width, family)
    if family != "ecp5":
        return lines, value
    named = (
        "`ifdef YOSYS",
        f"  wire [{_PRODUCT - 1}:0] whole;",
        *_primitive(weight, activation),
        f"  wire [{width - 1}:0] product_out = whole[{width - 1}:0];",
        "`else",
        *lines,
        f"  wire [{width - 1}:0] product_out = {concat(value)};",
        "`endif",
    )
    return named, bits("product_out", width)


def _operator(weight: Format, activation: Format, width: int, family: str) -> tuple[tuple[str, ...], Bits]:
    """Return the product by the operator `*`."""
    keep = "(* keep *) " if family == "ice40" else ""
    lines = []
    for port, fmt in (("x", activation), ("w", weight)):
        lines += [f"  {keep}reg [{fmt.bits - 1}:0] {port}_near;", f"  always @(posedge clk) {port}_near <= {port};"]
    near = bits("x_near", activation.bits), bits("w_near", weight.bits)
    made = parts(weight, activation, *near, "dsp", INPUTS[family])
    product = register("product_held", made.product)
    out = register("product_near", product.value)
    lines += [*made.lines, *product.lines, *out.lines]
    return tuple(lines), extend(out.value, width, made.signed)


def _primitive(weight: Format, activation: Format) -> tuple[str, ...]:
    """Return a MULT18X18D with its registers for inputs, product and output (Lattice FPGA-TN-02205)."""
    stages = ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT")
    clocked = ", ".join(f'.REG_{stage}_CLK("CLK0")' for stage in stages)
    pins = [
        _pins("A", extend(bits("x", activation.bits), _SIDE, activation.signed)),
        _pins("B", extend(bits("w", weight.bits), _SIDE, weight.signed)),
        _pins("C", ("1'b0",) * _SIDE),
        _pins("P", bits("whole", _PRODUCT)),
        ".SIGNEDA(1'b1), .SIGNEDB(1'b1), .SOURCEA(1'b0), .SOURCEB(1'b0), .CLK0(clk), .CE0(1'b1), .RST0(1'b0)",
    ]
    return (f"  MULT18X18D #({clocked}) multiplier (", ",\n".join(f"      {line}" for line in pins), "  );")


def _pins(port: str, value: Bits) -> str:
    return ", ".join(f".{port}{index}({bit})" for index, bit in enumerate(value))
