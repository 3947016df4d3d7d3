"""The DSP block that yosys gets by name for ECP5, simulated with a model of it written from its data sheet."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest

from export.rtl.lanes.block import CLOCKS
from export.rtl.lanes.lanes import Lanes, verilog
from quant.formats import find_format
from tests.rtl_lanes import pack, random_codes, simulate

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed")
_STAGES = ("INPUTA", "INPUTB", "INPUTC", "PIPELINE", "OUTPUT")


def model(spoilt: bool = False) -> str:
    """Return MULT18X18D as FPGA-TN-02205 draws it: each register is there when its clock is not NONE.

    `spoilt` leaves out the register in the middle.
    """
    pins = [f"{port}{index}" for port in "ABC" for index in range(18)]
    outs = [f"P{index}" for index in range(36)]
    parameters = ", ".join(f'REG_{stage}_CLK = "NONE"' for stage in _STAGES)
    a, b = (f"{{{', '.join(f'{port}{index}' for index in reversed(range(18)))}}}" for port in "AB")
    middle = "product" if spoilt else 'REG_PIPELINE_CLK == "NONE" ? product : inner'
    return f"""
module MULT18X18D #(parameter {parameters}) (
  input {", ".join(pins)}, input SIGNEDA, SIGNEDB, SOURCEA, SOURCEB, CLK0, CE0, RST0, output {", ".join(outs)});
  wire signed [18:0] a = {{SIGNEDA & A17, {a}}}, b = {{SIGNEDB & B17, {b}}};
  reg signed [18:0] a_held, b_held;
  wire signed [18:0] a_in = REG_INPUTA_CLK == "NONE" ? a : a_held, b_in = REG_INPUTB_CLK == "NONE" ? b : b_held;
  wire signed [37:0] product = a_in * b_in;
  reg signed [37:0] inner, outer;
  wire signed [37:0] piped = {middle};
  always @(posedge CLK0)
    if (RST0) begin
      a_held <= 0; b_held <= 0; inner <= 0; outer <= 0;
    end else if (CE0) begin
      a_held <= a; b_held <= b; inner <= product; outer <= piped;
    end
  wire signed [37:0] shown = REG_OUTPUT_CLK == "NONE" ? piped : outer;
  assign {{{", ".join(reversed(outs))}}} = shown[35:0];
endmodule
"""


def _sums(lanes: Lanes, text: str) -> tuple[list[int], list[int]]:
    """Return the simulated sums, from the clock on in which the first one comes, and the exact ones."""
    clocks = 200
    x, w = (random_codes(fmt, (clocks, lanes.simd), seed) for seed, fmt in enumerate((lanes.activation, lanes.weight)))
    for row, codes in enumerate(((0, 0), (0, 1), (1, 0), (1, 1))):
        x[row], w[row] = (_end(fmt, side) for fmt, side in zip((lanes.activation, lanes.weight), codes, strict=True))
    inputs = {"x": (lanes.simd * lanes.activation.bits, pack(x, lanes.activation.bits))}
    inputs |= {"w": (lanes.simd * lanes.weight.bits, pack(w, lanes.weight.bits))}
    got = simulate(text, "dot", inputs, {"sum": lanes.sum_bits})[:, 0]
    exact = (x.astype(np.int64) * w.astype(np.int64)).sum(axis=1)
    return got[lanes.latency :].tolist(), exact[: clocks - lanes.latency].tolist()


def _end(fmt, side: int) -> int:
    return (fmt.min_ordinal, fmt.max_ordinal)[side]


@needs_icarus
@pytest.mark.parametrize(
    "pair", ["int8 int8", "int8 uint8", "uint8 int4", "uint16 uint16", "int16 int16", "int2 uint8", "int3 int3"]
)
def test_the_block_by_name_multiplies_as_the_operator_does(pair):
    weight, activation = map(find_format, pair.split())
    lanes = Lanes(weight, activation, 4, "dsp", "ecp5")
    text = verilog(lanes, "dot")
    for source in ("`define YOSYS\n" + model() + text, text):
        got, exact = _sums(lanes, source)
        assert got == exact
        assert len(set(exact)) > 20
    assert lanes.latency == CLOCKS + 2


@needs_icarus
def test_a_wrong_block_is_noticed():
    lanes = Lanes(find_format("int8"), find_format("int8"), 4, "dsp", "ecp5")
    got, exact = _sums(lanes, "`define YOSYS\n" + model(spoilt=True) + verilog(lanes, "dot"))
    assert got != exact


def test_only_ecp5_has_the_block_by_name():
    for family in ("xc", "ice40"):
        assert "MULT18X18D" not in verilog(Lanes(find_format("int8"), find_format("int8"), 2, "dsp", family), "dot")
    text = verilog(Lanes(find_format("int8"), find_format("int8"), 2, "dsp", "ecp5"), "dot")
    assert re.findall(r"REG_(\w+)_CLK\(\"CLK0\"\)", text) == ["INPUTA", "INPUTB", "PIPELINE", "OUTPUT"]
