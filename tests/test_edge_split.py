"""Cuts: found exactly where one tensor separates input from output; head then tail equals the whole bit for bit."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.split import cut, cut_points
from quant import operators as ops
from quant.formats import E4M3, INT8, integer, minifloat
from quant.graph import Graph, Node, Tensor, check, macs
from quant.program import lower
from quant.reference import fast_dot, run
from tests.toys import Builder, random_codes, toy_graph

INF = float("inf")


#: Shape, and the scale at which the tensor's values fill an integer or a minifloat format.
RESIDUAL = {
    "x": ((3, 8, 8), 0.03, 0.03),
    "s": ((4, 8, 8), 0.035, 6e-4),
    "a": ((4, 8, 8), 0.04, 6e-6),
    "r": ((4, 8, 8), 0.045, 6e-4),
    "p": ((6, 4, 4), 0.05, 5e-6),
    "q": ((6, 4, 4), 0.055, 2e-5),
    "t": ((6, 4, 4), 0.06, 2e-5),
    "m": ((6,), 0.03, 2e-5),
    "y": ((5,), 0.05, 3e-7),
}


def residual_graph(act, weight, seed=0):
    """Two residual blocks: one with an identity shortcut, one halving with a convolved shortcut."""
    b = Builder(act, weight, seed)
    for name, (shape, integer_scale, minifloat_scale) in RESIDUAL.items():
        b.activation(name, (1, *shape), minifloat_scale if act.is_minifloat else integer_scale, -20)
    relu, same, half = (0.0, INF), ops.Conv(pads=(1, 1, 1, 1)), ops.Conv(pads=(0, 0, 1, 1), strides=(2, 2))
    nodes = (
        Node("stem", same, ("x", *b.parameters("stem", (4, 3, 3, 3))), "s", relu),
        Node("c1", same, ("s", *b.parameters("c1", (4, 4, 3, 3))), "a"),
        Node("add1", ops.Add(), ("s", "a"), "r", relu),
        Node("short", ops.Conv(strides=(2, 2)), ("r", *b.parameters("short", (6, 4, 1, 1))), "p"),
        Node("c2", half, ("r", *b.parameters("c2", (6, 4, 3, 3))), "q"),
        Node("add2", ops.Add(), ("p", "q"), "t", (0.0, 6.0)),
        Node("mean", ops.Mean(keep_dims=False), ("t",), "m"),
        Node("fc", ops.Gemm(), ("m", *b.parameters("fc", (5, 6))), "y"),
    )
    return check(Graph("residual", "x", "y", nodes, b.tensors, b.weights))


GRAPHS = {"toy": (toy_graph, ["a", "c", "m"]), "residual": (residual_graph, ["s", "r", "t", "m"])}
FORMATS = (INT8, E4M3, minifloat(3, 2))


def _separates(graph, tensor):
    """Whether the output cannot be reached from the input without `tensor`: the definition, by search."""
    reached = {graph.input} - {tensor}
    for _ in graph.nodes:
        reached |= {n.output for n in graph.nodes if reached & set(n.inputs) and n.output != tensor}
    return graph.output not in reached


def _outputs(graph, codes):
    return run(lower(graph), codes, fast_dot)[graph.output]


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda f: f.name)
@pytest.mark.parametrize("kind", GRAPHS)
def test_cut_points_are_the_separating_tensors(kind, fmt):
    build, expected = GRAPHS[kind]
    graph = build(fmt, fmt)
    inner = [name for name in graph.activations() if name not in {graph.input, graph.output}]
    assert [point.tensor for point in cut_points(graph)] == expected
    assert [name for name in inner if _separates(graph, name)] == expected


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 2**16), fmt=st.sampled_from((INT8, E4M3)), kind=st.sampled_from(sorted(GRAPHS)))
def test_head_then_tail_equals_the_whole(seed, fmt, kind):
    graph = GRAPHS[kind][0](fmt, fmt, seed)
    codes = random_codes(graph, 6, seed)
    whole = run(lower(graph), codes, fast_dot)
    for point in cut_points(graph):
        head, tail = cut(graph, point.tensor)
        middle = _outputs(head, codes)
        np.testing.assert_array_equal(middle, whole[point.tensor])
        np.testing.assert_array_equal(_outputs(tail, middle), whole[graph.output])


@pytest.mark.parametrize("fmt", (INT8, E4M3), ids=lambda f: f.name)
@pytest.mark.parametrize("kind", GRAPHS)
def test_the_compared_outputs_vary(kind, fmt):
    graph = GRAPHS[kind][0](fmt, fmt)
    codes = random_codes(graph, 24)
    outputs = graph.quant(graph.output).format.decode(_outputs(graph, codes))
    assert len(np.unique(outputs, axis=0)) > 8
    assert len(set(outputs.argmax(axis=1).tolist())) > 1
    for point in cut_points(graph):
        middle = run(lower(graph), codes, fast_dot)[point.tensor]
        assert len(np.unique(middle.reshape(len(middle), -1), axis=0)) > 8, point.tensor


def test_macs_and_bytes_add_up():
    graph = residual_graph(E4M3, E4M3)
    total = sum(macs(graph).values())
    for point in cut_points(graph):
        head, tail = cut(graph, point.tensor)
        assert point.macs_before == sum(macs(head).values())
        assert point.macs_after == sum(macs(tail).values())
        assert point.macs_before + point.macs_after == total
    first = cut_points(graph)[0]
    assert (first.tensor, first.shape, first.format, first.size_bytes) == ("s", (1, 4, 8, 8), "e4m3", 256)
    assert (first.macs_before, first.macs_after) == (4 * 3 * 9 * 64, total - 4 * 3 * 9 * 64)


@pytest.mark.parametrize(("fmt", "size_bytes"), [(integer(4), 128), (minifloat(3, 2), 192), (integer(16), 512)])
def test_bytes_are_packed_at_the_format(fmt, size_bytes):
    assert cut_points(residual_graph(fmt, INT8))[0].size_bytes == size_bytes


def test_a_float_graph_is_cut_as_well():
    graph = toy_graph()
    bare = replace(graph, tensors={name: Tensor(t.shape) for name, t in graph.tensors.items()})
    points = cut_points(bare)
    assert [(p.tensor, p.format, p.size_bytes) for p in points] == [
        ("a", "float32", 512),
        ("c", "float32", 512),
        ("m", "float32", 32),
    ]
    head, tail = cut(bare, "c")
    assert (head.input, head.output, tail.input, tail.output) == ("x", "c", "c", "y")
    assert set(head.weights) | set(tail.weights) == set(bare.weights)
    assert not set(head.weights) & set(tail.weights)


def test_nodes_nothing_uses_do_not_hide_a_cut():
    graph = toy_graph()
    idle = Node("idle", ops.Requantize(), ("a",), "unused")
    with_idle = replace(graph, nodes=(*graph.nodes, idle), tensors={**graph.tensors, "unused": graph.tensors["a"]})
    assert [point.tensor for point in cut_points(with_idle)] == ["a", "c", "m"]
    head, tail = cut(with_idle, "c")
    assert "idle" not in {node.name for node in head.nodes + tail.nodes}


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ("b", "lies inside a branch.*Nearest cut points: 'a' or 'c'"),
        ("x", "'x' is the input"),
        ("y", "'y' is the output"),
        ("fc_w", "'fc_w' is a weight.*Cut points: a, c, m"),
        ("conv_out", "'conv_out' is no tensor.*Cut points: a, c, m"),
    ],
)
def test_refusals_name_the_near_tensors(tensor, message):
    with pytest.raises(EdgeError, match=message):
        cut(toy_graph(), tensor)


def test_no_cut_inside_any_branch():
    graph = residual_graph(INT8, INT8)
    for tensor in ("a", "p", "q"):
        with pytest.raises(EdgeError, match="inside a branch"):
            cut(graph, tensor)
