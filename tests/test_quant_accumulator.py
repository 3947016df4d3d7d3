"""Accumulator widths: lossless, no bit too many, and the same as enumerating every sum of every small format."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from quant.accumulator import (
    exact_bits,
    exact_spans,
    formula_bits,
    needs_python_integers,
    product_bits,
    signed_bits,
    smallest_bits,
    span_of,
    widest,
)
from quant.formats import MINIFLOATS, find_format, integer
from quant.program import ConvStep, lower
from tests.toys import toy_graph

PAIRED = tuple(integer(bits) for bits in range(3, 9)) + MINIFLOATS
SMALL = tuple(fmt for fmt in (*PAIRED, integer(3, signed=False)) if fmt.bits <= 4)

#: Product and accumulator widths for K = 512 and the same format on both sides, worked out by hand elsewhere.
KNOWN = """
int3 6 15, e1m1 5 14, e2m0 7 16, int4 8 17, e1m2 7 16, e2m1 9 18, e3m0 15 24, int5 10 19, e1m3 9 18, e2m2 11 20,
e3m1 17 26, e4m0 31 40, int6 12 21, e1m4 11 20, e2m3 13 22, e3m2 19 28, e4m1 33 42, e5m0 63 72, int7 14 23, e1m5 13 22,
e2m4 15 24, e3m3 21 30, e4m2 35 44, e5m1 65 74, e6m0 127 136, int8 16 25, e1m6 15 24, e2m5 17 26, e3m4 23 32,
e4m3 37 46, e5m2 67 76, e6m1 129 138, e7m0 255 264
"""


def wrapped(value: int, bits: int) -> int:
    """What a two's-complement register of some bits keeps of a value."""
    return (value + (1 << (bits - 1))) % (1 << bits) - (1 << (bits - 1))


def units(fmt) -> list[int]:
    return [fmt.units_of_ordinal(k) for k in fmt.ordinals()]


def sums(weight, activation, terms: int) -> set[int]:
    """Every value that `terms` products of any codes can add up to."""
    products = {w * a for w in units(weight) for a in units(activation)}
    reached = {0}
    for _ in range(terms):
        reached = {total + product for total in reached for product in products}
    return reached


@pytest.mark.parametrize(("low", "high", "bits"), [(0, 0, 1), (-1, 0, 1), (0, 1, 2), (-2, 1, 2), (-128, 127, 8)])
def test_signed_bits_by_hand(low, high, bits):
    assert signed_bits(low, high) == bits


@pytest.mark.parametrize("weight", SMALL[:-1], ids=lambda f: f.name)
@pytest.mark.parametrize("activation", SMALL, ids=lambda f: f.name)
@pytest.mark.parametrize("terms", [1, 2, 3])
def test_the_smallest_width_loses_no_sum_and_one_bit_less_does(weight, activation, terms):
    bits = smallest_bits(weight, activation, terms)
    reached = sums(weight, activation, terms)
    assert all(wrapped(total, bits) == total for total in reached)
    assert any(wrapped(total, bits - 1) != total for total in reached)
    assert formula_bits(weight, activation, terms) >= bits


@pytest.mark.parametrize("fmt", [f for f in PAIRED if f.bits <= 5], ids=lambda f: f.name)
def test_a_wrapping_register_of_that_width_sums_random_products_and_corners_exactly(fmt):
    terms, rng = 100, np.random.default_rng(0)
    bits, values = smallest_bits(fmt, fmt, terms), units(fmt)
    top, bottom = [values[-1]] * terms, [values[0]] * terms
    draws = [[values[i] for i in rng.integers(len(values), size=terms)] for _ in range(8)]
    for row, column in itertools.product([top, bottom, *draws], repeat=2):
        register = 0
        for w, a in zip(row, column, strict=True):
            register = wrapped(register + w * a, bits)
        assert register == sum(w * a for w, a in zip(row, column, strict=True))


def test_widths_of_every_format_with_itself():
    known = {name: (int(product), int(acc)) for name, product, acc in (e.split() for e in KNOWN.split(","))}
    assert set(known) == {fmt.name for fmt in PAIRED}
    assert {f.name: (product_bits(f, f), formula_bits(f, f, 512)) for f in PAIRED} == known


@pytest.mark.parametrize(
    ("weight", "activation", "widths"),
    [("int4", "int8", (12, 21)), ("e2m1", "int8", (13, 22)), ("e4m3", "int8", (27, 36)), ("e4m3", "e2m1", (23, 32))],
)
def test_widths_of_mixed_pairs(weight, activation, widths):
    pair = find_format(weight), find_format(activation)
    assert (product_bits(*pair), formula_bits(*pair, 512)) == widths


@pytest.mark.parametrize("terms", [1, 9, 512, 4609])
def test_the_formula_is_never_too_narrow_and_seldom_wide(terms):
    for weight, activation in itertools.product(PAIRED, repeat=2):
        spare = formula_bits(weight, activation, terms) - smallest_bits(weight, activation, terms)
        assert 0 <= spare <= 2, (weight.name, activation.name)


def test_narrow_weights_save_the_bit_that_the_most_negative_product_needs():
    int8 = integer(8)
    assert smallest_bits(int8, int8, 512) == 25
    assert smallest_bits(int8, int8, 512, narrow=True) == 24


def test_a_bias_of_the_size_of_a_product_counts_as_one_more_term():
    e2m1 = find_format("e2m1")
    product = e2m1.max_units**2
    assert smallest_bits(e2m1, e2m1, 8, product) == smallest_bits(e2m1, e2m1, 9)


def test_five_exponent_bits_need_python_integers():
    e5m2, e4m3 = find_format("e5m2"), find_format("e4m3")
    assert needs_python_integers(e5m2, e5m2, 1)
    assert not needs_python_integers(e4m3, e4m3, 512)


@pytest.mark.parametrize("name", ["int3", "e2m0", "e1m1"])
def test_the_exact_width_is_that_of_the_worst_input_of_all(name):
    fmt, rng = find_format(name), np.random.default_rng(3)
    values = units(fmt)
    for zero in (0, 1) if name == "int3" else (0,):
        weights = rng.choice(values, (2, 4)).astype(np.int64)
        bias = rng.integers(-40, 40, 2)
        low, high = span_of(fmt)
        spans = exact_spans(weights, bias, (low - zero, high - zero))
        inputs = np.array(list(itertools.product(values, repeat=4))) - zero
        reached = inputs @ weights.T + bias
        assert spans == tuple((int(c.min()), int(c.max())) for c in reached.T)
        assert widest(spans) == signed_bits(int(reached.min()), int(reached.max()))


def test_exact_widths_of_a_graph_hold_what_the_reference_sums_from_the_worst_inputs():
    graph = toy_graph(integer(8), integer(8))
    step = next(step for step in lower(graph).steps if isinstance(step, ConvStep) and step.name == "fc")
    fmt, weights = graph.quant("m").format, step.weight[:, :, 0, 0]
    best = np.where(weights > 0, fmt.max_ordinal, fmt.min_ordinal) - step.x_zero
    worst = np.where(weights > 0, fmt.min_ordinal, fmt.max_ordinal) - step.x_zero
    sums_of = [(inputs * weights).sum(axis=1) + step.bias for inputs in (worst, best)]
    assert set(exact_bits(graph)) == {"conv", "dw", "fc"}
    assert exact_bits(graph)["fc"] == signed_bits(int(sums_of[0].min()), int(sums_of[1].max()))
    assert exact_bits(graph)["fc"] <= step.acc_max.bit_length() + 1
