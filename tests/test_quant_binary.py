"""Binary numbers: packing, popcount, and XNOR convolution that equals the float convolution exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant.binary import (
    BinaryWeight,
    binary_conv,
    bits_of,
    check_weight,
    output_size,
    popcount,
    signs,
    store,
    to_words,
)
from quant.errors import QuantError

EDGES = [0, 1, 2**63, 2**64 - 1, 0x5555555555555555, 0xAAAAAAAAAAAAAAAA]


@st.composite
def cases(draw):
    """A convolution that fits: activations with zeros and negative zeros, weights, strides, pads and pad value."""
    channels = draw(st.one_of(st.integers(1, 9), st.sampled_from([31, 63, 64, 65, 128, 130])))
    out, rows, columns = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    pads = tuple(draw(st.integers(0, 3)) for _ in range(4))
    height = draw(st.integers(max(1, rows - pads[0] - pads[2]), 8))
    width = draw(st.integers(max(1, columns - pads[1] - pads[3]), 8))
    strides = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.normal(size=(2, channels, height, width)).astype(np.float32)
    x[rng.random(x.shape) < 0.1] = 0.0
    x[rng.random(x.shape) < 0.1] = -0.0
    weight = rng.normal(size=(out, channels, rows, columns)).astype(np.float32)
    weight[rng.random(weight.shape) < 0.1] = -0.0
    return x, weight, strides, pads, draw(st.sampled_from([0, 1, -1]))


def sign(values):
    return np.where(values >= 0, np.float32(1), np.float32(-1))


@settings(max_examples=300, deadline=None)
@given(case=cases())
def test_xnor_popcount_equals_the_float_convolution(case):
    torch = pytest.importorskip("torch", reason="the float convolution is torch's")
    x, weight, strides, pads, pad_value = case
    around = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
    image = torch.from_numpy(np.pad(sign(x), around, constant_values=pad_value))
    expected = torch.nn.functional.conv2d(image, torch.from_numpy(sign(weight)), stride=strides).numpy()
    got = binary_conv(bits_of(x, "x"), store(weight), strides, pads, pad_value)
    assert got.dtype == np.int32
    assert got.shape == expected.shape
    assert np.array_equal(got, expected)


def test_one_sum_by_hand():
    """a = (+1, -1, 0 -> +1), w = (+1, +1, -1): 1 - 1 - 1; at the border only the middle column of taps is inside."""
    a = np.array([1.0, -1.0, 0.0]).reshape(1, 3, 1, 1)
    w = np.array([1.0, 1.0, -1.0]).reshape(1, 3, 1, 1)
    assert binary_conv(bits_of(a, "a"), store(w)).item() == -1
    wide = np.repeat(w, 3, axis=3)
    sums = {
        value: binary_conv(bits_of(a, "a"), store(wide), pads=(0, 1, 0, 1), pad_value=value) for value in (0, 1, -1)
    }
    assert {value: found.item() for value, found in sums.items()} == {0: -1, 1: -1 + 2, -1: -1 - 2}


@given(st.lists(st.one_of(st.sampled_from(EDGES), st.integers(0, 2**64 - 1)), min_size=1, max_size=20))
def test_popcount_counts_ones(values):
    assert popcount(np.array(values, np.uint64)).tolist() == [value.bit_count() for value in values]


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 5, 3, 3), (4, 64, 1, 1), (7, 65, 2, 3)])
def test_weights_take_one_bit_each_and_come_back(shape):
    weight = np.random.default_rng(0).normal(size=shape)
    stored = store(weight)
    assert stored.bits.nbytes == -(-weight.size // 8)
    assert np.array_equal(signs(check_weight(stored)), sign(weight))
    assert stored.terms == weight[0].size


def test_words_keep_unused_bits_clear():
    words = to_words(np.ones((2, 65, 1, 3), bool))
    assert words.shape == (2, 1, 3, 2)
    assert popcount(words).sum(axis=-1).tolist() == [[[65] * 3]] * 2


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (BinaryWeight((1, 1, 1, 3), np.array([0b11100001], np.uint8)), "a bit behind the last weight"),
        (BinaryWeight((1, 1, 1, 3), np.zeros(2, np.uint8)), r"take uint8 \[1\]"),
        (BinaryWeight((1, 1, 1, 3), np.zeros(1, np.int8)), "not int8"),
        (BinaryWeight((1, 0, 1, 3), np.zeros(0, np.uint8)), "none below 1"),
    ],
)
def test_weights_that_are_none_are_refused(weight, message):
    with pytest.raises(QuantError, match=message):
        check_weight(weight)


def test_what_has_no_sign_or_does_not_fit_is_refused():
    weight = store(np.ones((2, 3, 3, 3)))
    with pytest.raises(QuantError, match=r"activations holds? NaN"):
        bits_of(np.array([1.0, np.nan]), "activations")
    with pytest.raises(QuantError, match="NaN"):
        store(np.full((1, 1, 1, 1), np.nan))
    with pytest.raises(QuantError, match=r"\[out, in, rows, columns\]"):
        store(np.ones((2, 3)))
    with pytest.raises(QuantError, match=r"need bool \[N, 3, H, W\], not float64"):
        binary_conv(np.ones((1, 3, 4, 4)), weight)
    with pytest.raises(QuantError, match=r"\[N, 3, H, W\], not bool \(1, 4, 4, 4\)"):
        binary_conv(np.ones((1, 4, 4, 4), bool), weight)
    with pytest.raises(QuantError, match="pad value 2 is no sign"):
        binary_conv(np.ones((1, 3, 4, 4), bool), weight, pad_value=2)
    for strides, pads in (((0, 1), (0, 0, 0, 0)), ((1, 1), (0, -1, 0, 0)), ((1, 1), (0, 0, 0, 0))):
        with pytest.raises(QuantError, match="fits into the padded image"):
            output_size((2, 2), (3, 3), strides, pads)
