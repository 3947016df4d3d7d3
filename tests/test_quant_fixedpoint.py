"""The rules between accumulators and codes, against exact fractions and the published formulas in Python integers."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quant.errors import QuantError
from quant.fixedpoint import (
    WIDE_LIMIT,
    Multiplier,
    bit_length,
    divide_half_away,
    multiply_q31,
    q31_multiplier,
    round_to_minifloat,
    wide_multiplier,
)
from quant.formats import MINIFLOATS, OCP_FORMATS, Format
from quant.program import mean_multiplier
from tests.exact import axis, nearest, power
from tests.naive import tflite_multiply

FLOATS = MINIFLOATS + OCP_FORMATS
INT32 = st.integers(-(1 << 31), (1 << 31) - 1)


def ours(acc: int, mantissa: int, shift: int) -> int:
    """One value through the array function."""
    return int(multiply_q31(np.array([acc]), np.array([mantissa]), np.array([shift]))[0])


@settings(max_examples=1000, deadline=None)
@given(acc=INT32, mantissa=st.integers(1 << 30, (1 << 31) - 1), shift=st.integers(-31, 0))
@example(acc=-1, mantissa=1 << 30, shift=0)
@example(acc=1, mantissa=1 << 30, shift=0)
@example(acc=-3, mantissa=1 << 30, shift=-1)
@example(acc=-(1 << 31), mantissa=(1 << 31) - 1, shift=-31)
def test_the_integer_rule_is_tflites(acc, mantissa, shift):
    assert ours(acc, mantissa, shift) == tflite_multiply(acc, mantissa, shift)


@settings(max_examples=500, deadline=None)
@given(data=st.data(), mantissa=st.integers(1 << 30, (1 << 31) - 1), shift=st.integers(1, 30))
def test_the_integer_rule_with_left_shifts_is_tflites(data, mantissa, shift):
    limit = (1 << (31 - shift)) - 1
    acc = data.draw(st.integers(-limit, limit))
    assert ours(acc, mantissa, shift) == tflite_multiply(acc, mantissa, shift)


def test_halves_round_up_first_and_then_away_from_zero():
    halves = [ours(acc, 1 << 30, 0) for acc in (-3, -1, 1, 3)]
    assert halves == [-1, 0, 1, 2]
    assert [ours(acc, 1 << 30, -1) for acc in (-6, -2, 2, 6)] == [-2, -1, 1, 2]


@settings(max_examples=500, deadline=None)
@given(real=st.floats(2.0**-31, 2.0**29, allow_subnormal=False))
def test_q31_multipliers_are_the_nearest(real):
    found = q31_multiplier(real)
    assert (1 << 30) <= found.mantissa < 1 << 31
    step = power(found.exponent - 31)
    assert abs(found.mantissa * step - Fraction(real)) <= step / 2


@settings(max_examples=500, deadline=None)
@given(real=st.floats(1e-200, 1e200, allow_subnormal=False))
def test_wide_multipliers_are_the_nearest(real):
    found = wide_multiplier(real)
    assert (1 << 14) <= found.mantissa < 1 << 15
    step = power(found.exponent)
    assert abs(found.mantissa * step - Fraction(real)) <= step / 2


def test_multipliers_at_the_edges():
    assert q31_multiplier(1 - 2.0**-40) == Multiplier(1 << 30, 1)
    assert wide_multiplier(1 - 2.0**-40) == Multiplier(1 << 14, -14)
    assert q31_multiplier(2.0**-33) == Multiplier(0, 0)
    with pytest.raises(QuantError, match="left shift of 31 bits; at most 30"):
        q31_multiplier(2.0**30)


@pytest.mark.parametrize("split", [q31_multiplier, wide_multiplier])
@pytest.mark.parametrize("real", [0.0, -1.0, math.nan, math.inf])
def test_impossible_multipliers_are_refused(split, real):
    with pytest.raises(QuantError, match="must be positive and finite"):
        split(real)


@settings(max_examples=300, deadline=None)
@given(real=st.floats(1e-6, 100.0), count=st.integers(1, 4096))
def test_the_mean_multiplier_is_the_multiplier_over_the_count(real, count):
    found = mean_multiplier(real, count)
    exact = Fraction(real) / count
    assert abs(found.mantissa * power(found.exponent - 31) / exact - 1) < Fraction(1, 1 << 28)
    assert 0 < found.mantissa < 1 << 31


@settings(max_examples=500, deadline=None)
@given(total=st.integers(-(1 << 40), 1 << 40), count=st.integers(1, 1 << 16))
def test_division_rounds_halves_away_from_zero(total, count):
    exact = math.floor(Fraction(abs(total), count) + Fraction(1, 2))
    assert int(divide_half_away(np.array([total]), np.array([count]))[0]) == (exact if total >= 0 else -exact)


def test_bit_lengths_are_exact():
    edges = [0, 1, (1 << 63) - 1]
    edges += [(1 << k) + d for k in range(1, 63) for d in (-1, 0, 1)]
    assert bit_length(np.array(edges, dtype=np.int64)).tolist() == [value.bit_length() for value in edges]


def rounded(fmt: Format, accs: list[int], mantissas: list[int], exponents: list[int]) -> list[int]:
    """Run the array function and return codes."""
    columns = [np.array(column, dtype=np.int64) for column in (accs, mantissas, exponents)]
    return [int(code) for code in fmt.from_ordinals(round_to_minifloat(fmt, *columns))]


def positive_zero(fmt: Format, code: int) -> int:
    """Return the code with one zero only."""
    return 0 if code == 1 << (fmt.bits - 1) else code


def expected(fmt: Format, accs: list[int], mantissas: list[int], exponents: list[int]) -> list[int]:
    """Round acc * mantissa * 2^exponent units to the nearest value, by search in exact fractions."""
    table = axis(fmt)
    unit = Fraction(fmt.unit)
    exact = [Fraction(a * m) * power(e) * unit for a, m, e in zip(accs, mantissas, exponents, strict=True)]
    return [positive_zero(fmt, nearest(table, value)) for value in exact]


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_the_minifloat_rule_is_brute_force_nearest(fmt):
    rng = np.random.default_rng(fmt.bits)
    bits = rng.integers(0, 48, 400)
    accs = [int(rng.integers(-(1 << b), (1 << b) + 1)) for b in bits]
    mantissas = [int(m) for m in rng.integers(1 << 14, 1 << 15, 400)]
    reach = fmt.magnitude_bits
    exponents = [int(rng.integers(-b - 18, max(reach - b - 12, -b - 17))) for b in bits]
    codes = rounded(fmt, accs, mantissas, exponents)
    assert codes == expected(fmt, accs, mantissas, exponents)
    assert len(set(codes)) > min(4, 1 << (fmt.bits - 1))


@pytest.mark.parametrize("fmt", FLOATS, ids=lambda fmt: fmt.name)
def test_the_minifloat_rule_at_every_tie(fmt):
    unit = Fraction(fmt.unit)
    ties = []
    table = axis(fmt)
    for (low, _), (high, _) in pairwise(table):
        middle = (low + high) / 2 / unit
        exponent = (middle.numerator & -middle.numerator).bit_length() - 1 if middle.denominator == 1 else -1
        acc = int(middle / power(exponent))
        ties += [(acc, exponent), (acc * 512 + 1, exponent - 9), (acc * 512 - 1, exponent - 9)]
    accs, exponents = [acc for acc, _ in ties], [exponent - 14 for _, exponent in ties]
    mantissas = [1 << 14] * len(ties)
    assert rounded(fmt, accs, mantissas, exponents) == expected(fmt, accs, mantissas, exponents)


@settings(max_examples=800, deadline=None)
@given(
    fmt=st.sampled_from(FLOATS),
    acc=st.integers(-WIDE_LIMIT + 1, WIDE_LIMIT - 1),
    mantissa=st.integers(1 << 14, (1 << 15) - 1),
    exponent=st.integers(-200, 200),
)
@example(fmt=FLOATS[-1], acc=0, mantissa=1 << 14, exponent=40)
@example(fmt=FLOATS[-1], acc=WIDE_LIMIT - 1, mantissa=(1 << 15) - 1, exponent=-63)
@example(fmt=FLOATS[-1], acc=WIDE_LIMIT - 1, mantissa=(1 << 15) - 1, exponent=-64)
@example(fmt=FLOATS[-1], acc=1, mantissa=1 << 14, exponent=-15)
def test_the_minifloat_rule_at_any_exponent(fmt, acc, mantissa, exponent):
    assert rounded(fmt, [acc], [mantissa], [exponent]) == expected(fmt, [acc], [mantissa], [exponent])
