"""Scales, learned rounding, compensation and bias correction: each does for a layer what it says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from quant.formats import FORMATS, Format, find_format
from quant.graph import Graph
from quant.layerwise import Layer, Setting, walk
from quant.onnx_quant import bias_units
from quant.operators import Requantize
from quant.passes import learned_rounding as learning
from quant.passes.compensate import compensated
from quant.passes.correct_bias import correct_bias
from quant.passes.gptq import grouped, grouped_scale
from quant.passes.learned_rounding import learned_rounding, learned_values, neighbours
from quant.passes.search_scales import best_scale, search_scales
from quant.ptq import lay_out, scheme_ranges
from quant.rounding import quantise
from quant.scheme import parse_scheme
from quant.simulate import compute, forward, real_bias, real_weight, round_weights, simulate, simulator
from tests.float_nets import inputs
from tests.layers import (
    alike_inputs,
    every_window,
    in_format,
    layers_of,
    nearest,
    one_layer,
    output_error,
    outputs,
    real,
    small_net,
)

SIGNED = tuple(fmt for fmt in FORMATS if fmt.signed and fmt.bits <= 8)


def laid_out(graph: Graph, name: str, x: np.ndarray) -> Graph:
    scheme = parse_scheme(name)
    return lay_out(graph, scheme, scheme_ranges(graph, scheme, x))


def known_layer(kind: str, fmt: str, scheme: str = "w8a16") -> tuple[Layer, np.ndarray]:
    graph = one_layer(kind)
    x = alike_inputs(graph)
    return in_format(layers_of(graph, scheme, x)["n0"], find_format(fmt)), x


# --- the walk ---


@pytest.mark.parametrize("name", ["w4a8", "we2m1-ae4m3", "w8a8;n4=we4m3-ae4m3;n7=w8a8"])
def test_a_walk_shows_every_layer_with_what_both_networks_hand_on(name: str) -> None:
    graph, x = small_net(), inputs(40)
    made, seen = laid_out(graph, name, x), []

    def look(layer: Layer) -> Setting:
        seen.append(layer)
        return Setting(made.weights[layer.node.inputs[1]], layer.quant, layer.current_bias)

    walked = walk(made, graph, x, look)
    layers = [node for node in graph.nodes if node.kind in ("Conv", "Gemm")]
    assert [layer.node.name for layer in seen] == [node.name for node in layers]
    assert any(isinstance(node.op, Requantize) for node in made.nodes) == (";" in name)
    for key, weight in made.weights.items():
        np.testing.assert_array_equal(walked.weights[key], weight)
    exact, rough = (forward(simulator(g), torch.from_numpy(x), g.activations()) for g in (graph, made))
    for layer, twin in zip(seen, layers, strict=True):
        np.testing.assert_array_equal(layer.weight, graph.weights[twin.inputs[1]])
        np.testing.assert_array_equal(layer.current, real_weight(made, layer.node.inputs[1]))
        assert layer.source == made.quant(layer.node.inputs[0])
        if layer.node.kind == "Gemm":
            wanted = rough[layer.node.inputs[0]].double().mean(0)
            torch.testing.assert_close(layer.moments.mean[0], wanted, rtol=1e-4, atol=1e-5)
            shift = (exact[twin.inputs[0]] - rough[layer.node.inputs[0]]).double().mean(0)
            torch.testing.assert_close(layer.moments.shift[0], shift, rtol=1e-3, atol=1e-5)


def test_later_layers_of_a_walk_see_earlier_settings() -> None:
    graph, x = small_net(), inputs(40)
    made, means = laid_out(graph, "w8a8", x), []

    def silence(layer: Layer) -> Setting:
        means.append(layer.moments.mean.abs().max())
        codes = np.zeros_like(made.weights[layer.node.inputs[1]])
        return Setting(codes, layer.quant, np.zeros(len(layer.bias)))

    simulated = simulate(walk(made, graph, x, silence), x)
    assert means[0] > 0.1
    assert not any(means[1:])
    assert np.ptp(simulated) == 0


# --- bias correction ---


def mean_errors(graph: Graph, made: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    """Mean error of every layer's sums before its clip, per channel, in units of its bias."""
    batch = torch.from_numpy(x)
    exact, rough = (forward(simulator(g), batch, g.activations()) for g in (graph, made))
    found = {}
    for node in made.nodes:
        if node.kind in ("Conv", "Gemm"):
            twin = next(n for n in graph.nodes if n.name == node.name)
            sums = []
            for g, values, layer, bias in (
                (graph, exact, twin, graph.weights[twin.inputs[2]]),
                (made, rough, node, real_bias(made, node)),
            ):
                weight = torch.from_numpy(np.asarray(real_weight(g, layer.inputs[1]), np.float64))
                y = compute(layer, [values[layer.inputs[0]].double(), weight, torch.from_numpy(bias).double()])
                sums.append(y.transpose(0, 1).flatten(1).mean(1).numpy())
            units = bias_units(made.quant(node.inputs[0]), made.quant(node.inputs[1]))
            found[node.name] = (sums[1] - sums[0]) / units
    return found


@pytest.mark.parametrize("name", ["w4a8", "w3a4-pt", "we2m1-ae4m3", "we3m2-aint8", "w4a8-mse"])
def test_bias_correction_removes_the_mean_error(name: str) -> None:
    """To half a unit of the bias, and what float32 sums leave."""
    graph, x = small_net(), inputs(48)
    made = laid_out(graph, name, x)
    with every_window():
        corrected = correct_bias(made, graph, x)
    assert corrected.tensors == made.tensors
    before, after = mean_errors(graph, made, x), mean_errors(graph, corrected, x)
    assert list(after) == ["n0", "n2", "n4", "n7"]
    assert max(np.abs(error).max() for error in before.values()) > 2
    for node, error in after.items():
        bias = next(n.inputs[2] for n in corrected.nodes if n.name == node)
        assert np.abs(error).max() <= 0.5 + 3e-6 * np.abs(corrected.weights[bias]).max(), node
    assert all(np.array_equal(corrected.weights[n], w) for n, w in made.weights.items() if w.ndim > 1)
    want = simulate(graph, x)
    errors = [np.square(simulate(g, x) - want).mean() for g in (corrected, made)]
    assert errors[0] < errors[1]


# --- learned rounding ---


@pytest.mark.parametrize("fmt", SIGNED, ids=lambda fmt: fmt.name)
def test_neighbours_are_those_on_the_grid(fmt: Format) -> None:
    grid = np.array([fmt.units_of_ordinal(k) * fmt.unit for k in fmt.ordinals()])
    grid = grid[grid >= -fmt.max]
    beside = [np.nextafter(grid, side * np.inf) for side in (-1, 1)]
    values = np.unique(np.concatenate([grid, *beside, (grid[1:] + grid[:-1]) / 2, [-3 * fmt.max, 3 * fmt.max]]))
    low, up = (t.numpy() for t in neighbours(fmt, torch.from_numpy(values)))
    index = np.clip(np.searchsorted(grid, values, side="right"), 1, len(grid) - 1)
    np.testing.assert_array_equal(low, grid[index - 1])
    np.testing.assert_array_equal(up, grid[index])
    inside = np.abs(values) <= fmt.max
    assert ((low <= values) & (values <= up))[inside].all()
    nearest_value = quantise(fmt, np.clip(values, -fmt.max, fmt.max))
    assert ((nearest_value == low) | (nearest_value == up)).all()


LEARNED = [
    ("plain", "int3"),
    ("plain", "e4m3"),
    ("grouped", "int4"),
    ("grouped", "e3m0"),
    ("depthwise", "e2m1"),
    ("gemm", "e7m0"),
    ("gemm", "int8"),
]


@pytest.mark.parametrize(("kind", "fmt"), LEARNED)
def test_learned_rounding_picks_neighbours_and_beats_rounding_to_nearest(kind: str, fmt: str) -> None:
    layer, x = known_layer(kind, fmt)
    target = torch.from_numpy(layer.weight)
    values = learned_values(layer, layer.quant, target)
    low, up = neighbours(layer.quant.format, grouped(layer, target) / grouped_scale(layer, layer.quant))
    assert ((values == low) | (values == up)).all()
    # Not a disguised rounding to nearest: some go the other way, and the output gains by it.
    plain = nearest(layer)
    assert 0.001 < (np.abs(real(layer, values) - plain) > 1e-9 * np.abs(plain).max()).mean() < 0.6
    assert 0 < output_error(layer, real(layer, values), x) < 0.97 * output_error(layer, plain, x)


@pytest.mark.parametrize("fmt", ["int4", "e2m1", "e4m3", "e3m0"])
def test_learned_rounding_starts_at_the_fraction(fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without training, every weight goes to its nearer neighbour."""
    layer, _ = known_layer("plain", fmt)
    monkeypatch.setattr(learning, "ITERATIONS", 0)
    values = learned_values(layer, layer.quant, torch.from_numpy(layer.weight))
    np.testing.assert_allclose(real(layer, values), nearest(layer), rtol=1e-6)


def test_no_channel_ends_worse_than_rounded_to_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = known_layer("plain", "int3")
    monkeypatch.setattr(learning, "ITERATIONS", 30)
    monkeypatch.setattr(learning, "RATE", 1.0)
    values = real(layer, learned_values(layer, layer.quant, torch.from_numpy(layer.weight)))
    errors = [outputs(layer, w - layer.weight, x) for w in (values, nearest(layer))]
    power = [np.square(e - e.mean(axis=1, keepdims=True)).mean(axis=1) for e in errors]
    assert (power[0] <= power[1] * 1.01).all()


@pytest.mark.parametrize("name", ["w3a8", "we2m1-ae4m3"])
def test_learned_rounding_of_a_network(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learning, "ITERATIONS", 300)
    graph, x = small_net(), inputs(64)
    made = laid_out(graph, name, x)
    learned = learned_rounding(made, graph, x)
    assert learned.tensors == made.tensors
    want = simulate(graph, x)
    errors = [np.square(simulate(one, x) - want).mean() for one in (learned, made)]
    assert 0 < errors[0] < errors[1]
    assert len(np.unique(simulate(learned, x).argmax(axis=1))) > 1


# --- scales ---


def criterion(layer: Layer, scale: tuple[float, ...]) -> np.ndarray:
    """The squared error of rounding to nearest, weighted by the power of the inputs, per output channel."""
    power = layer.moments.centred.diagonal(dim1=-2, dim2=-1)[:, None, :].numpy()
    weight = grouped(layer, torch.from_numpy(layer.weight))
    grid = grouped_scale(layer, replace(layer.quant, scale=scale))
    rounded = round_weights(layer.quant.format, weight / grid).double() * grid
    lost: np.ndarray = (np.square((weight - rounded).numpy()) * power).sum(-1).reshape(-1)
    return lost


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("fmt", ["int3", "int4", "int8", "e2m1", "e3m2", "e4m3", "e3m0"])
@pytest.mark.parametrize("kind", ["plain", "depthwise", "gemm"])
def test_scales_are_never_worse_than_the_largest_weight(kind: str, fmt: str, per_channel: bool) -> None:
    layer = in_format(known_layer(kind, fmt)[0], find_format(fmt), per_channel=per_channel)
    found = best_scale(layer, torch.from_numpy(layer.weight))
    assert (found.format, len(found.scale)) == (layer.quant.format, len(layer.quant.scale))
    chosen, present = criterion(layer, found.scale), criterion(layer, layer.quant.scale)
    if per_channel:
        assert (chosen <= present).all()
    assert chosen.sum() <= present.sum()
    if fmt in ("int3", "int4"):
        assert chosen.sum() < 0.95 * present.sum()
    ratio = np.array(found.scale) / np.array(layer.quant.scale)
    assert ((ratio > 0.34) & (ratio <= 1)).all()
    assert all(float(np.float32(s)) == s for s in found.scale)


@pytest.mark.parametrize("per_channel", [True, False])
@pytest.mark.parametrize("share", [0.6, 0.8, 0.97, 1.0])
def test_scales_stay_above_the_floor_and_are_measured_there(share: float, per_channel: bool) -> None:
    layer = in_format(known_layer("plain", "int3")[0], find_format("int3"), per_channel=per_channel)
    floor = np.broadcast_to(np.array(layer.quant.scale) * share, len(layer.weight))
    found = best_scale(replace(layer, floor=floor), torch.from_numpy(layer.weight))
    assert (np.array(found.scale) >= floor[: len(found.scale)] * (1 - 1e-6)).all()
    chosen, present = criterion(layer, found.scale), criterion(layer, layer.quant.scale)
    assert (chosen <= present).all() if per_channel else chosen.sum() <= present.sum()


def test_scales_of_a_network() -> None:
    graph, x = small_net(), inputs(64)
    made = laid_out(graph, "w3a8", x)
    searched = search_scales(made, graph, x)
    want = simulate(graph, x)
    assert np.square(simulate(searched, x) - want).mean() < np.square(simulate(made, x) - want).mean()
    for node in graph.nodes:
        if node.kind in ("Conv", "Gemm"):
            quant = searched.quant(node.inputs[1])
            scale = np.array(quant.scale).reshape(-1, *(1 for _ in graph.shape(node.inputs[1])[1:]))
            nearest_codes = np.clip(np.rint(graph.weights[node.inputs[1]] / scale), -3, 3)
            assert (searched.weights[node.inputs[1]] == nearest_codes).mean() > 0.99
            assert (np.array(quant.scale) < np.array(made.quant(node.inputs[1]).scale)).any()


# --- compensation ---


@pytest.mark.parametrize("kind", ["plain", "grouped", "depthwise", "gemm"])
@pytest.mark.parametrize("bias", ["moves", "stays"])
def test_compensation_makes_up_for_rounded_inputs(kind: str, bias: str) -> None:
    graph = one_layer(kind)
    x = alike_inputs(graph, 200)
    layer = layers_of(graph, "w16a2-pt", x)["n0"]
    working = layer if bias == "moves" else layer.with_fixed_bias
    fitted = compensated(working).numpy()
    rough = forward(simulator(laid_out(graph, "w16a2-pt", x)), torch.from_numpy(x), [graph.input])[graph.input].numpy()
    wanted = outputs(layer, layer.weight, x)
    errors = [outputs(layer, weight, rough) - wanted for weight in (fitted, layer.weight)]
    if bias == "moves":
        errors = [e - e.mean(axis=1, keepdims=True) for e in errors]
    power = [float(np.square(e).mean()) for e in errors]
    assert 0 < power[0] < power[1]
    assert not np.allclose(fitted, layer.weight, rtol=1e-3)


def test_compensation_of_exact_inputs_changes_nothing() -> None:
    layer, _ = known_layer("plain", "int8")
    still = replace(layer, moments=replace(layer.moments, cross=torch.zeros_like(layer.moments.cross)).about_zero)
    np.testing.assert_array_equal(compensated(still).numpy(), layer.weight)
