"""Genes of a network: what a genome costs and what its scheme does are the same thing."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from quant.cost import assign, assigned, cost
from quant.errors import QuantError
from quant.formats import find_format
from quant.mixed import assignment, cost_of, mixed, scheme_of, uniform
from quant.ptq import lay_out, prepare
from quant.ranges import minima_and_maxima
from quant.scheme import parse_scheme
from tests.tiny import float_graph

WEIGHTS = tuple(map(find_format, ("e2m1", "int3", "int8", "int4")))
ACTIVATIONS = tuple(map(find_format, ("int8", "e3m2", "int4")))


@pytest.fixture(scope="module")
def graph():
    return prepare(float_graph())


@pytest.mark.parametrize("options", ["w8a8", "w8a8-i8", "w8a8-ends8", "w8a8-sym-mse;fc=we4m3-aint8", "w8a8;flat=w4a4"])
def test_the_formats_of_a_genome_are_those_of_its_scheme(graph, options):
    space, rng = mixed(graph, parse_scheme(options), WEIGHTS, ACTIVATIONS), random.Random(0)
    for _ in range(20):
        genome = tuple(rng.choice(values) for values in space.space)
        scheme = scheme_of(space, genome)
        assert assignment(space, genome) == assign(graph, scheme)
        assert parse_scheme(str(scheme)) == scheme


def test_the_quantised_network_costs_what_the_genome_does(graph):
    space = mixed(graph, parse_scheme("w8a8"), WEIGHTS, ACTIVATIONS)
    ranges = minima_and_maxima(graph, float_inputs(graph))
    genome = (0, 1, 2, 2)
    quantised = lay_out(graph, scheme_of(space, genome), ranges)
    assert cost(quantised, assigned(quantised)) == cost_of(space, genome)
    assert {layer.weight for layer in cost_of(space, genome).layers} == {"int3", "int4"}


def float_inputs(graph):
    from edge.data import load

    digits = load("digits")
    return digits.preprocess.apply(digits.x_train[:16])


def test_values_ascend_in_cost(graph):
    space = mixed(graph, parse_scheme("w8a8"), WEIGHTS, ACTIVATIONS)
    assert [fmt.name for fmt in space.weights] == ["int3", "int4", "e2m1", "int8"]
    genomes = uniform(space)
    assert len(genomes) == len(set(genomes)) == 12
    sizes = [cost_of(space, genome).weight_bits for genome in genomes[::3]]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]


def test_what_a_rule_fixes_has_no_gene(graph):
    free = mixed(graph, parse_scheme("w8a8"), WEIGHTS, ACTIVATIONS)
    fixed = mixed(graph, parse_scheme("w8a8;fc=w8a8"), WEIGHTS, ACTIVATIONS)
    assert free.genes == (("conv", True), ("fc", True), ("conv", False), ("fc", False))
    assert fixed.genes == (("conv", True), ("conv", False))
    assert cost_of(fixed, (0, 0)).layers[1].weight == "int8"


def test_a_name_that_no_rule_can_hold_is_refused(graph):
    nodes = tuple(replace(node, name=node.name.replace("fc", "a;b")) for node in graph.nodes)
    with pytest.raises(QuantError, match="a;b"):
        mixed(replace(graph, nodes=nodes), parse_scheme("w8a8"), WEIGHTS, ACTIVATIONS)
