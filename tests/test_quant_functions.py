"""Functions as tables, and products: real meaning, refusals, ranges, and what the passes make of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quant import operators as ops
from quant.errors import QuantError
from quant.formats import Array, Format, find_format
from quant.functions import fixed_range, limits, real, table
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.graph_file import from_bytes, to_bytes
from quant.method import apply_method, parse_method, reshape
from quant.onnx_write import run_float
from quant.passes.equalise import equalise
from quant.passes.scaling import find_pairs
from quant.program import MulStep, TableStep, clip_ordinals, lower
from quant.ptq import activation_quant, quantise
from quant.qat import build, to_graph
from quant.reference import dequantise, run
from quant.rounding import to_nearest_ordinals
from quant.scheme import parse_scheme
from quant.simulate import simulate
from tests.gated_nets import KINDS, function, gated, images, quantised

#: Pairs of formats with TFLite's arithmetic, and pairs without.
BYTES = (("int8", "int8"), ("uint8", "int8"), ("int4", "int4"), ("int8", "int4"))
ROUNDED = (("e4m3", "e4m3"), ("e3m2", "e2m1"), ("int8", "int16"), ("int8", "e4m3"), ("e4m3fn", "int8"))


def grids(name: str, pair: tuple[str, str], seed: int, *, symmetric: bool) -> tuple[ops.Function, Quant, Quant]:
    """A function, a random input grid, and the output grid its values ask for."""
    op, rng = function(name), np.random.default_rng(seed)
    low, high = -float(rng.uniform(0, 12)), float(rng.uniform(0.5, 12))
    first, second = (find_format(fmt) for fmt in pair)
    x = activation_quant(first, low, high, symmetric=symmetric and first.signed)
    values = real(op, np.linspace(low, high, 500))
    ends = (float(values.min()), float(values.max()))
    if second.bits == 8 and not second.is_minifloat:
        ends = fixed_range(op) or ends
    return op, x, activation_quant(second, *ends, symmetric=symmetric)


def exact(op: ops.Function, x: Quant, y: Quant) -> tuple[Array, Array]:
    """The pattern of every number of x, and the position on y's axis of the function of it, not rounded."""
    codes = x.format.from_ordinals(np.array(x.format.ordinals(), dtype=np.int64))
    values = (x.format.decode(codes) - x.zero * x.format.unit) * x.scale[0]
    return codes.astype(np.int64) % (1 << x.format.bits), real(op, values) / y.scale[0]


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("pair", BYTES)
@pytest.mark.parametrize("name", ops.FUNCTIONS)
def test_tflites_arithmetic_is_near_the_real_function_and_says_how_near(name, pair, symmetric):
    varied = 0
    for seed in range(30):
        op, x, y = grids(name, pair, seed, symmetric=symmetric)
        low, high = clip_ordinals(y, limits(op, None))
        entries, off = table(op, x, y, (low, high))
        patterns, values = exact(op, x, y)
        ideal = np.clip(np.rint(values) + y.zero, low, high)
        found = np.array(entries)[patterns]
        assert np.abs(found - ideal).max() == off
        # The gate of a swish is rounded to 1/256 and then multiplied by up to 12.
        assert off <= (1 if name != "swish" else 1 + 12 / 512 / y.scale[0])
        varied += len(np.unique(found)) > 2
    assert varied > 20


@pytest.mark.parametrize("pair", ROUNDED)
@pytest.mark.parametrize("name", ops.FUNCTIONS)
def test_other_formats_round_the_real_function_once(name, pair):
    for seed in range(10):
        op, x, y = grids(name, pair, seed, symmetric=False)
        low, high = clip_ordinals(y, limits(op, None))
        entries, off = table(op, x, y, (low, high))
        patterns, values = exact(op, x, y)
        zero = 0 if y.format.is_minifloat else y.zero
        nearest = to_nearest_ordinals(y.format, values) if y.format.is_minifloat else np.rint(values) + zero
        assert off == 0
        np.testing.assert_array_equal(np.array(entries)[patterns], np.clip(nearest, low, high))
        assert len(entries) == 1 << x.format.bits
        assert set(entries) <= set(y.format.ordinals())


def test_minus_zero_is_zero_and_patterns_that_are_no_numbers_are_harmless():
    x, y = (Quant(find_format("e4m3fn"), (0.1,), 0) for _ in range(2))
    entries, _ = table(function("sigmoid"), x, y, (y.format.min_ordinal, y.format.max_ordinal))
    assert entries[0x80] == entries[0] == entries[0x7F] == entries[0xFF] != entries[0x60]


def one(op: ops.Operator, x: Quant, y: Quant, shape: tuple[int, ...] = (1, 2, 3, 3)) -> Graph:
    return Graph("one", "x", "y", (Node("f", op, ("x",), "y"),), {"x": Tensor(shape, x), "y": Tensor(shape, y)})


def test_wide_inputs_are_refused_with_the_size_of_the_table():
    wide = Quant(find_format("int16"), (0.001,), 0)
    with pytest.raises(
        QuantError, match=r"node 'f' \(hard_swish\): a table .* int16 would have 65536 .* at most 8 bits"
    ):
        lower(one(ops.Function(name="hard_swish"), wide, wide))


@pytest.mark.parametrize(
    ("op", "why"),
    [
        (ops.Function(name="gelu"), "function 'gelu'; known are hard_sigmoid, hard_swish"),
        (ops.Function(name="hard_sigmoid"), "alpha must be above 0"),
        (ops.Function(name="leaky_relu", alpha=1.5), "below 1"),
        (ops.Function(name="hard_sigmoid", alpha=float("nan")), "alpha"),
    ],
)
def test_unknown_functions_and_parameters_are_refused(op, why):
    quant = Quant(find_format("int8"), (0.1,), 0)
    with pytest.raises(QuantError, match=why):
        check(one(op, quant, quant))


def test_an_output_too_fine_for_tflites_hard_swish_is_refused():
    x, y = Quant(find_format("int8"), (1.0,), 0), Quant(find_format("int8"), (0.001,), 0)
    with pytest.raises(QuantError, match=r"output scale of at least 0.0078"):
        lower(one(ops.Function(name="hard_swish"), x, y))


@pytest.mark.parametrize("shapes", [((1, 3, 4, 4), (1, 4, 1, 1)), ((1, 3, 1, 1), (1, 3, 4, 4)), ((1, 3), (1, 1))])
def test_factors_that_do_not_fit_are_refused(shapes):
    quant = Quant(find_format("int8"), (0.1,), 0)
    tensors = {name: Tensor(shape, quant) for name, shape in zip("xg", shapes, strict=True)}
    nodes = (
        Node("r", ops.Requantize(), ("x",), "g"),
        Node("m", ops.Mul(), ("x", "g"), "y"),
    )
    graph = Graph("bad", "x", "y", nodes, {**tensors, "y": Tensor(max(shapes, key=np.prod), quant)})
    with pytest.raises(QuantError, match=r"second factor must have the first one's shape, or \[1, C, 1, 1\]"):
        check(graph)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**16), formats=st.sampled_from([("int8",) * 3, ("e4m3",) * 3, ("uint8", "int8", "int4")]))
def test_a_product_is_the_real_one_rounded(seed, formats):
    """Integers: the Q31 rule, at most one step away. Minifloats: nearest, but within 2^-15 of a tie."""
    rng = np.random.default_rng(seed)
    a, b, y = (_grid(find_format(fmt), rng) for fmt in formats)
    tensors = {"x": Tensor((1, 4, 5, 6), a), "g": Tensor((1, 4, 1, 1), b), "y": Tensor((1, 4, 5, 6), y)}
    nodes = (Node("m", ops.Mean(keep_dims=True), ("x",), "g"), Node("p", ops.Mul(), ("x", "g"), "y"))
    graph = check(Graph("mul", "x", "y", nodes, tensors))
    codes = a.format.from_ordinals(rng.integers(a.format.min_ordinal, a.format.max_ordinal + 1, (3, 4, 5, 6)))
    values = run(lower(graph), codes)
    product = dequantise(a, codes).astype(np.float64) * dequantise(b, values["g"])
    wanted = product / y.scale[0]
    found = y.format.to_ordinals(values["y"])
    if y.format.is_minifloat:
        around = [to_nearest_ordinals(y.format, wanted * (1 + e)) for e in (-(2.0**-14), 2.0**-14)]
        assert ((np.minimum(*around) <= found) & (found <= np.maximum(*around))).all()
    else:
        ideal = np.clip(wanted + y.zero, y.format.min_ordinal, y.format.max_ordinal)
        assert np.abs(found - ideal).max() <= 1 + 1e-6


def _grid(fmt: Format, rng: np.random.Generator) -> Quant:
    zero = 0 if fmt.is_minifloat else int(rng.integers(fmt.min_ordinal, fmt.max_ordinal + 1))
    scale = float(np.float32(rng.uniform(0.5, 2.0) * (0.02 if fmt.is_minifloat else 0.1)))
    return Quant(fmt, (scale,), zero)


@pytest.mark.parametrize("kind", KINDS)
def test_float_forms_agree(kind):
    graph = gated(kind)
    x = images(graph, 8, seed=3)
    np.testing.assert_allclose(simulate(graph, x), run_float(graph, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scheme", ["w8a8", "w8a8-sym", "we4m3-ae4m3"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_network_is_near_the_float_one(kind, scheme):
    """In the reference too, not only in the emulation: a gate beyond 0 .. 1 would show here."""
    graph, _, values = quantised(scheme, kind)
    want = simulate(gated(kind), images(graph))
    found = dequantise(graph.quant(graph.output), values[graph.output])
    noise = np.square(found - want).mean() / np.square(want - want.mean()).mean()
    assert noise < (0.02 if scheme != "we4m3-ae4m3" else 0.1)
    emulated = simulate(graph, images(graph))
    assert np.square(found - emulated).mean() / np.square(want - want.mean()).mean() < 0.02


def test_eight_bit_sigmoids_write_the_grid_of_tflite():
    graph, _, _ = quantised("w8a8", "efficientnet")
    gates = [n.output for n in graph.nodes if isinstance(n.op, ops.Function) and n.op.name == "sigmoid"]
    assert [(graph.quant(name).scale, graph.quant(name).zero) for name in gates] == [((1 / 256,), -128)]


def test_steps_and_files_carry_functions_and_products():
    graph, codes, values = quantised("w8a8")
    kinds = [type(step) for step in lower(graph).steps]
    assert kinds.count(TableStep) == 7
    assert kinds.count(MulStep) == 1
    again = from_bytes(to_bytes(graph))
    assert again.nodes == graph.nodes
    np.testing.assert_array_equal(run(lower(again), codes)[graph.output], values[graph.output])


def test_a_clip_behind_a_function_is_part_of_its_table():
    node = Node("f", function("hard_swish"), ("x",), "f.out")
    clip = Node("c", ops.Clip(low=-0.25, high=2.0), ("f.out",), "y")
    shape = Tensor((1, 2, 4, 4))
    graph = Graph("clipped", "x", "y", (node, clip), {"x": shape, "f.out": shape, "y": shape})
    made = quantise(graph, parse_scheme("w8a8"), np.random.default_rng(0).normal(size=(8, 2, 4, 4)) * 3)
    (step,) = lower(made).steps
    assert isinstance(step, TableStep)
    assert (min(step.entries), max(step.entries)) == clip_ordinals(made.quant("y"), (-0.25, 2.0))


def test_no_scaling_crosses_a_function_or_a_gate():
    """hard-swish is not homogeneous, and a gate sees the mean of what it multiplies."""
    graph = gated()
    makers = {pair.source.output for pair in find_pairs(graph)}
    readers = {x for node in graph.nodes if isinstance(node.op, ops.Function | ops.Mul) for x in node.inputs}
    assert makers
    assert not makers & readers
    x = images(graph, 8, seed=9)
    np.testing.assert_allclose(simulate(equalise(graph), x), simulate(graph, x), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("passes", ["hadamard+cle+smooth", "cle+scales+gptq+bias", "learned+bias"])
def test_every_pass_takes_networks_with_gates(passes):
    graph = gated("efficientnet")
    x = images(graph, 16, seed=2)
    method, scheme = parse_method(passes), parse_scheme("w4a8")
    shaped = reshape(graph, method, x)
    np.testing.assert_allclose(simulate(shaped, x), simulate(graph, x), rtol=2e-3, atol=2e-3)
    made = apply_method(graph, scheme, method, x)
    plain = quantise(graph, scheme, x)
    want = simulate(graph, x)
    errors = [np.square(simulate(candidate, x) - want).mean() for candidate in (made, plain)]
    assert errors[0] < errors[1]
    lower(made)


def test_qat_starts_at_the_codes_of_the_graph_and_comes_back():
    graph, _, _ = quantised("w8a8")
    module = build(graph, gated())
    x = images(graph)
    emulated = simulate(graph, x)
    with torch.no_grad():
        trained = module(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(trained, emulated, atol=3 * graph.quant(graph.output).scale[0])
    module(torch.from_numpy(x)).square().sum().backward()
    reached = [layer.weight.grad for layer in module.layers]
    assert all(grad is not None and float(grad.abs().max()) > 0 for grad in reached)
    back = to_graph(module)
    assert all(np.array_equal(back.weights[name], graph.weights[name]) for name in graph.weights)
