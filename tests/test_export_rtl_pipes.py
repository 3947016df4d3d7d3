"""Requantisation pipes against the reference: every rule, folding, sign and corner."""

from __future__ import annotations

import numpy as np
import pytest

from export.rtl.stream.pipes.requant import requant
from quant.fixedpoint import q31_multiplier, wide_multiplier
from quant.formats import find_format
from quant.reference import _requantise
from quant.steps import Requant
from tests.rtl_pipes import Drive, cells, lint, needs_icarus, needs_verilator, needs_yosys, simulate

BEATS = 400

#: format, channels, lanes, accumulator's largest magnitude, least and largest real multiplier, zero, low, high
INTEGERS = (
    ("int8", 16, 2, 1 << 21, 2.0**-10, 2.0**-8, 3, None, None),
    ("int8", 16, 16, 700000, 2.0**-10, 2.0**-7, -128, -128, 127),
    ("int8", 8, 1, 1 << 16, 2.0**-12, 2.0**-4, 0, -100, 90),
    ("int8", 4, 4, 40000, 2.0**-8, 2.0**-8, 0, None, None),
    ("int8", 6, 3, 100, 0.3, 5.0, 1, None, None),
    ("int8", 6, 2, 3, 17.0, 40.0, -5, None, None),
    ("int8", 5, 1, 1 << 30, 2.0**-24, 2.0**-20, 7, None, None),
    ("uint8", 12, 4, 1 << 20, 2.0**-9, 2.0**-6, 128, 20, 255),
    ("int4", 8, 2, 1 << 13, 2.0**-6, 2.0**-4, 0, None, None),
    ("int4", 8, 8, 5000, 2.0**-6, 2.0**-4, -8, -8, 7),
    ("int3", 4, 1, 900, 2.0**-6, 2.0**-5, 1, None, None),
    ("int2", 4, 1, 900, 2.0**-6, 2.0**-5, 0, None, None),
    ("int5", 4, 2, 1 << 14, 2.0**-7, 2.0**-6, -3, -3, 15),
    ("int6", 4, 2, 1 << 16, 2.0**-8, 2.0**-8, 0, 1, 9),
    ("uint2", 70, 1, 89677001, 8.63e-7, 3.45e-6, 2, 1, 3),
    ("int8", 200, 2, 1 << 21, 2.0**-10, 2.0**-8, 3, None, None),
    ("int8", 70, 1, 1 << 22, 2.0**-20, 2.0**-8, 3, None, None),
    ("int16", 4, 2, 1 << 29, 2.0**-14, 2.0**-12, 0, None, None),
)
MINIFLOATS = (
    ("e4m3", 8, 2, 1 << 40, 2.0**-26, 2.0**-20, 0, None, None),
    ("e4m3", 8, 8, 1 << 43, 2.0**-19, 2.0**-18, 0, 0, None),
    ("e4m3fn", 6, 3, 1 << 30, 2.0**-14, 2.0**-13, 0, None, None),
    ("e5m2", 6, 2, 1 << 47, 2.0**-16, 2.0**-12, 0, -90, 100),
    ("e5m2ocp", 6, 2, 1 << 45, 2.0**-14, 2.0**-12, 0, None, None),
    ("e3m2", 4, 1, 1 << 24, 2.0**-15, 2.0**-12, 0, None, None),
    ("e2m3", 4, 2, 1 << 18, 2.0**-11, 2.0**-11, 0, 3, 20),
    ("e2m1", 8, 2, 1 << 14, 2.0**-10, 2.0**-9, 0, None, None),
    ("e2m1", 8, 2, 1 << 18, 2.0**-10, 2.0**-2, 0, -6, -1),
    ("e3m2", 130, 2, 1 << 24, 2.0**-15, 2.0**-12, 0, None, None),
    ("e2m0", 4, 1, 1 << 10, 2.0**-8, 2.0**-7, 0, 0, 2),
    ("e1m2", 4, 1, 1 << 10, 2.0**-7, 2.0**-7, 0, None, None),
    ("e3m4", 4, 2, 1 << 22, 2.0**-12, 2.0**-10, 0, None, None),
    ("e2m5", 4, 2, 1 << 22, 2.0**-14, 2.0**-10, 0, None, None),
    ("e6m1", 4, 2, 1 << 20, 2.0**30, 2.0**34, 0, None, None),
    ("e3m0", 4, 2, 3, 2.0, 5.0, 0, None, None),
    ("e4m3", 4, 2, 1000, 2.0**-200, 2.0**200, 0, None, None),
)


def _case(rng, row):
    name, channels, lanes, reach, least, most, zero, low, high = row
    fmt = find_format(name)
    split = wide_multiplier if fmt.is_minifloat else q31_multiplier
    reals = np.exp(rng.uniform(np.log(least), np.log(most), channels)) if most > least else [least]
    low, high = fmt.min_ordinal if low is None else low, fmt.max_ordinal if high is None else high
    rule = Requant(fmt, tuple(split(float(real)) for real in reals), zero, low, high)
    return rule, channels, lanes, reach


def accumulators(rng, rule, reach, shape):
    """Magnitudes of every size, values next to the codes' steps, and the ends."""
    sizes = np.exp2(rng.uniform(0, np.log2(reach), shape)).astype(np.int64)
    values = np.minimum(sizes, reach) * rng.choice([-1, 1], shape)
    real = min(m.mantissa * 2.0 ** (m.exponent - (0 if rule.format.is_minifloat else 31)) for m in rule.multipliers)
    span = min(1.1 * (rule.format.max_units + 1) / max(real, 1e-30), reach)
    near = rng.integers(-int(span) - 1, int(span) + 2, shape)
    values = np.where(rng.random(shape) < 0.6, near, values)
    values[0], values[1], values[2] = reach, -reach, 0
    return np.clip(values, -reach, reach)


def _drive(rng, index, row):
    rule, channels, lanes, reach = _case(rng, row)
    beats = channels // lanes
    count = -(-BEATS // beats)
    total = accumulators(rng, rule, reach, (count, channels))
    starts = rng.integers(-reach, reach + 1, channels if index % 3 else 1)
    bits = reach.bit_length() + 1 + index % 3
    pipe = requant(f"p{index}", rule, tuple(starts.tolist()), bits, lanes, channels, reach, (18, 25, 16)[index % 3])
    acc = (total - starts).reshape(-1, lanes)
    drive = Drive(pipe, (("in_acc", bits, acc),), rule.format.bits, lanes)
    expected = _requantise(rule, total).astype(np.int64) & ((1 << rule.format.bits) - 1)
    return drive, expected.reshape(-1, lanes)


@needs_icarus
@pytest.mark.parametrize("rows", [INTEGERS, MINIFLOATS], ids=["integers", "minifloats"])
def test_requantisation_is_exact(tmp_path, rows):
    rng = np.random.default_rng(11)
    drives, expected = zip(*(_drive(rng, index, row) for index, row in enumerate(rows)), strict=True)
    for row, got, want in zip(rows, simulate(tmp_path, drives), expected, strict=True):
        assert got.shape == want.shape, row
        assert np.array_equal(got, want), (row, np.argwhere(got != want)[:5])
        assert len(np.unique(want)) > 2, row


@needs_verilator
def test_requantisation_is_clean(tmp_path):
    rng = np.random.default_rng(11)
    drives = [_drive(rng, index, row)[0] for index, row in enumerate(INTEGERS + MINIFLOATS)]
    assert lint(tmp_path, [drive.pipe for drive in drives]) == ""


@needs_yosys
@pytest.mark.parametrize(
    ("row", "blocks"),
    [
        (("int8", 16, 1, 1 << 21, 2.0**-10, 2.0**-8, -128, -128, 127), 2),
        (("int8", 200, 1, 1 << 21, 2.0**-10, 2.0**-8, 3, None, None), 2),
        (("int4", 8, 1, 1 << 13, 2.0**-6, 2.0**-4, 0, None, None), 1),
        (("int8", 4, 1, 40000, 2.0**-8, 2.0**-8, 0, None, None), 0),
        (("e2m1", 8, 1, 1 << 14, 2.0**-10, 2.0**-9, 0, None, None), 1),
    ],
    ids=str,
)
def test_synthesis_uses_the_multipliers_that_are_stated(tmp_path, row, blocks):
    rule, channels, lanes, reach = _case(np.random.default_rng(2), row)
    pipe = requant("p", rule, (5,) * channels, reach.bit_length() + 1, lanes, channels, reach)
    found = cells(tmp_path, pipe, "synth_ecp5 -abc9 -nowidelut")
    assert (pipe.multipliers, found.get("MULT18X18D", 0)) == (blocks, blocks)
    assert ("DP16KD" in found) == (channels > 64)
    assert found["TRELLIS_FF"] > 50
