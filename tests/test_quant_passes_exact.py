"""Passes on the float graph keep the function: equalisation, smoothing, rotation, on any network they can touch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import operators as ops
from quant.graph import Graph, check
from quant.passes.equalise import equalise
from quant.passes.hadamard import find_streams, hadamard, rotate
from quant.passes.scaling import LIMIT, bounded, find_pairs, rescale, sink_ranges, source_ranges
from quant.passes.smooth import smooth
from quant.ptq import prepare
from quant.simulate import forward, simulate, simulator
from tests.float_nets import Net, inputs, random_net

INF = float("inf")
#: What may stand between two layers whose channels are scaled. Many values reach the limit of `limited`.
BETWEEN = ("none", "relu", "relu6", "limited", "maxpool", "avgpool", "mean")
LIMITS = {"relu": INF, "relu6": 6.0, "limited": 1.0}


def uneven(net: Net) -> None:
    """Spread the strength of every layer's channels over several octaves, as folded batch norms do."""
    for name, weight in net.weights.items():
        if weight.ndim > 1:
            louder = weight * np.exp2(net.rng.uniform(-4, 3, (len(weight), *(1 for _ in weight.shape[1:]))))
            net.weights[name] = (louder / np.sqrt(np.square(louder).mean()) / 3).astype(np.float32)


def chain(seed: int) -> Graph:
    """Layers of all kinds in a row: plain, grouped, depthwise, fully connected; residual sums; every clip and pool."""
    net = Net(seed, (1, 4, 9, 9))
    net.conv(8)
    for _ in range(int(net.rng.integers(2, 6))):
        between(net, BETWEEN[int(net.rng.integers(6))])
        before = net.top
        groups = int(net.rng.choice([1, 2, 4, net.shape()[1]]))
        net.conv(net.shape()[1] if groups > 1 else 4 * int(net.rng.integers(1, 4)), 3, groups=groups)
        if net.shape() == net.shape(before) and net.rng.random() < 0.5:
            net.add(before)
    between(net, "relu" if net.rng.random() < 0.5 else "none")
    net.mean()
    net.gemm(5)
    uneven(net)
    net.weights[net.nodes[-1].inputs[2]] *= np.float32(0.02)
    return prepare(net.graph())


def between(net: Net, kind: str) -> None:
    """Put one of BETWEEN on the top."""
    match kind:
        case "relu" | "relu6" | "limited":
            net.clip(0.0, LIMITS[kind])
        case "maxpool" | "avgpool":
            net.pool(ops.MaxPool if kind == "maxpool" else ops.AveragePool)
        case "mean":
            net.mean(keep=True)


def images(graph: Graph, count: int = 6, seed: int = 3) -> np.ndarray:
    return inputs(count, seed, graph.shape(graph.input))


def same_function(before: Graph, after: Graph) -> None:
    """Compare outputs on inputs that no pass has seen; the labels must differ between inputs somewhere in the test."""
    x = images(before, 8, 99)
    want, found = simulate(before, x), simulate(check(after), x)
    assert want.std() > 0
    np.testing.assert_allclose(found, want, atol=3e-5 * max(1e-3, float(np.abs(want).max())), rtol=1e-4)


def smoothed(graph: Graph) -> Graph:
    return smooth(graph, images(graph))


EXACT = (equalise, smoothed, rotate)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_passes_keep_the_function_of_chains(seed: int) -> None:
    graph = chain(seed)
    for step in EXACT:
        same_function(graph, step(graph))
    same_function(graph, rotate(smoothed(equalise(graph))))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9))
def test_passes_keep_the_function_of_any_net(seed: int, depth: int) -> None:
    graph = prepare(random_net(seed, depth))
    for step in EXACT:
        same_function(graph, step(graph))


def test_chains_are_of_all_kinds_and_passes_do_move_weights() -> None:
    """What the two tests above rely on: each pass changes most chains, and the chains hold what they should."""
    graphs = [chain(seed) for seed in range(12)]
    nodes = [node for graph in graphs for node in graph.nodes]
    groups = {(node.op.groups, graph.shape(node.inputs[0])[1]) for graph in graphs for node in graph.nodes
              if isinstance(node.op, ops.Conv)}  # fmt: skip
    assert any(g == c > 1 for g, c in groups) and any(1 < g < c for g, c in groups) and any(g == 1 for g, _ in groups)
    assert {node.clip for node in nodes} >= {None, (0.0, 6.0), (0.0, INF)}
    assert {"Add", "MaxPool", "AveragePool", "Mean", "Gemm"} <= {node.kind for node in nodes}
    for step, least in ((equalise, 6), (smoothed, 6), (rotate, 1)):
        moved = sum(any(not np.array_equal(step(g).weights[k], w) for k, w in g.weights.items()) for g in graphs)
        assert moved >= least, step
    outputs = [simulate(graph, images(graph, 40)) for graph in graphs]
    assert min(found.std(axis=0).max() / np.abs(found).max() for found in outputs) > 0.02
    assert sum(len(np.unique(found.argmax(axis=1))) > 1 for found in outputs) >= 3


def pair_net(kind: str, groups: int = 1) -> Graph:
    """Two layers with something between."""
    net = Net(4, (1, 4, 8, 8))
    net.conv(8)
    between(net, kind)
    net.conv(8, 1, 1, (0, 0, 0, 0), groups=groups)
    uneven(net)
    return prepare(net.graph())


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("kind", BETWEEN)
def test_pairs_are_scaled_across_what_lets_a_factor_through(kind: str, groups: int) -> None:
    graph = pair_net(kind, groups)
    (pair,) = find_pairs(graph)
    assert (pair.source.name, pair.sink.name) == ("n0", graph.nodes[-1].name)
    assert pair.limit == LIMITS.get(kind, INF)
    for step in (equalise, smoothed):
        after = step(graph)
        same_function(graph, after)
        changed = {name for name, w in graph.weights.items() if not np.array_equal(w, after.weights[name])}
        assert changed == {*pair.source.inputs[1:], pair.sink.inputs[1]}
        minima = [node.op.limits for node in after.nodes if isinstance(node.op, ops.Minimum)]
        assert [len(limits) for limits in minima] == ([8] if pair.limit < INF else [])
        assert all(len(set(limits)) > 1 for limits in minima)


@pytest.mark.parametrize("groups", [1, 2, 8])
def test_equalised_ranges_are_alike(groups: int) -> None:
    graph = pair_net("relu", groups)
    (pair,) = find_pairs(graph)
    assert np.ptp(np.log2(source_ranges(graph, pair))) > 2
    after = equalise(graph)
    np.testing.assert_allclose(source_ranges(after, pair), sink_ranges(after, pair), rtol=1e-2)


def test_ranges_of_sources_and_sinks_are_those_of_the_channels() -> None:
    graph = pair_net("relu", 2)
    (pair,) = find_pairs(graph)
    first, second = graph.weights[pair.source.inputs[1]], graph.weights[pair.sink.inputs[1]]
    np.testing.assert_allclose(source_ranges(graph, pair), np.abs(first).max(axis=(1, 2, 3)))
    want = [np.abs(second[4 * (c // 4) : 4 * (c // 4) + 4, c % 4]).max() for c in range(8)]
    np.testing.assert_allclose(sink_ranges(graph, pair), want)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_any_positive_factors_keep_the_function(seed: int) -> None:
    graph, rng = chain(seed), np.random.default_rng(seed)
    after = graph
    for pair in find_pairs(graph):
        after = rescale(after, pair, np.exp2(rng.uniform(-5, 5, graph.shape(pair.source.output)[1])))
    same_function(graph, after)


def test_what_two_layers_read_or_is_the_output_is_no_pair() -> None:
    net = Net(5)
    first = net.conv(4)
    net.conv(4)
    net.add(first)
    net.conv(4)
    graph = net.graph()
    assert find_pairs(graph) == ()
    assert find_pairs(replace(graph, output=first)) == ()
    clipped = Net(6)
    clipped.conv(4)
    clipped.clip(-1.0, 1.0)
    clipped.conv(4)
    assert find_pairs(prepare(clipped.graph())) == ()


@pytest.mark.parametrize("step", [equalise, smoothed])
@pytest.mark.parametrize("dead", [(0, 3), tuple(range(8))])
def test_dead_channels_stay_as_they_are(step, dead: tuple[int, ...]) -> None:
    graph = pair_net("relu")
    for name in graph.nodes[0].inputs[1:]:
        graph.weights[name][list(dead)] = 0
    after = step(graph)
    assert all(np.isfinite(w).all() for w in after.weights.values())
    weight = graph.nodes[1].inputs[1]
    np.testing.assert_array_equal(after.weights[weight][:, list(dead)], graph.weights[weight][:, list(dead)])
    np.testing.assert_allclose(simulate(after, images(graph)), simulate(graph, images(graph)), rtol=1e-4, atol=1e-5)


def test_factors_are_bounded() -> None:
    found = bounded(np.array([1e-9, 0.5, 1e9, 7.0]), np.array([False, False, False, True]))
    np.testing.assert_array_equal(found, [1 / LIMIT, 0.5, LIMIT, 1.0])


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_smoothing_moves_the_difficulty(alpha: float) -> None:
    """With alpha 1 all channels reach equally far afterwards; with 0 the sink's weights do."""
    graph = pair_net("relu")
    x = images(graph)
    (pair,) = find_pairs(graph)
    after = smooth(graph, x, alpha)
    same_function(graph, after)
    values = [forward(simulator(g), *_batch(x), [pair.source.output])[pair.source.output] for g in (graph, after)]
    tops = [value.abs().amax(dim=(0, 2, 3)).numpy() for value in values]
    spread = [float(np.ptp(np.log2(top))) for top in tops]
    weights = [float(np.ptp(np.log2(sink_ranges(g, pair)))) for g in (graph, after)]
    assert spread[0] > 1
    if alpha == 1.0:
        assert spread[1] < 1e-3
    elif alpha == 0.0:
        assert weights[1] < 1e-3 < weights[0]
    else:
        np.testing.assert_allclose(
            tops[1] / sink_ranges(after, pair), (tops[1] / sink_ranges(after, pair))[0], rtol=1e-3
        )


def _batch(x: np.ndarray) -> tuple:
    import torch

    return (torch.from_numpy(x),)


#: No construction here: 92 and 116 need Williamson's, 52 and 100 Paley's over 25 and 49, which are no primes.
WITHOUT = {52, 92, 100, 116}


@pytest.mark.parametrize("order", range(1, 129))
def test_hadamard_matrices_are_orthogonal(order: int) -> None:
    matrix = hadamard(order)
    if (order > 2 and order % 4) or order in WITHOUT:
        assert matrix is None
        return
    assert matrix is not None
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(order), atol=1e-12)
    np.testing.assert_allclose(np.abs(matrix), 1 / np.sqrt(order), rtol=1e-12)


def linear_net(channels: int, *, clip: bool = False) -> Graph:
    """Linear bottlenecks: two of them joined by a sum, then a convolution that reads it."""
    net = Net(7, (1, 3, 6, 6))
    first = net.conv(channels)
    net.conv(10, 1, 1, (0, 0, 0, 0))
    net.clip()
    net.conv(channels, 1, 1, (0, 0, 0, 0))
    net.add(first)
    if clip:
        net.clip()
    net.conv(9, 3)
    net.clip()
    net.mean()
    net.gemm(5)
    net.weights["w0"][2] *= 30
    return prepare(net.graph())


@pytest.mark.parametrize("channels", [4, 8, 12, 20])
def test_rotation_spreads_an_outlier_channel(channels: int) -> None:
    graph = linear_net(channels)
    (stream,) = find_streams(graph)
    assert (len(stream.writers), len(stream.readers), stream.channels) == (2, 2, channels)
    after = rotate(graph)
    same_function(graph, after)
    x = images(graph)
    (name,) = [node.output for node in graph.nodes if node.kind == "Add"]
    tops = [forward(simulator(g), *_batch(x), [name])[name].abs().amax(dim=(0, 2, 3)).numpy() for g in (graph, after)]
    assert tops[1].max() < 0.8 * tops[0].max()
    before, spread = (top.max() / np.median(top) for top in tops)
    assert spread < 0.7 * before


def test_streams_that_may_not_turn_stay() -> None:
    assert find_streams(linear_net(8, clip=True)) == ()
    odd = linear_net(6)
    assert len(find_streams(odd)) == 1
    after = rotate(odd)
    assert all(np.array_equal(after.weights[name], weight) for name, weight in odd.weights.items())
