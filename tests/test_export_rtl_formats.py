"""The whole toy network in Verilator, bit for bit, in many formats."""

from __future__ import annotations

import pytest

from quant.formats import find_format
from tests.rtl import check_core, needs_verilator
from tests.toys import toy_graph

PAIRS = (
    ("int8", "int8"),
    ("e4m3", "e4m3"),
    ("int8", "int4"),
    ("uint8", "int8"),
    ("int4", "int2"),
    ("e2m1", "e2m1"),
    ("e3m2", "e2m3"),
    ("e4m3fn", "e4m3fn"),
    ("e4m3", "int8"),
)


@needs_verilator
@pytest.mark.parametrize(("act", "weight"), PAIRS)
def test_toy_network_is_bit_exact(act, weight, tmp_path):
    check_core(toy_graph(find_format(act), find_format(weight), seed=3), tmp_path, labels=True)
