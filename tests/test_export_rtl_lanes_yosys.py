"""Yosys proves lanes of minifloats equal to a table over both codes, for every input at once (SAT)."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from export.rtl.lanes.lanes import Lanes, verilog
from quant.formats import MINIFLOATS, Format, find_format
from tests.rtl_lanes import Unit, expected

pytestmark = pytest.mark.skipif(shutil.which("yosys") is None, reason="yosys is not installed (apt-get install yosys)")

#: Registers as wires: the pipeline as one function.
_WIRES = """
(* techmap_celltype = "$dff" *)
module wires (CLK, D, Q);
  parameter WIDTH = 1;
  parameter CLK_POLARITY = 1;
  input CLK;
  input [WIDTH-1:0] D;
  output [WIDTH-1:0] Q;
  assign Q = D;
endmodule
"""
SMALL = tuple((w, a) for w in MINIFLOATS for a in MINIFLOATS if w.bits + a.bits <= 8)


def _tabled(lanes: Lanes, wrong: bool) -> str:
    """Return a module with one case for each pair of codes; `wrong` spoils the last."""
    unit = Unit("dot", lanes.weight, lanes.activation, 0, lanes.sum_bits, "")
    values, _ = expected(unit)
    if wrong:
        values[-1] += 1
    mask = (1 << lanes.sum_bits) - 1
    inputs = lanes.weight.bits + lanes.activation.bits
    rows = "\n".join(f"    {inputs}'d{at}: sum = {lanes.sum_bits}'h{int(v) & mask:x};" for at, v in enumerate(values))
    return f"""
module tabled (input wire clk, input wire [{lanes.activation.bits - 1}:0] x, input wire [{lanes.weight.bits - 1}:0] w,
               output reg [{lanes.sum_bits - 1}:0] sum);
  always @(*) case ({{w, x}})
{rows}
  endcase
endmodule
"""


def _prove(pairs: list[tuple[Format, Format]], style: str, family: str, folder, wrong: bool = False) -> str:
    """Return what yosys says about every pair's equivalence; it fails at the first that is not proven."""
    (folder / "wires.v").write_text(_WIRES)
    script = []
    for index, (weight, activation) in enumerate(pairs):
        lanes = Lanes(weight, activation, 1, style, family)
        (folder / f"pair{index}.v").write_text(verilog(lanes, "dot") + _tabled(lanes, wrong))
        script.append(
            f"read_verilog pair{index}.v; proc -norom; flatten; techmap -map wires.v; opt -full; "
            "miter -equiv -flatten dot tabled miter; select -assert-none miter/t:$dff; opt -full miter; "
            "sat -verify -prove trigger 0 miter; design -reset"
        )
    (folder / "prove.ys").write_text("\n".join(script))
    command = ["yosys", "-s", "prove.ys"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=900, check=False)
    if not wrong:
        assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
        assert done.stdout.count("SAT proof finished - no model found: SUCCESS!") == len(pairs)
    return done.stdout + done.stderr


@pytest.mark.parametrize(("style", "family"), [("lut", "xc"), ("dsp", "ecp5")])
def test_small_minifloat_products_equal_their_table(style, family, tmp_path):
    _prove(list(SMALL), style, family, tmp_path)


@pytest.mark.parametrize("name", ["e2m1", "e3m0"])
def test_a_wrong_table_is_not_proven(name, tmp_path):
    fmt = find_format(name)
    said = _prove([(fmt, fmt)], "dsp", "xc", tmp_path, wrong=True)
    assert "Called with -verify and proof did fail!" in said


@pytest.mark.slow
@pytest.mark.parametrize("name", ["e2m2", "e3m1", "e3m2", "e2m3", "e4m1"])
@pytest.mark.parametrize("family", ["xc", "ecp5"])
def test_wider_minifloat_products_equal_their_table(name, family, tmp_path):
    fmt = find_format(name)
    _prove([(fmt, fmt)], "lut", family, tmp_path)
