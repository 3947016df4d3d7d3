"""Whole networks in Verilator, every tensor bit for bit, in many number formats."""

from __future__ import annotations

import pytest

from quant.formats import find_format
from tests.rtl import check_core, needs_verilator
from tests.rtl_graphs import mixed_net, residual_net
from tests.toys import toy_graph

PAIRS = (
    ("int4", "int4", 3),
    ("uint8", "int8", 128),
    ("int16", "int8", -1000),
    ("int3", "int2", 0),
    ("e2m1", "e2m1", 0),
    ("e3m2", "e2m3", 0),
    ("e4m3fn", "e4m3fn", 0),
    ("e4m3", "int8", 0),
    ("int8", "e2m2", 11),
    ("e3m0", "e1m2", 0),
    ("e5m2", "e2m1", 0),
)
MIXED = (("int8", "e4m3", ("int8", "e4m3")), ("e2m3", "e3m4", ("e2m1", "int4")))


@needs_verilator
@pytest.mark.parametrize("name", ["int8", "e4m3"])
def test_toy_network_is_bit_exact(name, tmp_path):
    check_core(toy_graph(find_format(name), find_format(name), seed=3), tmp_path, labels=True)


@needs_verilator
@pytest.mark.parametrize(("act", "weight", "zero"), PAIRS)
def test_residual_network_is_bit_exact(act, weight, zero, tmp_path):
    check_core(residual_net(find_format(act), find_format(weight), zero), tmp_path, labels=True)


@needs_verilator
@pytest.mark.parametrize(("first", "second", "weights"), MIXED)
def test_network_of_several_formats_is_bit_exact(first, second, weights, tmp_path):
    weight_formats = (find_format(weights[0]), find_format(weights[1]))
    check_core(mixed_net(find_format(first), find_format(second), weight_formats), tmp_path, labels=True)
