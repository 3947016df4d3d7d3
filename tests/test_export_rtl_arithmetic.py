"""The requantisation pipelines alone, with every corner: ties, saturation, subnormals, extreme exponents."""

from __future__ import annotations

import numpy as np
import pytest

from export.rtl.bounds import WIDE_EXPONENTS
from export.rtl.reciprocal import FIXED_SHIFT, reciprocal
from quant.fixedpoint import divide_half_away, multiply_q31, round_to_minifloat
from quant.formats import MINIFLOATS, OCP_FORMATS
from tests.rtl import needs_verilator
from tests.rtl_units import build_unit, run_unit

ACC_BITS = 49


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    parameters = {"ACC": ACC_BITS, "MANTISSA": 15, "EXPONENT": 9, "ORDINAL": 9}
    ports = ("in_acc", "in_mantissa", "in_exponent", "mantissa_bits", "max_ordinal")
    return build_unit(tmp_path_factory.mktemp("wide"), "wide", parameters, ports, "out_ordinal")


@pytest.fixture(scope="module")
def scale(tmp_path_factory):
    ports = ("in_value", "in_mantissa", "in_right", "rounding", "in_tag")
    return build_unit(tmp_path_factory.mktemp("scale"), "scale", {"MANTISSA": 32, "TAG": 1}, ports, "out_value")


def _accumulators(rng, count):
    """Magnitudes of every length below 2^48, many of them with few ones so that ties are common."""
    length = rng.integers(0, 49, count)
    sparse = rng.random(count) < 0.5
    values = rng.integers(0, 1 << 48, count) & ((np.int64(1) << length) - 1)
    few = np.int64(1) << np.maximum(length - 1, 0) | np.int64(1) << rng.integers(0, np.maximum(length, 1))
    return np.where(sparse, few, values) * rng.choice([-1, 1], count)


@needs_verilator
@pytest.mark.parametrize("fmt", [*MINIFLOATS[::3], *OCP_FORMATS], ids=lambda fmt: fmt.name)
def test_minifloat_rounding_is_exact(wide, fmt):
    rng, count = np.random.default_rng(5), 20000
    acc = _accumulators(rng, count)
    mantissa = np.where(rng.random(count) < 0.5, 1 << 14, rng.integers(1 << 14, 1 << 15, count))
    exponent = rng.integers(-62, 12, count)
    exponent[::50] = rng.integers(WIDE_EXPONENTS[0], WIDE_EXPONENTS[1] + 1, len(exponent[::50]))
    expected = round_to_minifloat(fmt, acc, mantissa, exponent)
    columns = [acc, mantissa, exponent, np.full(count, fmt.mantissa), np.full(count, fmt.max_ordinal)]
    got = run_unit(wide, np.stack(columns, axis=1).astype(np.int64), 9)
    assert np.array_equal(got, expected)
    assert set(np.abs(expected).tolist()) == set(range(fmt.max_ordinal + 1))


@pytest.mark.parametrize("fmt", [*MINIFLOATS, *OCP_FORMATS], ids=lambda fmt: fmt.name)
def test_cut_exponents_change_nothing(fmt):
    rng = np.random.default_rng(6)
    acc, mantissa = _accumulators(rng, 2000), rng.integers(1 << 14, 1 << 15, 2000)
    for limit, beyond in zip(WIDE_EXPONENTS, (-400, 400), strict=True):
        cut = round_to_minifloat(fmt, acc, mantissa, np.int64(limit))
        assert np.array_equal(cut, round_to_minifloat(fmt, acc, mantissa, np.int64(beyond)))


@needs_verilator
def test_double_rounding_is_exact(scale):
    rng, count = np.random.default_rng(7), 100000
    bits = rng.integers(1, 32, count)
    value = rng.integers(-(1 << 31), 1 << 31, count) >> (31 - bits)
    mantissa = np.where(rng.random(count) < 0.5, 1 << 30, rng.integers(0, 1 << 31, count))
    right = rng.integers(0, 32, count)
    value[:4], mantissa[:4], right[:4] = (-(1 << 31), (1 << 31) - 1) * 2, (1 << 31) - 1, (0, 0, 31, 31)
    records = np.stack([value, mantissa, right, np.ones_like(value), np.zeros_like(value)], axis=1)
    got = run_unit(scale, records, 34)
    assert np.array_equal(got, multiply_q31(value, mantissa, -right))
    assert len(set(got.tolist())) > count // 10


@needs_verilator
@pytest.mark.parametrize("largest", [15, 255, 32768])
def test_division_by_reciprocal_is_exact_in_hardware(scale, largest):
    rng = np.random.default_rng(8)
    count = np.repeat(np.arange(1, 50, dtype=np.int64), 400)
    total = rng.integers(0, largest * count + 1)
    total[::7] = (largest * count)[::7]
    by = [reciprocal(int(c), largest * int(c) + int(c) // 2) for c in range(1, 50)]
    mantissa, right = (np.array(v)[count - 1] for v in ([m.mantissa for m in by], [-m.exponent for m in by]))
    records = np.stack([total + count // 2, mantissa, right, np.zeros_like(total), np.zeros_like(total)], axis=1)
    assert np.array_equal(run_unit(scale, records, 34), divide_half_away(total, count))


@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 9, 49, 64, 121, 255])
def test_reciprocal_divides_its_whole_range(divisor):
    top = 200_000
    m = reciprocal(divisor, top)
    n = np.arange(top + 1, dtype=object)
    assert ((n * m.mantissa >> (FIXED_SHIFT - m.exponent)) == n // divisor).all()


def test_reciprocal_holds_at_the_end_of_31_bits():
    for divisor in (3, 7, 11, 641, 65535):
        m = reciprocal(divisor, (1 << 31) - 1)
        for n in ((1 << 31) - 1, (1 << 31) - divisor, ((1 << 31) - 1) // divisor * divisor - 1):
            assert n * m.mantissa >> (FIXED_SHIFT - m.exponent) == n // divisor
