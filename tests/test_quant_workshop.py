"""Shared quantisation: the same network as the passes make one by one, as far as inputs are the same."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quant.errors import QuantError
from quant.formats import find_format
from quant.method import apply_method, parse_method
from quant.ptq import lay_out, prepare, scheme_ranges
from quant.ranges import minima_and_maxima
from quant.reuse import assemble, float_layers, settle
from quant.scheme import parse_scheme
from quant.simulate import simulate
from quant.workshop import Bench, Workshop, shared_method
from tests.tiny import float_graph


@pytest.fixture(scope="module")
def network():
    from edge.data import load

    digits = load("digits")
    return prepare(float_graph()), digits.preprocess.apply(digits.x_train[:64])


@pytest.fixture(scope="module")
def workshop(network):
    return Workshop(*network)


@pytest.mark.parametrize("name", ["w4a16", "we2m1-aint16", "w3a16-pt"])
@pytest.mark.parametrize("passes", ["plain", "scales", "gptq", "cle+scales+gptq+bias"])
def test_with_exact_inputs_it_is_what_the_passes_make(network, workshop, name, passes):
    """The first layer's inputs are exact in both; later ones see rounded weights before them in one of the two."""
    graph, inputs = network
    scheme, method = parse_scheme(name), parse_method(passes)
    alone, shared = apply_method(graph, scheme, method, inputs), workshop.quantised(scheme, method)
    assert (alone.weights["conv_w"] == shared.weights["conv_w"]).mean() > 0.98
    assert alone.quant("conv_w") == shared.quant("conv_w")
    assert len(np.unique(shared.weights["conv_w"])) > 5
    exact = simulate(graph, inputs)
    plain = workshop.quantised(scheme, parse_method("plain"))
    errors = [float(np.square(simulate(made, inputs) - exact).mean()) for made in (alone, shared, plain)]
    assert 0 < errors[1] < 2 * errors[0]
    assert "gptq" not in passes or errors[1] < errors[2]
    assert len(np.unique(simulate(shared, inputs).argmax(axis=1))) > 5


@pytest.mark.parametrize("name", ["w4a4-mse", "w8a4-kl-sym", "we2m1-ae2m1-p99.9", "w3a3-mse-ends8"])
def test_ranges_are_those_of_the_scheme(network, name):
    graph, inputs = network
    scheme = parse_scheme(name)
    ranges = Bench(graph, inputs).ranges(scheme)
    assert ranges == scheme_ranges(graph, scheme, inputs)
    assert len(set(ranges.values())) > 1


def test_what_is_made_once_is_kept(workshop):
    method = shared_method("gptq+bias")
    first, second = (workshop.quantised(parse_scheme(name), method) for name in ("w4a8", "w4a4"))
    assert first.weights["fc_w"] is second.weights["fc_w"]
    assert workshop.quantised(parse_scheme("w3a8"), method).weights["fc_w"] is not first.weights["fc_w"]


def test_gptq_loses_less_than_rounding_to_nearest(network, workshop):
    graph, inputs = network
    exact = simulate(graph, inputs)
    errors = {}
    for passes in ("plain", "scales", "scales+gptq+bias"):
        found = simulate(workshop.quantised(parse_scheme("w3a16"), parse_method(passes)), inputs)
        errors[passes] = float(np.square(found - exact).mean())
    assert errors["scales+gptq+bias"] < errors["scales"] < errors["plain"]


def test_a_bias_that_would_leave_the_accumulator_keeps_its_layer_as_it_was(network):
    graph, inputs = network
    scaled = {**graph.weights, "conv_w": graph.weights["conv_w"] * np.float32(1e-9)}
    shifted = replace(graph, weights={**scaled, "conv_b": np.full(8, 1.0, np.float32)})
    ranges = minima_and_maxima(shifted, inputs)
    plain = lay_out(shifted, parse_scheme("w4a8"), ranges)
    layers = float_layers(shifted, inputs, ranges)
    settings = {
        name: settle(layer, find_format("int4"), parse_method("gptq"), per_channel=True)
        for name, layer in layers.items()
    }
    made = assemble(plain, settings)
    assert made.quant("conv_w") == plain.quant("conv_w") != settings["conv"].quant
    assert np.array_equal(made.weights["conv_b"], plain.weights["conv_b"])
    assert made.quant("fc_w") == settings["fc"].quant


def test_passes_that_need_one_networks_inputs_are_refused():
    with pytest.raises(QuantError, match="compensate"):
        shared_method("compensate+gptq")
