"""Verilog expressions about codes: order and value of every code of many formats."""

from __future__ import annotations

import numpy as np

from export.rtl.bounds import signed_bits
from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.decode import decode, ordinal_less
from quant.formats import find_format
from tests.rtl_pipes import Drive, lint, needs_icarus, needs_verilator, signed, simulate

NAMES = ("int3", "int8", "uint4", "uint8", "int12", "e1m2", "e2m0", "e2m1", "e3m2", "e4m3", "e4m3fn", "e5m2", "e5m2ocp")


def _pipe(index, fmt):
    """One bit of comparison in front of the units of the first code; operands are a name and a part of a word."""
    n, width = fmt.bits, _width(fmt)
    less, units = ordinal_less(fmt, "in_a", f"word[{n} +: {n}]"), decode(fmt, f"word[0 +: {n}]", width)
    return Pipe(
        f"p{index}",
        1,
        f"""
module p{index} (
    input wire clk, input wire rst, input wire in_valid, input wire [{n - 1}:0] in_a, input wire [{n - 1}:0] in_b,
    output reg out_valid, output reg [{width}:0] out_data
);
  wire [{2 * n - 1}:0] word = {{in_b, in_a}};
  wire [{width - 1}:0] units = {units};
  always @(posedge clk) begin
    out_valid <= in_valid && !rst;
    out_data <= {{{less}, units}};
  end
endmodule
""",
    )


def _width(fmt):
    return signed_bits(fmt.units_of_ordinal(fmt.min_ordinal), fmt.max_units)


def _drives(rng):
    drives = []
    for index, name in enumerate(NAMES):
        fmt = find_format(name)
        every = fmt.from_ordinals(np.array(fmt.ordinals()))
        codes = rng.permutation(np.concatenate([every, rng.choice(every, 1500)]))[:, None]
        other = np.where(rng.random(codes.shape) < 0.1, codes, rng.permutation(codes))
        ports = (("in_a", fmt.bits, codes), ("in_b", fmt.bits, other))
        drives.append(Drive(_pipe(index, fmt), ports, _width(fmt) + 1, 1))
    return drives


@needs_icarus
def test_order_and_value_of_codes(tmp_path):
    drives = _drives(np.random.default_rng(1))
    for name, drive, got in zip(NAMES, drives, simulate(tmp_path, drives), strict=True):
        fmt, (_, _, first), (_, _, second) = find_format(name), *drive.ports
        less, units = got >> _width(fmt), signed(got & ((1 << _width(fmt)) - 1), _width(fmt))
        expected = fmt.to_ordinals(first) < fmt.to_ordinals(second)
        assert np.array_equal(less, expected), name
        assert np.array_equal(units, fmt.to_units(first)), name
        assert len(np.unique(units)) == len(fmt.ordinals()), name
        assert 0 < expected.mean() < 1


@needs_verilator
def test_expressions_are_clean(tmp_path):
    assert lint(tmp_path, [drive.pipe for drive in _drives(np.random.default_rng(1))]) == ""


def test_operands_are_names_or_parts():
    fmt = find_format("e2m1")
    assert "data[lane*4+3]" in ordinal_less(fmt, "data[lane*4 +: 4]", "old")
