"""Activations of fewer bits in a wider format: the same codes, on what a target without narrow formats takes."""

from __future__ import annotations

import numpy as np
import pytest

from quant.errors import QuantError
from quant.formats import INT8, find_format
from quant.passes.widen import widen
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from tests.toys import random_codes, toy_graph
from tests.toys_fitted import fitted_graph, real_inputs


@pytest.mark.parametrize("act", ["int3", "int4", "int5", "int7"])
@pytest.mark.parametrize("weight", ["int8", "int3"])
def test_the_very_same_codes(act, weight):
    graph = fitted_graph(find_format(act), find_format(weight))
    wide = widen(graph)
    assert {wide.quant(name).format.name for name in wide.activations()} == {"int8"}
    x = real_inputs(graph, 32) * 3
    ours = run(lower(graph), quantise_input(graph.quant(graph.input), x), fast_dot)
    theirs = run(lower(wide), quantise_input(wide.quant(wide.input), x), fast_dot)
    for node in graph.nodes:
        assert np.array_equal(ours[node.output], theirs[node.output]), node.name
    final = ours[graph.output]
    assert (final != final[0]).any()
    # Inputs beyond the narrow format saturate in both.
    narrow = graph.quant(graph.input).format
    assert np.abs(theirs[wide.input].astype(int)).max() > narrow.max_ordinal


def test_what_is_wide_stays():
    graph = toy_graph(INT8, find_format("int4"))
    assert widen(graph).nodes == graph.nodes
    floats = toy_graph(find_format("e3m2"), find_format("e3m2"))
    assert widen(floats).nodes == floats.nodes
    wide = widen(toy_graph(find_format("int6"), INT8), find_format("int16"))
    assert {wide.quant(name).format.name for name in wide.activations()} == {"int16"}
    codes = random_codes(toy_graph(find_format("int6"), INT8), 8)
    assert len(np.unique(run(lower(wide), codes.astype(np.int16))[wide.output])) > 3


@pytest.mark.parametrize("name", ["uint8", "e4m3"])
def test_other_formats_are_refused(name):
    with pytest.raises(QuantError, match=f"not to {name}"):
        widen(toy_graph(), find_format(name))
