"""Passes: each keeps the float function, does what it says where it can, and leaves alone what it cannot."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from quant import operators as ops
from quant.errors import QuantError
from quant.graph import Graph, Node, Tensor, check
from quant.onnx_write import run_float
from quant.passes.drop_softmax import drop_softmax, ends_in_softmax
from quant.passes.fold_batch_norm import fold_batch_norm
from quant.passes.fold_pad import fold_pad
from quant.passes.fuse_clip import fuse_clip
from quant.passes.own_parameters import own_parameters
from quant.ptq import PASSES, prepare
from tests.float_nets import Net, inputs, random_net
from tests.toys import toy_graph

INF = float("inf")
KEEPING = (own_parameters, fold_batch_norm, fold_pad, fuse_clip, drop_softmax)


def kinds(graph):
    return [node.kind for node in graph.nodes]


def same_function(before: Graph, after: Graph) -> None:
    x = inputs(3)
    want, found = run_float(before, x), run_float(check(after), x)
    assert want.std() > 0
    scale = max(1.0, float(np.abs(want).max()))
    np.testing.assert_allclose(found, want, atol=1e-5 * scale, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 10))
def test_every_pass_keeps_the_function_of_any_net(seed, depth):
    graph = random_net(seed, depth)
    for step in KEEPING:
        after = step(graph)
        same_function(graph, after)
        assert kinds(step(after)) == kinds(after), "a second run must change nothing"
        graph = after
    assert not {"BatchNorm"} & set(kinds(graph))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 10), st.permutations(KEEPING))
def test_the_function_stays_in_any_order(seed, depth, order):
    graph = random_net(seed, depth)
    after = graph
    for step in order:
        after = step(after)
    same_function(graph, after)


def test_the_list_of_passes_and_its_order():
    assert PASSES == KEEPING
    net = Net(0)
    net.pad()
    net.conv(4, pads=(0, 1, 0, 0))
    net.norm()
    net.clip(0.0, 8.0)
    net.clip(-1.0, 6.0)
    net.mean()
    net.gemm(5)
    net.node(ops.Softmax(), (1, 5))
    graph = net.graph()
    prepared = prepare(graph)
    assert [(node.kind, node.clip) for node in prepared.nodes] == [("Conv", (0.0, 6.0)), ("Mean", None), ("Gemm", None)]
    assert kinds(fuse_clip(graph)) == ["Pad", "Conv", "BatchNorm", "Clip", "Clip", "Mean", "Gemm", "Softmax"]


def test_batch_norm_behind_a_clip_becomes_its_own_convolution():
    net = Net(1)
    net.conv(4)
    net.clip()
    net.norm()
    graph = net.graph()
    after = fold_batch_norm(graph)
    assert kinds(after) == ["Conv", "Clip", "Conv"]
    assert after.nodes[2].op.groups == 4
    same_function(graph, after)
    fused = fold_batch_norm(fuse_clip(graph))
    assert kinds(fused) == ["Conv", "Conv"]
    same_function(graph, fused)


def test_batch_norm_behind_a_layer_with_two_readers_stays_apart():
    net = Net(2)
    first = net.conv(4)
    net.norm()
    net.add(first)
    after = fold_batch_norm(net.graph())
    assert kinds(after) == ["Conv", "Conv", "Add"]
    same_function(net.graph(), after)


def test_batch_norm_behind_the_output_stays_apart():
    net = Net(3)
    first = net.conv(4)
    net.norm()
    graph = replace(net.graph(), output=first)
    after = fold_batch_norm(graph)
    same_function(graph, replace(after, output=first))
    assert kinds(after) == ["Conv", "Conv"]


def test_two_batch_norms_fold_one_after_the_other():
    net = Net(4)
    net.conv(4)
    net.norm()
    net.norm()
    after = fold_batch_norm(net.graph())
    assert kinds(after) == ["Conv"]
    assert set(after.weights) == set(after.nodes[0].inputs[1:])
    same_function(net.graph(), after)


def test_batch_norm_of_vectors_becomes_a_diagonal_layer():
    net = Net(5)
    net.mean()
    net.norm()
    net.gemm(4)
    net.norm()
    after = fold_batch_norm(net.graph())
    assert kinds(after) == ["Mean", "Gemm", "Gemm"]
    same_function(net.graph(), after)


def test_batch_norm_with_a_negative_variance_is_refused():
    net = Net(6)
    net.conv(2)
    net.norm()
    name = net.nodes[1].inputs[4]
    net.weights[name] = np.array([1.0, -1.0], np.float32)
    with pytest.raises(QuantError, match=r"node 'n1' \(BatchNorm\): variance plus epsilon must be positive"):
        fold_batch_norm(net.graph())
    with pytest.raises(QuantError, match=r"pass fold_batch_norm: node 'n1'"):
        prepare(net.graph())


def test_a_pad_folds_into_each_convolution_and_stays_for_other_readers():
    net = Net(7)
    padded = net.pad()
    net.conv(3, pads=(0, 0, 0, 0))
    graph = net.graph()
    assert kinds(fold_pad(graph)) == ["Conv"]
    net.conv(3)
    net.nodes[-1] = replace(net.nodes[-1], inputs=(padded, *net.nodes[-1].inputs[1:]))
    other = net.top
    net.top = padded
    net.pool(ops.MaxPool)
    net.conv(3, pads=(1, 1, 1, 2))
    net.top = net.add(other) if net.shape(other) == net.shape() else net.top
    after = fold_pad(net.graph())
    assert "Pad" in kinds(after)
    assert sum(node.inputs[0] == "x" for node in after.nodes if node.kind == "Conv") == 2
    same_function(net.graph(), after)


def test_pads_in_a_row_fold_together():
    net = Net(8)
    net.pad()
    net.pad()
    net.conv(3, stride=2)
    after = fold_pad(net.graph())
    assert kinds(after) == ["Conv"]
    before = [node.op for node in net.nodes[:2]]
    want = tuple(1 + sum(op.before[2 + i] for op in before) for i in (0, 1))
    assert after.nodes[0].op.pads[:2] == want
    same_function(net.graph(), after)


def test_a_pad_of_channels_or_of_the_output_stays():
    net = Net(9)
    net.node(ops.Pad(before=(0, 1, 0, 0), after=(0, 2, 1, 0)), (1, 6, 10, 8))
    net.conv(3)
    assert kinds(fold_pad(net.graph())) == ["Pad", "Conv"]
    net = Net(9)
    padded = net.pad()
    net.conv(3)
    graph = replace(net.graph(), output=padded)
    assert kinds(fold_pad(graph)) == ["Pad", "Conv"]


@pytest.mark.parametrize(
    ("first", "second", "fused"),
    [
        ((0.0, INF), (-INF, 6.0), (0.0, 6.0)),
        ((0.0, 6.0), (0.5, 2.0), (0.5, 2.0)),
        ((0.0, 1.0), (2.0, 3.0), (2.0, 2.0)),
        ((2.0, 3.0), (0.0, 1.0), (1.0, 1.0)),
        ((-1.0, 1.0), (-2.0, 0.0), (-1.0, 0.0)),
    ],
)
def test_clips_in_a_row(first, second, fused):
    net = Net(10)
    net.conv(4)
    net.clip(*first)
    net.clip(*second)
    other = net.conv(3)
    graph = net.graph()
    after = fuse_clip(graph)
    assert [node.clip for node in after.nodes] == [fused, None]
    x = inputs(3)
    np.testing.assert_allclose(run_float(after, x), run_float(graph, x), atol=1e-5)
    assert other == after.output


def test_a_clip_stays_where_something_else_reads_or_nothing_can_hold_it():
    net = Net(11)
    first = net.conv(4)
    net.clip()
    net.add(first)
    net.pool(ops.MaxPool)
    net.clip(-1.0, 1.0)
    graph = net.graph()
    assert kinds(fuse_clip(graph)) == ["Conv", "Clip", "Add", "MaxPool", "Clip"]
    same_function(graph, fuse_clip(graph))
    output = replace(graph, output=first)
    assert kinds(fuse_clip(output))[0:2] == ["Conv", "Clip"]


def test_a_clip_behind_a_quantised_tensor_stays():
    graph = toy_graph()
    nodes = (replace(graph.nodes[0], clip=None), Node("relu", ops.Clip(low=0.0, high=INF), ("a",), "r"))
    changed = Graph("q", "x", "r", nodes, {**graph.tensors, "r": Tensor((1, 8, 4, 4), graph.quant("a"))}, graph.weights)
    assert kinds(fuse_clip(changed)) == ["Conv", "Clip"]


def test_softmax():
    net = Net(12)
    net.mean()
    net.node(ops.Softmax(), (1, 3))
    net.gemm(4)
    inner = net.graph()
    assert drop_softmax(inner) is inner
    assert not ends_in_softmax(inner)
    net.node(ops.Softmax(), (1, 4))
    graph = net.graph()
    assert ends_in_softmax(graph)
    after = drop_softmax(graph)
    assert (kinds(after), after.output) == (["Mean", "Softmax", "Gemm"], "n2.out")
    x = inputs(8)
    labels = run_float(after, x).argmax(axis=1)
    assert np.array_equal(labels, run_float(graph, x).argmax(axis=1))
    assert len(set(labels.tolist())) > 1


def test_nothing_but_a_softmax_is_refused():
    net = Net(13, (1, 5))
    net.node(ops.Softmax(), (1, 5))
    with pytest.raises(QuantError, match="graph 'net' computes nothing that can be quantised"):
        prepare(net.graph())


def test_shared_weights_are_copied_before_they_are_scaled():
    net = Net(14)
    net.conv(3)
    weight, bias = net.nodes[0].inputs[1:]
    net.norm()
    net.node(ops.Conv(pads=(1, 1, 1, 1)), net.shape(), (weight, bias))
    graph = net.graph()
    apart = own_parameters(graph)
    assert len(set(apart.nodes[0].inputs) & set(apart.nodes[2].inputs)) == 0
    same_function(graph, apart)
    same_function(graph, prepare(graph))
    # Without the copy the second layer would be scaled too.
    x = inputs(3)
    assert np.abs(run_float(fold_batch_norm(graph), x) - run_float(graph, x)).max() > 1e-3


def test_a_quantised_graph_is_not_prepared():
    with pytest.raises(QuantError, match="graph 'toy' is quantised already; export it as it is"):
        prepare(toy_graph())
