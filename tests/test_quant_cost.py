"""Costs by hand on a toy network; LUTs are those of the table, and fitted elsewhere."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from quant.cost import assign, assigned, cost, shapes_of
from quant.errors import QuantError
from quant.formats import MINIFLOATS, find_format, integer
from quant.graph import macs
from quant.luts import ECP5, FAMILIES, MEASURED, XCUP, find_family, fitted_luts, mac_luts
from quant.scheme import parse_scheme
from tests.toys import toy_graph

PAIRED = tuple(integer(bits) for bits in range(3, 9)) + MINIFLOATS


def by_scheme(graph, name: str):
    """The cost of a graph under a scheme."""
    return cost(graph, assign(graph, parse_scheme(name)))


def test_sizes_of_a_toy_by_hand():
    graph = toy_graph()
    found = by_scheme(graph, "w4a8")
    conv, depthwise, fc = found.layers
    assert [layer.macs for layer in found.layers] == [8 * 27 * 16, 8 * 9 * 16, 80] == list(macs(graph).values())
    assert (conv.weight_bits, conv.scale_bits, conv.bias_bits) == (8 * 27 * 4, 8 * 32, 8 * 32)
    assert found.weight_bits == 4 * (216 + 72 + 80)
    assert found.parameter_bytes == (4 * 368 + 26 * 32 + 26 * 32) // 8
    assert depthwise.bit_operations == 8 * 9 * 16 * 4 * 8
    assert found.bit_operations == 32 * found.macs
    assert fc.formula_bits == 12 + 4  # 8 products and a bias


def test_activation_memory_counts_what_a_later_node_still_reads():
    graph = toy_graph()
    found = by_scheme(graph, "w8a4")
    x, a, b, c = 3 * 64, 128, 128, 128
    assert shapes_of(graph).live == (("x", "a"), ("a", "b"), ("a", "b", "c"), ("c", "m"), ("m", "y"))
    assert found.live_bits == 4 * (a + b + c)
    assert found.activation_bytes == (x + a + b + c + 8 + 10) // 2


def test_rules_reach_the_layers_and_the_inputs_they_read():
    found = by_scheme(toy_graph(), "w8a8;conv=we2m1-aint4;fc=w3a8")
    assert [(layer.weight, layer.activation) for layer in found.layers] == [
        ("e2m1", "int4"),
        ("int8", "int4"),
        ("int3", "int8"),
    ]


def test_a_quantised_graph_costs_what_its_scheme_said():
    e3m2, int4 = find_format("e3m2"), integer(4)
    graph = toy_graph(e3m2, int4)
    assert cost(graph, assigned(graph)) == by_scheme(graph, "wint4-ae3m2")
    assert by_scheme(graph, "w8a8-pt").layers[0].scale_bits == 32


def test_a_float_graph_has_no_formats_of_its_own():
    graph = toy_graph()
    tensors = {name: replace(tensor, quant=None) for name, tensor in graph.tensors.items()}
    with pytest.raises(QuantError, match="not quantised"):
        assigned(replace(graph, tensors=tensors))


def test_luts_per_mac_is_the_mean_over_the_macs():
    found = by_scheme(toy_graph(), "w8a8;fc=w4a8")
    total, last = found.macs, found.layers[-1].macs
    assert found.luts_per_mac == pytest.approx(((total - last) * 61 + last * 39) / total)
    assert found.luts_measured == 1.0
    assert by_scheme(toy_graph(), "w5a8").luts_measured == 0.0


@pytest.mark.parametrize("family", FAMILIES, ids=lambda f: f.name)
def test_synthesised_pairs_are_measured_either_way_round_and_all_others_fitted(family):
    measured = {frozenset(row[:2]) for row in MEASURED}
    for weight, activation in itertools.product(PAIRED, repeat=2):
        luts = mac_luts(weight, activation, family)
        known = frozenset((weight.name, activation.name)) in measured
        assert luts.method == ("measured" if known else "fitted")
        assert np.isfinite(luts.luts)
        assert luts.luts > 10
    assert mac_luts(find_format("int8"), find_format("int4")) == mac_luts(find_format("int4"), find_format("int8"))


@pytest.mark.parametrize(("family", "mean", "worst"), [(XCUP, 0.12, 0.3), (ECP5, 0.085, 0.25)])
def test_the_fit_is_as_near_the_table_as_its_caveat_says(family, mean, worst):
    column = 2 + FAMILIES.index(family)
    pairs = [(find_format(row[0]), find_format(row[1]), row[column]) for row in MEASURED]
    errors = np.array([abs(fitted_luts(w, a, family) / luts - 1) for w, a, luts in pairs])
    assert errors.mean() < mean
    assert errors.max() < worst


def test_more_bits_of_the_same_kind_never_cost_less():
    ladder = [mac_luts(integer(bits), integer(bits)).luts for bits in range(3, 9)]
    assert ladder == sorted(ladder)
    exponents = [mac_luts(find_format(n), find_format(n)).luts for n in ("e3m4", "e4m3", "e5m2", "e6m1", "e7m0")]
    assert exponents == sorted(exponents)


def test_family_names_are_suggested():
    with pytest.raises(QuantError, match="xcup"):
        find_family("xcub")


def test_every_pair_has_a_cost_also_where_int64_is_too_narrow():
    graph = toy_graph()
    shapes = shapes_of(graph)
    for weight, activation in itertools.product(PAIRED, repeat=2):
        found = cost(shapes, assign(graph, parse_scheme(f"w{weight.name}-a{activation.name}")))
        assert found.layers[0].smallest_bits <= found.layers[0].formula_bits
    assert found.accumulator_bits > 64
