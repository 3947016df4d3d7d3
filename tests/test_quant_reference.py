"""The reference interpreter: against a second writing of the meaning, by hand, and its fast twin."""

from __future__ import annotations

import numpy as np
import pytest

from quant import operators as ops
from quant.errors import QuantError
from quant.formats import INT8, Format, find_format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.program import lower
from quant.reference import dequantise, exact_dot, fast_dot, quantise_input, run
from tests import naive
from tests.toys import random_codes, toy_graph
from tests.toys_fitted import fitted_graph, real_inputs

ACTIVATIONS = (
    "int4",
    "int8",
    "uint8",
    "int12",
    "int16",
    "e1m2",
    "e2m1",
    "e3m0",
    "e3m2",
    "e2m3",
    "e4m3",
    "e4m3fn",
    "e5m2",
)
WEIGHTS = ("int2", "int4", "int8", "e2m1", "e3m2", "e4m3")
#: Pairs whose accumulator cannot fit, which is refused.
TOO_WIDE = {("int16", "e4m3"), ("int12", "e4m3"), ("e5m2", "e4m3")}
PAIRS = [(a, w) for a in ACTIVATIONS for w in WEIGHTS if (a, w) not in TOO_WIDE]


def labels(fmt: Format, codes: np.ndarray) -> set[int]:
    """Return the distinct classes of a batch of output codes."""
    return set(fmt.to_ordinals(codes).argmax(axis=1).tolist())


@pytest.mark.parametrize(("act", "weight"), PAIRS)
def test_the_fast_sum_changes_nothing(act, weight):
    graph = fitted_graph(find_format(act), find_format(weight))
    program, codes = lower(graph), quantise_input(graph.quant("x"), real_inputs(graph, 16))
    exact, fast = run(program, codes, exact_dot), run(program, codes, fast_dot)
    assert set(exact) == set(graph.activations())
    for name, values in exact.items():
        assert np.array_equal(values, fast[name])
        assert values.dtype == graph.quant(name).format.dtype
        assert values.shape == (16, *graph.shape(name)[1:])
        assert len(np.unique(values)) > 1
    assert len(labels(find_format(act), exact["y"])) > 1


@pytest.mark.parametrize(
    ("act", "weight"),
    [
        ("int8", "int8"),
        ("uint8", "int4"),
        ("int16", "int8"),
        ("e4m3", "e4m3"),
        ("e3m2", "e2m1"),
        ("e5m2", "int8"),
        ("e3m0", "e3m2"),
        ("int8", "e2m1"),
    ],
)
def test_one_number_at_a_time_gives_the_same(act, weight):
    graph = fitted_graph(find_format(act), find_format(weight))
    program, codes = lower(graph), quantise_input(graph.quant("x"), real_inputs(graph, 2))
    values = run(program, codes)
    assert (values["y"][0] != values["y"][1]).any()
    for image in range(2):
        slow = naive.run_one(program, codes[image : image + 1])
        for name in graph.activations():
            assert list(slow[name].values()) == values[name][image].ravel().tolist(), name


@pytest.mark.parametrize("pair", sorted(TOO_WIDE))
def test_accumulators_that_cannot_fit_are_refused_with_the_arithmetic(pair):
    with pytest.raises(QuantError, match=r"node 'conv' \(Conv\): the accumulator can reach \d+ \(\d+ bits with sign\)"):
        lower(fitted_graph(find_format(pair[0]), find_format(pair[1])))


def test_a_batch_is_its_images_one_by_one():
    graph = toy_graph()
    program, codes = lower(graph), random_codes(graph, 5)
    together = run(program, codes)["y"]
    alone = np.concatenate([run(program, codes[i : i + 1])["y"] for i in range(5)])
    assert np.array_equal(together, alone)
    assert len(labels(INT8, together)) > 1


def one_layer(x: Quant, y: Quant, weight: Quant, codes: list[list[int]], bias: list[int]) -> Graph:
    """A fully connected layer with the given constants."""
    matrix = np.array(codes)
    tensors = {
        "x": Tensor((1, matrix.shape[1]), x),
        "w": Tensor(matrix.shape, weight),
        "b": Tensor((len(bias),)),
        "y": Tensor((1, len(bias)), y),
    }
    weights = {"w": matrix.astype(weight.format.dtype), "b": np.array(bias, dtype=np.int32)}
    return check(Graph("layer", "x", "y", (Node("fc", ops.Gemm(), ("x", "w", "b"), "y"),), tensors, weights))


def test_an_integer_layer_by_hand():
    graph = one_layer(
        Quant(INT8, (0.5,), -1), Quant(INT8, (1.0,), 2), Quant(INT8, (0.25, 0.5), 0, 0), [[3, -5], [2, 7]], [4, -9]
    )
    # x - zero = [11, -3]; acc = [4 + 33 + 15, -9 + 22 - 21] = [52, -8]; times 0.125 and 0.25 is 6.5 and -2.
    assert run(lower(graph), np.array([[10, -4]], dtype=np.int8))["y"].tolist() == [[7 + 2, -2 + 2]]


def test_a_minifloat_layer_by_hand():
    fmt = find_format("e2m1")  # values 0, 0.5, 1, 1.5, 2, 3, 4, 6; unit 0.5
    graph = one_layer(Quant(fmt, (1.0,)), Quant(fmt, (1.0,)), Quant(fmt, (1.0,), 0, 0), [[5, 1 | 8]], [-2])
    # 1.5 * 3 + 2 * (-0.5) - 2 * 0.25 = 3, and 1 * 3 + 0.5 * (-0.5) - 0.5 = 2.25 -> 2; codes 5 and 4
    assert run(lower(graph), np.array([[3, 4], [2, 1]], dtype=np.uint8))["y"].tolist() == [[5], [4]]


def test_wrong_shapes_and_codes_are_refused():
    program = lower(toy_graph())
    with pytest.raises(QuantError, match=r"input 'x' has shape \(1, 3, 8, 9\); the graph takes \[N, 3, 8, 8\]"):
        run(program, np.zeros((1, 3, 8, 9), dtype=np.int8))
    with pytest.raises(QuantError, match="200 is not the code of a number in format int8"):
        run(program, np.full((1, 3, 8, 8), 200, dtype=np.int16))


@pytest.mark.parametrize("name", ["int8", "uint8", "int4", "e4m3", "e2m1"])
def test_inputs_are_quantised_to_the_nearest_step_and_back(name):
    fmt = find_format(name)
    quant = Quant(fmt, (0.125,), 0 if fmt.is_minifloat else 3)
    codes = fmt.from_ordinals(np.array(fmt.ordinals()))
    real = dequantise(quant, codes)
    assert np.array_equal(quantise_input(quant, real), codes)
    assert quantise_input(quant, np.array([1e30, -1e30])).tolist() == [codes[-1], codes[0]]
    assert quantise_input(quant, np.array([0.0])).tolist() == [quant.zero]
    with pytest.raises(QuantError, match="NaN"):
        quantise_input(quant, np.array([np.nan], dtype=np.float32))
