"""Dot products of several lanes, pairs in one multiplier, and sums of 512 products in the accumulator."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from export.errors import ExportError
from export.rtl.lanes.lanes import FAMILIES, Lanes, verilog
from export.rtl.lanes.mac import mac_bits, mac_latency, mac_verilog
from quant.accumulator import smallest_bits
from quant.formats import MINIFLOATS, Format, find_format
from tests.rtl_lanes import pack, random_codes, simulate

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed")
TERMS = 512


def _dot(weights, activations, lanes):
    units = lanes.weight.to_units(weights).astype(object) * lanes.activation.to_units(activations).astype(object)
    return units.sum(axis=1)


def _lanes(text: str) -> Lanes:
    weight, activation, simd, style, family = text.split()
    return Lanes(find_format(weight), find_format(activation), int(simd), style, family)


@needs_icarus
@pytest.mark.parametrize(
    "text",
    [
        "int8 int8 5 lut xc",
        "int8 uint8 4 dsp ecp5",
        "int16 int4 3 lut ice40",
        "e4m3 e4m3 8 lut xc",
        "e4m3 e4m3 3 lut ecp5",
        "e3m4 e4m3 2 dsp xc",
        "e2m1 int8 7 lut xc",
        "int5 e5m2 4 lut xc",
        "e2m1 e2m1 4 lut xc",
        "e2m0 int3 9 lut xc",
        "e7m0 e7m0 2 lut xc",
    ],
)
def test_dot_products_are_exact_every_clock(text):
    lanes, clocks = _lanes(text), 300
    x, w = (random_codes(fmt, (clocks, lanes.simd), seed) for seed, fmt in enumerate((lanes.activation, lanes.weight)))
    x[:2], w[0], w[1] = lanes.activation.from_ordinals(np.int64(lanes.activation.min_ordinal)), *_ends(lanes.weight)
    inputs = {"x": (lanes.simd * lanes.activation.bits, pack(x, lanes.activation.bits))}
    inputs |= {"w": (lanes.simd * lanes.weight.bits, pack(w, lanes.weight.bits))}
    got = simulate(verilog(lanes, "dot"), "dot", inputs, {"sum": lanes.sum_bits})[:, 0]
    expected = _dot(w, x, lanes)[: clocks - lanes.latency]
    assert got[lanes.latency :].tolist() == expected.tolist()
    assert len(set(expected.tolist())) > 20


def _ends(fmt: Format) -> tuple[int, int]:
    low, high = fmt.from_ordinals(np.array([fmt.min_ordinal, fmt.max_ordinal])).tolist()
    return low, high


@needs_icarus
@pytest.mark.parametrize(
    "text",
    ["int8 int8 3 dsp_pair xc", "int8 uint8 4 dsp_pair xc", "uint4 uint8 2 dsp_pair xc", "int4 int4 1 dsp_pair ecp5"],
)
def test_two_products_in_one_multiplier_are_exact(text):
    lanes, clocks = _lanes(text), 3000
    x = random_codes(lanes.activation, (clocks, lanes.simd), 3)
    w0, w1 = (random_codes(lanes.weight, (clocks, lanes.simd), seed) for seed in (4, 5))
    inputs = {"x": (lanes.simd * lanes.activation.bits, pack(x, lanes.activation.bits))}
    inputs |= {f"w{k}": (lanes.simd * lanes.weight.bits, pack(w, lanes.weight.bits)) for k, w in enumerate((w0, w1))}
    got = simulate(verilog(lanes, "dot"), "dot", inputs, {"sum0": lanes.sum_bits, "sum1": lanes.sum_bits})
    for k, w in enumerate((w0, w1)):
        assert got[lanes.latency :, k].tolist() == _dot(w, x, lanes)[: clocks - lanes.latency].tolist()


@needs_icarus
@pytest.mark.parametrize(
    "text",
    [
        "int8 int8 1 lut xc",
        "int8 int8 8 lut xc",
        "e4m3 e4m3 1 lut xc",
        "e4m3 e4m3 8 lut ecp5",
        "e5m2 e5m2 1 lut xc",
        "e4m3 int8 1 lut xc",
        "e2m1 e2m1 1 lut ecp5",
        "e3m1 e3m1 8 lut xc",
        "int3 int3 1 lut xc",
    ],
)
def test_accumulator_holds_the_sums_of_512_products(text):
    lanes = _lanes(text)
    beats, sums = TERMS // lanes.simd, 6
    x, w = (
        random_codes(fmt, (beats * sums, lanes.simd), seed) for seed, fmt in enumerate((lanes.activation, lanes.weight))
    )
    low, high = _ends(lanes.activation)
    for index, (a, b) in enumerate(zip((low, low, high, high), _ends(lanes.weight) * 2, strict=True)):
        x[index * beats : (index + 1) * beats], w[index * beats : (index + 1) * beats] = a, b
    got = _accumulated(lanes, x, w, beats)
    expected = _dot(w, x, lanes).reshape(sums, beats).sum(axis=1)
    assert got == expected.tolist()
    assert len(set(got)) >= 4


def _accumulated(lanes, x, w, beats):
    """Return the sums; every third clock brings nothing, with codes that must not count."""
    slots = [at for at in range(3 * len(x)) if at % 3 != 1][: len(x)]
    clocks = slots[-1] + 1 + mac_latency(lanes)
    order = np.zeros(clocks, int)
    order[slots] = np.arange(len(x))
    counts = np.isin(np.arange(clocks), slots)
    inputs = {"en": (1, counts.astype(int).tolist()), "clr": (1, (counts & (order % beats == 0)).astype(int).tolist())}
    inputs |= {"x": (lanes.simd * lanes.activation.bits, pack(x[order], lanes.activation.bits))}
    inputs |= {"w": (lanes.simd * lanes.weight.bits, pack(w[order], lanes.weight.bits))}
    text = mac_verilog(lanes, TERMS, "mac")
    inputs = {name: (width, [*values, 0]) for name, (width, values) in inputs.items()}
    got = simulate(text, "mac", inputs, {"acc": mac_bits(lanes, TERMS)})[:, 0]
    return [got[slots[end] + mac_latency(lanes)] for end in range(beats - 1, len(x), beats)]


@pytest.mark.parametrize("fmt", [*MINIFLOATS[::5], find_format("int8")], ids=lambda fmt: fmt.name)
def test_widths_are_the_smallest(fmt):
    for family in FAMILIES:
        lanes = Lanes(fmt, fmt, 6, "lut", family)
        assert lanes.sum_bits == smallest_bits(fmt, fmt, 6)
        assert f"output wire signed [{lanes.sum_bits - 1}:0] sum" in verilog(lanes, "dot")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("e4m3 e4m3 2 dsp_pair xc", "takes integers"),
        ("int8 int8 2 dsp_pair ecp5", "needs? DSP inputs of 25"),
        ("int8 int8 0 lut xc", "0 lanes"),
        ("int8 int8 1 fast xc", "styles are lut, dsp, dsp_pair"),
        ("int8 int8 1 lut gowin", "families xc, ecp5, ice40"),
    ],
)
def test_impossible_lanes_are_refused(text, said):
    with pytest.raises(ExportError, match=said):
        _lanes(text)
