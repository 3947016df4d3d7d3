"""From a quantised graph to the parts of a bundle: vectors that cover labels, halves that fit, the scheme."""

from __future__ import annotations

import numpy as np
import pytest

from edge.errors import EdgeError
from edge.exporting import HALVES, WHOLE, choose_vectors, fitted, halves, scheme_for, whole
from export.targets import TARGETS, find_target
from quant.formats import E4M3, INT8, integer
from quant.program import lower
from quant.reference import dequantise, run
from quant.scheme import parse_scheme
from tests.toys import random_codes, toy_graph
from tests.toys_fitted import fitted_graph, real_inputs


def test_labels_take_turns():
    labels = np.array([3, 3, 3, 3, 1, 3, 1, 0])
    assert choose_vectors(labels, 3).tolist() == [0, 4, 7]
    assert choose_vectors(labels, 5).tolist() == [0, 1, 4, 6, 7]
    assert choose_vectors(labels, 8).tolist() == list(range(8))


def test_fewer_images_than_asked_are_all_taken():
    assert choose_vectors(np.array([1, 0]), 16).tolist() == [0, 1]
    assert choose_vectors(np.zeros(0, np.int64), 16).tolist() == []


def test_every_label_comes_before_any_label_comes_twice():
    labels = np.random.default_rng(0).integers(0, 10, 200)
    picked = labels[choose_vectors(labels, 23)]
    counts = np.bincount(picked, minlength=10)
    assert set(counts.tolist()) <= {2, 3}
    assert counts.sum() == 23


def inputs(graph):
    """Real inputs whose codes are those of `random_codes`."""
    return dequantise(graph.quant(graph.input), random_codes(graph, 6))


@pytest.mark.parametrize("fmt", [INT8, E4M3], ids=lambda fmt: fmt.name)
def test_the_whole_network_is_one_part_with_its_outputs(fmt):
    graph = toy_graph(fmt, fmt)
    (part,) = whole(graph, inputs(graph))
    assert (part.name, part.graph, part.float_graph) == (WHOLE, graph, None)
    assert np.array_equal(part.inputs, random_codes(graph, 6))
    assert np.array_equal(part.outputs, run(lower(graph), part.inputs)["y"])
    assert (part.outputs != part.outputs[:1]).any()


@pytest.mark.parametrize("fmt", [INT8, E4M3], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("tensor", ["a", "c", "m"])
def test_the_tail_gets_what_the_head_gives_and_ends_like_the_whole(fmt, tensor):
    graph = toy_graph(fmt, fmt)
    head, tail = halves(graph, inputs(graph), tensor)
    (complete,) = whole(graph, inputs(graph))
    assert (head.name, tail.name) == HALVES
    assert head.graph.output == tail.graph.input == tensor
    assert np.array_equal(head.outputs, tail.inputs)
    assert np.array_equal(head.inputs, complete.inputs)
    assert np.array_equal(tail.outputs, complete.outputs)
    assert (head.outputs != head.outputs[:1]).any()


def test_a_cut_inside_a_branch_is_refused():
    graph = toy_graph()
    with pytest.raises(EdgeError, match="cannot be cut at 'b'"):
        halves(graph, inputs(graph), "b")


def test_targets_without_zero_points_get_symmetric_integers():
    for target in TARGETS:
        needed = scheme_for(target, parse_scheme("w8a8"))
        assert str(needed) == ("w8a8-sym" if target.capability.symmetric else "w8a8")
    jetson = find_target("jetson")
    assert jetson.capability.symmetric
    assert str(scheme_for(jetson, parse_scheme("w8a8-sym"))) == "w8a8-sym"
    assert str(scheme_for(jetson, parse_scheme("we4m3-ae4m3"))) == "we4m3-ae4m3"


def test_fewer_bits_are_stored_wider_where_a_target_has_no_narrow_formats():
    graph = fitted_graph(integer(5), integer(3))
    (part,) = whole(graph, real_inputs(graph, 8))
    wide = fitted(part, find_target("arm-a"))
    assert {wide.graph.quant(name).format.name for name in wide.graph.activations()} == {"int8"}
    assert {wide.graph.tensors[name].quant for name in graph.weights} == {graph.tensors[n].quant for n in graph.weights}
    codes = run(lower(wide.graph), wide.inputs)[wide.graph.output]
    assert np.array_equal(codes, part.outputs)
    assert (codes != codes[0]).any()
    for target in ("arm-m", "fpga", "host"):
        assert fitted(part, find_target(target)) is part
    minifloats = whole(graph := toy_graph(E4M3, E4M3), inputs(graph))[0]
    assert fitted(minifloats, find_target("arm-a")) is minifloats
