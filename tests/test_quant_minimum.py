"""A limit for every channel: what ReLU6 becomes when channels are scaled. The function stays, and codes are exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import operators as ops
from quant.assign import assign_ranges
from quant.errors import QuantError
from quant.formats import Array, find_format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.graph_file import from_bytes, to_bytes
from quant.onnx_write import run_float
from quant.passes.equalise import equalise
from quant.passes.scaling import find_pairs, rescale
from quant.passes.smooth import smooth
from quant.program import clip_ordinals, lower
from quant.ptq import quantise
from quant.reference import dequantise, exact_dot, run
from quant.scheme import parse_scheme
from quant.simulate import apply, simulate, simulator
from tests.limited_nets import LIMIT, images, mobile, quantised

#: Largest difference of logits, relative to the largest logit: float32 rounding, which 5 octaves of factors amplify.
CLOSE = 2e-5


def apart(before: Graph, after: Graph, seed: int) -> float:
    """Return the largest relative difference of logits on images that no pass has seen."""
    x = images(before, 16, seed)
    want, found = simulate(before, x), simulate(check(after), x)
    assert len(set(want.argmax(axis=1).tolist())) > 1
    return float(np.abs(found - want).max() / np.abs(want).max())


def smoothed(graph: Graph) -> Graph:
    return smooth(graph, images(graph))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("step", [equalise, smoothed, lambda graph: smoothed(equalise(graph))])
def test_scaling_across_limits_keeps_the_function(step, seed: int) -> None:
    graph = mobile(seed)
    after = step(graph)
    minima = [node.op for node in after.nodes if isinstance(node.op, ops.Minimum)]
    assert len(minima) == 5
    assert all(max(op.limits) > 1.2 * min(op.limits) for op in minima)
    # Stem, depthwise and pointwise layers all keep their lower limit; the upper one is the Minimum's.
    assert {node.clip for node in after.nodes} == {None, (0.0, float("inf"))}
    assert apart(graph, after, 90 + seed) < CLOSE
    x = images(graph, 16, 7)
    np.testing.assert_allclose(run_float(after, x), run_float(graph, x), atol=CLOSE * np.abs(run_float(graph, x)).max())


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 3))
def test_any_factors_keep_the_function_and_undo_each_other(seed: int, net: int) -> None:
    graph, rng = mobile(net), np.random.default_rng(seed)
    pairs = [pair for pair in find_pairs(graph) if pair.limit == LIMIT]
    assert len(pairs) == 5
    factors = {pair.source.name: np.exp2(rng.uniform(-5, 5, graph.shape(pair.source.output)[1])) for pair in pairs}
    after = graph
    for pair in pairs:
        after = rescale(after, pair, factors[pair.source.name])
    assert apart(graph, after, seed) < CLOSE
    for pair in find_pairs(after):
        if pair.source.name in factors:
            after = rescale(after, pair, 1 / factors[pair.source.name])
    for node in after.nodes:
        if isinstance(node.op, ops.Minimum):
            np.testing.assert_allclose(node.op.limits, LIMIT, rtol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(("int8", "uint8", "int4", "int16", "e4m3", "e2m1", "e5m2")),
    st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=6),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_the_reference_clips_each_channel(name: str, limits: list[float], image: bool, seed: int) -> None:
    fmt, rng, channels = find_format(name), np.random.default_rng(seed), len(limits)
    zero = 0 if fmt.is_minifloat else int(rng.integers(fmt.min_ordinal, fmt.max_ordinal + 1))
    quant = Quant(fmt, (float(np.float32(6 / fmt.max)),), zero)
    shape = (1, channels, 3, 2) if image else (1, channels)
    op = ops.Minimum(limits=tuple(limits))
    tensors = {"x": Tensor(shape, quant), "y": Tensor(shape, quant)}
    program = lower(Graph("m", "x", "y", (Node("m", op, ("x",), "y"),), tensors))
    codes = fmt.from_ordinals(rng.integers(fmt.min_ordinal, fmt.max_ordinal + 1, (5, *shape[1:])))
    found = fmt.to_ordinals(run(program, codes)["y"])
    for channel, limit in enumerate(limits):
        top = clip_ordinals(quant, (-np.inf, limit))[1]
        want = np.clip(fmt.to_ordinals(codes)[:, channel], fmt.min_ordinal, top)
        np.testing.assert_array_equal(found[:, channel], want)


@pytest.mark.parametrize("scheme", ["w8a8", "w8a8-sym", "w4a4", "we4m3-ae4m3", "we2m1-ae4m3", "w8a16"])
def test_emulation_of_a_minimum_is_exact(scheme: str) -> None:
    """On the reference's own inputs, and the reference itself whichever way it sums."""
    graph, codes, values = quantised(scheme, 1)
    assert all(np.array_equal(run(lower(graph), codes, dot=exact_dot)[name], value) for name, value in values.items())
    sim = simulator(graph)
    for node in graph.nodes:
        if isinstance(node.op, ops.Minimum):
            found = apply(sim, node, [real(graph, node.inputs[0], values)])
            assert torch.equal(found, real(graph, node.output, values))


def real(graph: Graph, name: str, values: Mapping[str, Array]) -> torch.Tensor:
    """Return the reference's values of a tensor as float32."""
    return torch.from_numpy(dequantise(graph.quant(name), values[name]))


def test_what_a_minimum_reads_takes_its_range() -> None:
    graph = equalise(mobile())
    first = next(node for node in graph.nodes if isinstance(node.op, ops.Minimum))
    names = graph.activations()
    ranges = dict.fromkeys(names, (0.0, 1.0)) | {first.inputs[0]: (0.0, 50.0), first.output: (0.0, 2.0)}
    shared = assign_ranges(graph, ranges, dict.fromkeys(names, find_format("int8")))
    assert shared[first.inputs[0]] == shared[first.output] == (0.0, 2.0)


def test_the_file_of_a_graph_keeps_every_limit() -> None:
    graph = quantised("w8a8")[0]
    again = from_bytes(to_bytes(graph))
    assert again.nodes == graph.nodes
    assert any(isinstance(node.op, ops.Minimum) for node in again.nodes)


def _with_limits(graph: Graph, limits: tuple[float, ...]) -> Graph:
    nodes = (
        replace(node, op=ops.Minimum(limits=limits)) if isinstance(node.op, ops.Minimum) else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


@pytest.mark.parametrize(("limits", "says"), [((1.0,), "1 limits for the 8 channels"), ((np.nan,) * 8, "not a number")])
def test_limits_that_do_not_fit_are_refused_by_name(limits: tuple[float, ...], says: str) -> None:
    graph = _with_limits(quantised("w8a8")[0], limits)
    with pytest.raises(QuantError, match=rf"node 'n0\.limits' \(Minimum\).*{says}"):
        check(graph)
    with pytest.raises(QuantError, match=r"n0\.limits"):
        from_bytes(to_bytes(graph))


def test_training_computes_a_minimum_exactly() -> None:
    pytest.importorskip("brevitas", reason="brevitas is not installed")
    from quant.qat import activation_codes, build

    graph, _, values = quantised("w8a8", 2)
    module = build(graph)
    given = {name: real(graph, name, values) for name in graph.activations()}
    for node in graph.nodes:
        same = activation_codes(graph.quant(node.output), module.run_node(node, given)) == values[node.output]
        assert same.mean() > (0.999999 if isinstance(node.op, ops.Minimum) else 0.95)


def test_quantised_networks_stay_near_their_float_network() -> None:
    """Equalised or not, the quantised network computes the same function up to its rounding."""
    graph = mobile(3)
    x = images(graph, 40, 11)
    want = simulate(graph, x)
    for shaped in (graph, equalise(graph)):
        made = quantise(shaped, parse_scheme("w8a8"), x)
        found = simulate(made, x)
        assert float((found.argmax(axis=1) == want.argmax(axis=1)).mean()) > 0.8
        assert lower(made).steps
