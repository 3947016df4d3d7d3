"""Every pair of codes through one lane, for every format, in one Verilated binary a test."""

from __future__ import annotations

import shutil

import pytest

from export.rtl.lanes.lanes import Lanes
from quant.formats import INTEGERS, MINIFLOATS, OCP_FORMATS, Format, find_format
from tests.rtl_lanes import all_pairs, expected, lane_unit

pytestmark = pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")

Case = tuple[Format, Format, str, str]
NARROW = tuple(fmt for fmt in (*INTEGERS, *MINIFLOATS, *OCP_FORMATS) if fmt.bits <= 8)
MIXED = (
    ("int4", "int8"),
    ("int8", "int4"),
    ("int8", "uint8"),
    ("uint8", "int8"),
    ("int3", "uint6"),
    ("e2m1", "int8"),
    ("int8", "e2m1"),
    ("e4m3", "int8"),
    ("int8", "e4m3"),
    ("e4m3", "uint8"),
    ("int4", "e1m2"),
    ("e4m3", "e2m1"),
    ("e2m1", "e4m3"),
    ("e5m2", "e4m3"),
    ("e1m2", "e4m3"),
    ("e3m0", "e2m1"),
    ("e5m2ocp", "e4m3fn"),
)


def _check(cases: list[Case], folder) -> None:
    units = [
        lane_unit(Lanes(w, a, 1, style, family), f"unit{index}") for index, (w, a, style, family) in enumerate(cases)
    ]
    for unit, case, got in zip(units, cases, all_pairs(units, folder), strict=True):
        values, real = expected(unit)
        assert (got[real] == values[real]).all(), case
        assert len(set(got[real].tolist())) > 4, case


def test_products_of_small_codes_are_exact(tmp_path):
    names = (("e2m1", "e2m1"), ("int3", "int3"), ("int4", "int4"), ("e3m1", "e3m1"), ("e2m1", "int6"), ("e3m2", "e2m0"))
    pairs = [(find_format(w), find_format(a)) for w, a in names]
    _check([(*pair, "lut", "xc") for pair in pairs] + [(*pairs[0], "dsp", "xc")], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("style", "family"), [("lut", "xc"), ("lut", "ecp5"), ("dsp", "ice40")])
def test_every_product_of_every_format_is_exact(style, family, tmp_path):
    pairs = [(fmt, fmt) for fmt in NARROW] + [(find_format(w), find_format(a)) for w, a in MIXED]
    _check([(*pair, style, family) for pair in pairs], tmp_path)
