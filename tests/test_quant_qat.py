"""Graph to trainable module and back: the very same codes, and the function of the integer reference, also trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed")
pytest.importorskip("brevitas", reason="Brevitas is not installed")

from quant.errors import QuantError  # noqa: E402
from quant.formats import INT8, Array, find_format, integer  # noqa: E402
from quant.graph import Graph, Node, Quant  # noqa: E402
from quant.operators import Conv, Gemm  # noqa: E402
from quant.program import Step, WideAddStep, lower  # noqa: E402
from quant.ptq import lay_out, prepare, quantise  # noqa: E402
from quant.qat import QatModule, activation_codes, build, to_graph, weight_codes  # noqa: E402
from quant.ranges import estimate_ranges  # noqa: E402
from quant.reference import dequantise, fast_dot, quantise_input, run  # noqa: E402
from quant.scheme import parse_scheme  # noqa: E402
from quant.simulate import compute, simulate  # noqa: E402
from tests.float_nets import inputs, random_net  # noqa: E402
from tests.networks import network  # noqa: E402
from tests.toys import toy_graph  # noqa: E402
from tests.toys_fitted import fitted_graph, real_inputs  # noqa: E402

#: Activations and weights; every kind of grid takes part on both sides.
PAIRS = (
    ("int8", "int8"),
    ("int8", "int4"),
    ("int4", "int2"),
    ("int3", "int3"),
    ("int16", "int8"),
    ("int8", "e2m1"),
    ("e3m2", "int4"),
    ("e2m1", "e2m1"),
    ("e3m0", "e2m0"),
    ("e1m2", "e1m1"),
    ("e4m3", "e4m3"),
    ("e4m3fn", "e4m3fn"),
)
#: Error of a float32 sum, relative to the sum of magnitudes.
FLOAT_SUM = 2.0**-22


def fitted(act: str, weight: str) -> tuple[Graph, Array]:
    """Every operator, with ranges that fit, and inputs."""
    graph = fitted_graph(find_format(act), find_format(weight))
    return graph, real_inputs(graph, 16).astype(np.float32)


def train(module: QatModule, x: Array, steps: int = 6, rate: float = 0.3) -> None:
    """Push the outputs apart for a few steps; labels keep differing between images."""
    optimiser = torch.optim.Adam(module.parameters(), rate)
    start = module(torch.from_numpy(x)).detach()
    target = 2 * (start - start.mean(0))
    for _ in range(steps):
        optimiser.zero_grad()
        (module(torch.from_numpy(x)) - target).square().mean().backward()
        optimiser.step()


def layers(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if isinstance(node.op, Conv | Gemm)]


def check_same_codes(module: QatModule, graph: Graph) -> None:
    """The graph's weights are those of the module's own forward pass."""
    for node in layers(graph):
        layer = module.layer(node)
        quant = graph.quant(node.inputs[1])
        used = layer.grid(layer.real_weight()).detach().numpy()
        scale = np.float32(quant.scale).reshape(-1, *(1 for _ in used.shape[1:]))
        stored = quant.format.decode(graph.weights[node.inputs[1]]).astype(np.float32) * scale
        np.testing.assert_array_equal(stored, used)
        np.testing.assert_array_equal(graph.weights[node.inputs[1]], weight_codes(module, node))


def check_against_reference(module: QatModule, graph: Graph, x: Array) -> tuple[float, dict[str, Array]]:
    """From the reference's own inputs every node is at most one step away, and that only beside ties.

    Returns the share of values that differ, and the reference's codes.
    """
    program = lower(graph)
    codes = run(program, quantise_input(graph.quant(graph.input), x), fast_dot)
    real = {name: torch.from_numpy(dequantise(graph.quant(name), value)) for name, value in codes.items()}
    shares = []
    for node, step in zip(graph.nodes, program.steps, strict=True):
        quant = graph.quant(node.output)
        with torch.no_grad():
            found = activation_codes(quant, module.run_node(node, real))
        steps = np.abs(quant.format.to_ordinals(found) - quant.format.to_ordinals(codes[node.output]))
        shares.append(float((steps > 0).mean()))
        xs = [real[name] for name in node.inputs if name in real]
        if isinstance(step, WideAddStep):
            check_wide_sum(quant, xs, found, codes[node.output])
            continue
        assert steps.max() <= 1, node.name
        xs += module.rounded(node) if isinstance(node.op, Conv | Gemm) else []
        before, reach = (compute(node, ts).detach().double().numpy() for ts in (xs, [x.abs() for x in xs]))
        distance, sums = from_tie(quant, before, reach * FLOAT_SUM)
        assert np.all(distance[steps > 0] <= slack(step) + sums[steps > 0]), node.name
    return float(np.mean(shares)), codes


def check_wide_sum(quant: Quant, xs: list[torch.Tensor], found: Array, wanted: Array) -> None:
    """Addends of a minifloat sum are weighed to 2^-14: where they cancel, that can be more than one step."""
    first, second = (x.abs().double().numpy() for x in xs)
    a, b = (quant.format.decode(codes) * quant.scale[0] for codes in (found, wanted))
    step = np.maximum(np.abs(b) * 2.0**-quant.format.mantissa, quant.scale[0] * quant.format.unit)
    assert np.all(np.abs(a - b) <= 1.01 * step + (first + second) * 2.0**-14)


def from_tie(quant: Quant, values: Array, errors: Array) -> tuple[Array, Array]:
    """Return how far real values lie from the nearest tie between two codes, and their errors, both in steps there."""
    unit = quant.scale[0] * quant.format.unit
    if quant.format.is_minifloat:
        unit = unit * 2.0 ** np.maximum(np.frexp(values / unit)[1] - 1 - quant.format.mantissa, 0)
    scaled = values / unit
    return np.abs(scaled - np.floor(scaled) - 0.5), errors / unit


def slack(step: Step) -> float:
    """Return how far from a tie the reference may round the other way.

    The Q31 rule rounds to 2^-right of a step first. A 15-bit multiplier moves a minifloat of at most 2^7 steps by 2^-8.
    """
    requant = getattr(step, "requant", None)
    if requant is None or requant.format.is_minifloat:
        return 0.01
    return float(max(2.0 ** -(max(-m.exponent, 0) + 1) for m in requant.multipliers) + 0.01)


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(("act", "weight"), PAIRS)
def test_there_and_back_changes_nothing(act, weight, learned):
    graph, _ = fitted(act, weight)
    back = to_graph(build(graph, learn_scales=learned))
    assert back.tensors == graph.tensors
    assert back.nodes == graph.nodes
    for name, codes in graph.weights.items():
        np.testing.assert_array_equal(back.weights[name], codes)
        assert back.weights[name].dtype == codes.dtype


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize(("act", "weight"), PAIRS)
def test_a_trained_module_and_its_graph_compute_the_same(act, weight, learned):
    graph, x = fitted(act, weight)
    module = build(graph, learn_scales=learned)
    check_against_reference(module, graph, x)
    train(module, x)
    trained = to_graph(module)
    moved = [np.any(trained.weights[n.inputs[1]] != graph.weights[n.inputs[1]]) for n in layers(graph)]
    assert all(moved)
    assert (trained.tensors != graph.tensors) == learned
    check_same_codes(module, trained)
    check_against_reference(module, trained, x)
    outputs = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(outputs, simulate(trained, x), rtol=1e-5, atol=1e-7)
    assert len(np.unique(outputs.reshape(len(x), -1).argmax(axis=1))) > 1


@pytest.mark.parametrize("scheme", ["w8a8", "w4a4", "w4a8-sym-pt", "we3m2-ae3m2", "we2m1-aint8", "w8a8;n0=w3a8"])
@pytest.mark.parametrize("seed", [0, 3, 5])
def test_random_networks(seed, scheme):
    floating, x = prepare(random_net(seed)), inputs(12, seed)
    graph = quantise(floating, parse_scheme(scheme), x)
    module = build(graph, floating, learn_scales=True)
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), simulate(graph, x), rtol=1e-5, atol=1e-6)
    train(module, x, steps=3, rate=0.1)
    trained = to_graph(module)
    check_same_codes(module, trained)
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), simulate(trained, x), rtol=1e-4, atol=1e-5)


def test_formats_that_only_the_emulation_runs_train_too():
    floating, x = prepare(random_net(1)), inputs(8)
    graph = lay_out(floating, parse_scheme("we5m2-ae5m2"), estimate_ranges(floating, x, None))
    with pytest.raises(QuantError, match="accumulator"):
        lower(graph)
    module = build(graph, floating)
    before = module(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(before, simulate(graph, x), rtol=1e-5, atol=1e-6)
    train(module, x, steps=2)
    np.testing.assert_allclose(module(torch.from_numpy(x)).detach().numpy(), simulate(to_graph(module), x), rtol=1e-5)


def test_weights_start_at_their_float_values_where_these_round_to_the_codes():
    floating, x = prepare(random_net(2)), inputs(8)
    graph = quantise(floating, parse_scheme("w4a8"), x)
    node = layers(graph)[0]
    name = node.inputs[1]
    module = build(graph, floating)
    np.testing.assert_allclose(module.layer(node).real_weight().detach().numpy(), floating.weights[name], rtol=1e-5)
    # Another rounding, as GPTQ or learned rounding choose: the code is kept, and the weight starts in its middle.
    changed = graph.weights[name].copy()
    changed.flat[0] += -1 if changed.flat[0] > 0 else 1
    other = replace(graph, weights={**graph.weights, name: changed})
    module = build(other, floating)
    np.testing.assert_array_equal(to_graph(module).weights[name], changed)
    real, scale = module.layer(node).real_weight().detach().numpy(), graph.quant(name).scale[0]
    assert real.flat[0] == pytest.approx(int(changed.flat[0]) * scale, rel=1e-5)
    np.testing.assert_allclose(real.flat[1:], floating.weights[name].flat[1:], rtol=1e-5)


def test_the_lowest_code_of_an_imported_weight_is_kept():
    graph = toy_graph()
    weight = graph.weights["fc_w"].copy()
    weight[0, 0] = -128
    graph = replace(graph, weights={**graph.weights, "fc_w": weight})
    assert to_graph(build(graph)).weights["fc_w"][0, 0] == -128


def test_biases_are_on_the_accumulators_grid_in_the_module_too():
    graph, x = fitted("int4", "int2")
    module = build(graph)
    train(module, x)
    with torch.no_grad():
        for node in layers(graph):
            module.layer(node).bias += 0.4
    trained = to_graph(module)
    for node in layers(graph):
        bias = module.rounded(node)[1].detach().double().numpy()
        quants = [trained.quant(name) for name in node.inputs[:2]]
        units = np.array(quants[1].scale) * quants[0].scale[0]
        np.testing.assert_allclose(bias / units, trained.weights[node.inputs[2]], rtol=1e-6)
        assert np.any(trained.weights[node.inputs[2]] != graph.weights[node.inputs[2]])


def test_tensors_that_share_a_scale_keep_sharing_it():
    graph, x = fitted("int8", "int8")
    module = build(graph, learn_scales=True)
    train(module, x)
    trained = to_graph(module)
    for name in ("p", "q", "j"):
        assert trained.quant(name) == trained.quant("a") != graph.quant("a")
    lower(trained)


def test_what_cannot_be_trained_is_refused():
    floating, x = prepare(random_net(2)), inputs(8)
    graph = quantise(floating, parse_scheme("w8a8"), x)
    with pytest.raises(QuantError, match="is a float graph; quantise it first"):
        build(floating)
    with pytest.raises(QuantError, match="is not in the float graph"):
        build(graph, prepare(random_net(3)))
    module = build(graph)
    with torch.no_grad():
        module.layer(layers(graph)[0]).weight.fill_(float("nan"))
    with pytest.raises(QuantError, match="no longer finite after training; lower the learning rate"):
        to_graph(module)


@pytest.mark.parametrize("scheme", ["w8a8", "w4a8", "we2m1-aint8", "we4m3-ae4m3"])
def test_a_real_network_agrees_with_the_reference(scheme):
    net = network("resnet8", scheme, count=48)
    module = build(net.graph, net.float_graph)
    for _ in range(2):
        graph = to_graph(module)
        check_same_codes(module, graph)
        share, codes = check_against_reference(module, graph, net.inputs)
        assert share < 0.05
        labels = module(torch.from_numpy(net.inputs)).detach().numpy().argmax(axis=1)
        reference = dequantise(graph.quant(graph.output), codes[graph.output])
        assert (labels == reference.argmax(axis=1)).mean() >= 0.9
        assert len(np.unique(labels)) > 1
        train(module, net.inputs, steps=2, rate=0.01)


def test_integers_of_two_bits_and_unsigned_activations_have_grids():
    assert to_graph(build(toy_graph(integer(8, signed=False), integer(2)))).quant("x").format.name == "uint8"
    assert to_graph(build(toy_graph(INT8, integer(2)))).quant("fc_w").format.name == "int2"
