"""Every code of every format of at most 8 bits, against the formulas in exact fractions and against other libraries."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import gfloat
import gfloat.formats as gf
import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.errors import QuantError
from quant.formats import FORMATS, INT8, INTEGERS, MINIFLOATS, OCP_FORMATS, UINT8, Format, find_format
from quant.rounding import encode, quantise
from tests.exact import axis, code_value, layout, nearest

SMALL = tuple(fmt for fmt in FORMATS if fmt.bits <= 8)
FLOATS = MINIFLOATS + OCP_FORMATS


def names(fmt: object) -> str:
    """Name a parametrised case after its format."""
    return fmt.name if isinstance(fmt, Format) else str(fmt)


def float_of(value: Fraction) -> float:
    """Return a fraction that float64 holds exactly."""
    assert Fraction(float(value)) == value
    return float(value)


def test_the_table_holds_what_it_promises():
    assert {fmt.name for fmt in INTEGERS} == {f"{u}int{bits}" for u in ("", "u") for bits in range(2, 17)}
    every = {f"e{e}m{bits - 1 - e}" for bits in range(3, 9) for e in range(1, bits)}
    assert {fmt.name for fmt in MINIFLOATS} == every
    assert len(every) == 27
    assert len({fmt.name for fmt in FORMATS}) == len(FORMATS) == 30 + 27 + 2
    assert all(1 + sum(layout(fmt.name)[:2]) == fmt.bits for fmt in FLOATS)


@pytest.mark.parametrize("fmt", SMALL, ids=names)
def test_every_code_decodes_by_the_formula(fmt):
    for code in fmt.codes():
        value = code_value(fmt, code)
        codes = np.array([code])
        if value is None:
            with pytest.raises(QuantError, match=f"{code} is not the code of a number in format {fmt.name}"):
                fmt.decode(codes)
        else:
            assert fmt.decode(codes)[0] == float_of(value)
            assert int(fmt.to_units(codes)[0]) == value / Fraction(fmt.unit)


@pytest.mark.parametrize("fmt", SMALL, ids=names)
def test_every_value_encodes_to_its_code(fmt):
    table = axis(fmt)
    codes = encode(fmt, np.array([float_of(value) for value, _ in table]))
    assert codes.dtype == fmt.dtype
    assert codes.tolist() == [code for _, code in table]


@pytest.mark.parametrize("fmt", SMALL, ids=names)
def test_rounding_is_brute_force_nearest_ties_to_even(fmt):
    table = axis(fmt)
    probes = []
    for (low, _), (high, _) in pairwise(table):
        step = high - low
        probes += [low + step * Fraction(k, 64) for k in (1, 16, 31, 32, 33, 48, 63)]
    codes = encode(fmt, np.array([float_of(value) for value in probes]))
    assert codes.tolist() == [nearest(table, value) for value in probes]


@pytest.mark.parametrize("fmt", [f for f in FLOATS if f.mantissa > 0], ids=names)
def test_ties_go_to_the_even_code(fmt):
    table = axis(fmt)
    ties = [(low[0] + high[0]) / 2 for low, high in pairwise(table)]
    codes = encode(fmt, np.array([float_of(tie) for tie in ties]))
    assert (codes % 2 == 0).all()


@pytest.mark.parametrize("fmt", [f for f in FLOATS if f.mantissa == 0], ids=names)
def test_without_mantissa_ties_go_to_the_larger_power_of_two(fmt):
    values = [value for value, _ in axis(fmt) if value > 0]
    ties = [float_of(value * Fraction(3, 2)) for value in values[:-1]]
    assert quantise(fmt, np.array(ties)).tolist() == [float_of(value) for value in values[1:]]
    assert quantise(fmt, np.array([float_of(values[0] / 2)])).tolist() == [0.0]


@pytest.mark.parametrize("fmt", FORMATS, ids=names)
def test_rounding_is_monotone_and_saturates(fmt):
    top, bottom = max(fmt.max, 1.0), min(fmt.min, -1.0)
    rng = np.random.default_rng(0)
    spread = np.exp2(rng.uniform(np.log2(fmt.unit) - 2, np.log2(top) + 2, 500))
    values = np.sort(np.concatenate([spread, -spread, [bottom * 2, top * 2, 0.0]]))
    rounded = quantise(fmt, values)
    assert (np.diff(rounded) >= 0).all()
    assert (rounded[0], rounded[-1]) == (fmt.min, fmt.max)
    assert quantise(fmt, np.array([np.inf, -np.inf, 1e300, -1e300])).tolist() == [fmt.max, fmt.min, fmt.max, fmt.min]
    assert len(set(rounded.tolist())) > 2


@pytest.mark.parametrize("fmt", FORMATS, ids=names)
def test_nan_is_refused_and_minus_zero_is_zero(fmt):
    with pytest.raises(QuantError, match=f"cannot quantise NaN to {fmt.name}"):
        encode(fmt, np.array([0.0, np.nan]))
    codes = encode(fmt, np.array([-0.0, -fmt.unit / 4]))
    assert codes.tolist() == [0, 0]
    if fmt.is_minifloat:
        assert fmt.decode(np.array([1 << (fmt.bits - 1)])).tolist() == [0.0]
        assert fmt.to_ordinals(np.array([1 << (fmt.bits - 1)])).tolist() == [0]


@pytest.mark.parametrize("fmt", FORMATS, ids=names)
def test_limits_ordinals_and_dtype(fmt):
    ordinals = np.array(fmt.ordinals())
    codes = fmt.from_ordinals(ordinals)
    assert codes.dtype == fmt.dtype
    assert np.array_equal(fmt.to_ordinals(codes), ordinals)
    values = fmt.decode(codes)
    assert (np.diff(values) > 0).all()
    assert (values[0], values[-1]) == (fmt.min, fmt.max)
    assert min(abs(v) for v in values if v) == fmt.unit
    assert max(abs(int(u)) for u in fmt.to_units(codes)).bit_length() == fmt.magnitude_bits


@pytest.mark.parametrize("fmt", FORMATS, ids=names)
def test_codes_outside_the_format_are_refused(fmt):
    beyond = [1 << fmt.bits, -1] if fmt.is_minifloat else [fmt.max_ordinal + 1, fmt.min_ordinal - 1]
    for code in beyond:
        with pytest.raises(QuantError, match=f"{code} is not the code"):
            fmt.to_ordinals(np.array([0, code]))


@settings(max_examples=300, deadline=None)
@given(fmt=st.sampled_from(SMALL), value=st.floats(allow_nan=False, allow_infinity=False))
def test_any_float_rounds_to_the_nearest_value(fmt, value):
    assert encode(fmt, np.array([value])).tolist() == [nearest(axis(fmt), Fraction(value))]


ML_DTYPES = (
    ("e4m3fn", ml_dtypes.float8_e4m3fn),
    ("e5m2ocp", ml_dtypes.float8_e5m2),
    ("e2m1", ml_dtypes.float4_e2m1fn),
    ("e2m3", ml_dtypes.float6_e2m3fn),
    ("e3m2", ml_dtypes.float6_e3m2fn),
)


@pytest.mark.parametrize(("name", "dtype"), ML_DTYPES, ids=[name for name, _ in ML_DTYPES])
def test_ml_dtypes_agrees(name, dtype):
    fmt = find_format(name)
    codes = np.arange(1 << fmt.bits, dtype=np.uint8)
    theirs = codes.view(dtype).astype(np.float64)
    numbers = np.isfinite(theirs)
    assert np.array_equal(fmt.decode(codes[numbers]), theirs[numbers])
    for code in codes[~numbers]:
        with pytest.raises(QuantError):
            fmt.decode(np.array([code]))
    values = np.random.default_rng(0).uniform(fmt.min, fmt.max, 2000)
    values = np.concatenate([values, values / 100, theirs[numbers], (theirs[numbers][1:] + theirs[numbers][:-1]) / 2])
    assert np.array_equal(quantise(fmt, values), values.astype(dtype).astype(np.float64))


def gfloat_info(fmt: Format) -> gfloat.FormatInfo:
    """Describe a format to gfloat: its own description where it has one, else all-finite with our layout."""
    known = {
        "e4m3fn": gf.format_info_ocp_e4m3,
        "e5m2ocp": gf.format_info_ocp_e5m2,
        "e2m1": gf.format_info_ocp_e2m1,
        "e2m3": gf.format_info_ocp_e2m3,
        "e3m2": gf.format_info_ocp_e3m2,
    }
    return known.get(fmt.name) or gfloat.FormatInfo(
        fmt.name,
        fmt.bits,
        fmt.mantissa + 1,
        bias=2 ** (fmt.exponent - 1) - 1,
        is_signed=True,
        domain=gfloat.Domain.Finite,
        has_nz=True,
        num_high_nans=0,
        has_subnormals=True,
        is_twos_complement=False,
    )


@pytest.mark.parametrize("fmt", FLOATS, ids=names)
def test_gfloat_agrees(fmt):
    info = gfloat_info(fmt)
    finite = [code for code in fmt.codes() if np.isfinite(gfloat.decode_float(info, code).fval)]
    theirs = [gfloat.decode_float(info, code).fval for code in finite]
    assert fmt.decode(np.array(finite)).tolist() == theirs
    assert len(finite) == (1 << fmt.bits) - 2 * fmt.reserved
    rng = np.random.default_rng(1)
    values = np.concatenate([rng.uniform(fmt.min, fmt.max, 60), rng.normal(0, 3 * fmt.unit, 60)])
    expected = [gfloat.round_float(info, float(value), sat=True) for value in values]
    assert quantise(fmt, values).tolist() == expected


def test_known_formats():
    assert (INT8.min, INT8.max, UINT8.max) == (-128, 127, 255)
    assert (find_format("e4m3").max, find_format("e4m3fn").max) == (480.0, 448.0)
    assert (find_format("e5m2").max, find_format("e5m2ocp").max) == (114688.0, 57344.0)
    assert find_format("e2m1").max == 6.0
    assert find_format("e4m3").unit == 2.0**-9
    with pytest.raises(QuantError, match=r"unknown number format 'e4m3f'.*Did you mean 'e4m3fn'"):
        find_format("e4m3f")
