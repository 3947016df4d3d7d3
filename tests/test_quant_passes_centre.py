"""Centring logits: the same label, the same probabilities, and finer steps where minifloats decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quant.graph import Graph
from quant.judge import margin_error
from quant.method import apply_method, parse_method
from quant.passes.centre import CLOSE_SHARE, centre, close_images, deciding_layer, deciding_level
from quant.scheme import parse_scheme
from quant.simulate import simulate
from tests.classes import class_inputs, class_net


@pytest.fixture(scope="module")
def raised() -> Graph:
    """A classifier whose logits all lie far above zero."""
    graph = class_net()
    layer = deciding_layer(graph)
    assert layer is not None
    weights = dict(graph.weights)
    weights[layer.inputs[2]] = weights[layer.inputs[2]] + np.float32(40)
    return replace(graph, weights=weights)


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def test_logits_move_by_one_constant(raised: Graph) -> None:
    x = class_inputs(60, 3)
    moved = centre(raised, x)
    before, after = simulate(raised, x), simulate(moved, x)
    gap = before - after
    assert gap.min() > 20
    np.testing.assert_allclose(gap, gap.mean(), atol=1e-4)
    np.testing.assert_allclose(softmax(after), softmax(before), atol=1e-4)
    np.testing.assert_array_equal(after.argmax(axis=1), before.argmax(axis=1))
    assert len(set(after.argmax(axis=1))) > 1
    assert abs(deciding_level(after)) < 1e-4
    np.testing.assert_allclose(simulate(centre(moved, x), x), after, atol=1e-4)


@pytest.mark.parametrize("scheme", ["we4m3-ae4m3", "we3m2-ae3m2", "we2m3-ae2m3"])
def test_minifloats_tell_close_decisions_apart_better(scheme: str, raised: Graph) -> None:
    x, other = class_inputs(60, 3), class_inputs(200, 4)
    wanted = simulate(raised, other).astype(np.float64)
    plain, centred = (
        simulate(apply_method(raised, parse_scheme(scheme), parse_method(name), x), other).astype(np.float64)
        for name in ("bias", "centre+bias")
    )
    assert margin_error(wanted, centred) < 0.8 * margin_error(wanted, plain)


def test_close_images_are_those_of_least_margin() -> None:
    logits = np.array([[0.0, 5, 4.5], [9, 1, 8.9], [3, 0, 1]] * 10)
    assert len(close_images(logits)) == round(30 * CLOSE_SHARE)
    assert set(close_images(logits) % 3) == {1}
    assert deciding_level(logits) == pytest.approx(8.95)
    assert len(close_images(logits[:1])) == 1


def test_what_makes_no_logits_is_left_alone(raised: Graph) -> None:
    x = class_inputs(8, 3)
    *others, last = raised.nodes
    clipped = replace(raised, nodes=(*others, replace(last, clip=(0.0, 6.0))))
    assert centre(clipped, x) is clipped
    middle = replace(raised, output=raised.nodes[0].output, nodes=raised.nodes[:1])
    assert centre(middle, x) is middle
