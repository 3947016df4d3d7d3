"""Products as a simulator multiplies them are those of the gates, for every pair of codes."""

from __future__ import annotations

import numpy as np
import pytest

from export.rtl.lanes.lanes import Lanes, verilog
from export.rtl.stream.fast_lanes import fast_lanes
from quant.formats import find_format
from tests.rtl_lanes import Unit, all_pairs, expected
from tests.stream_cores import needs_verilator

#: Weights, activations, style, family.
PAIRS = (
    ("int8", "int8", "lut", "xc"),
    ("int8", "uint8", "dsp", "ecp5"),
    ("e2m1", "int8", "lut", "ice40"),
    ("e4m3", "e4m3", "lut", "xc"),
    ("e4m3fn", "e5m2ocp", "dsp", "ecp5"),
    ("e2m1", "e2m1", "lut", "ecp5"),
    ("int4", "int4", "lut", "xc"),
    ("e3m0", "e1m2", "lut", "ice40"),
    ("int2", "int6", "dsp", "xc"),
)


@pytest.fixture(scope="module")
def sums(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[Unit, np.ndarray, np.ndarray]]:
    units = []
    for index, (weight, activation, style, family) in enumerate(PAIRS):
        lanes = Lanes(find_format(weight), find_format(activation), 1, style, family)
        ends = (lanes.weight, lanes.activation, lanes.latency, lanes.sum_bits)
        units += [Unit(name, *ends, make(lanes, name)) for name, make in _kinds(index)]
    found = all_pairs(units, tmp_path_factory.mktemp("lanes"))
    return list(zip(units[::2], found[::2], found[1::2], strict=True))


def _kinds(index: int):
    return ((f"gates{index}", verilog), (f"fast{index}", fast_lanes))


@needs_verilator
@pytest.mark.parametrize("index", range(len(PAIRS)), ids=lambda index: "-".join(PAIRS[index]))
def test_fast_lanes_are_the_gates(index: int, sums) -> None:
    unit, gates, fast = sums[index]
    products, real = expected(unit)
    assert len(set(products)) > 2 and real.sum() > 0.8 * len(real)
    assert np.array_equal(gates[real], fast[real])
    assert np.array_equal(gates[real], products[real])
