"""Activation ranges: what numpy says, and calibration data that is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from quant.errors import QuantError
from quant.graph import Graph
from quant.onnx_write import open_session, run_float, to_float_onnx
from quant.ptq import prepare, quantise
from quant.ranges import BINS, check_calibration, estimate_ranges
from quant.scheme import parse_scheme
from tests.float_nets import Net, inputs, random_net

#: Not a multiple of the batch that ranges are estimated with.
COUNT = 37


def activations(graph: Graph, x: np.ndarray) -> dict[str, np.ndarray]:
    """Every activation of a float graph, in one call."""
    names = [name for name in graph.activations() if name != graph.input]
    session = open_session(to_float_onnx(graph, outputs=names))
    values = session.run(None, {graph.input: x})
    return {graph.input: x, **dict(zip(names, values, strict=True))}


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6))
def test_minimum_and_maximum_are_numpy_s(seed):
    graph, x = prepare(random_net(seed)), inputs(COUNT, seed)
    ranges = estimate_ranges(graph, x, None)
    values = activations(graph, x)
    assert ranges.keys() == values.keys() == set(graph.activations())
    for name, (low, high) in ranges.items():
        np.testing.assert_allclose((low, high), (values[name].min(), values[name].max()), rtol=1e-5, atol=1e-6)
    assert len({high for _, high in ranges.values()}) > 1
    assert estimate_ranges(graph, x, 100) == ranges


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([60.0, 90.0, 99.0, 99.9, 99.99, 99.9999]))
def test_percentiles_are_numpy_s_within_one_bin(seed, percentile):
    graph, x = prepare(random_net(seed, 5)), inputs(COUNT, seed)
    limits, ranges, values = (
        estimate_ranges(graph, x, None),
        estimate_ranges(graph, x, percentile),
        activations(graph, x),
    )
    for name, (low, high) in ranges.items():
        span = limits[name][1] - limits[name][0]
        bin_width = span / BINS + 1e-6 * max(1.0, span)
        # numpy's two neighbours of the share: the histogram may end at either.
        for found, share in ((low, 100 - percentile), (high, percentile)):
            below = np.percentile(values[name], share, method="lower")
            above = np.percentile(values[name], share, method="higher")
            assert below - bin_width <= found <= above + bin_width
        assert limits[name][0] <= low <= high <= limits[name][1]


def test_a_constant_activation():
    net = Net(0)
    net.conv(4)
    net.clip(2.0, 2.0)
    net.mean()
    net.gemm(3)
    graph = net.graph()
    for percentile in (None, 99.9):
        assert estimate_ranges(graph, inputs(5), percentile)["n1.out"] == (2.0, 2.0)


def test_outliers_are_cut_by_a_percentile_only():
    net = Net(1)
    net.conv(4)
    graph, x = net.graph(), inputs(64)
    x[0, 0, 0, 0] = 1e4
    wide, cut = estimate_ranges(graph, x, None), estimate_ranges(graph, x, 99.9)
    assert wide["x"][1] == 1e4
    assert cut["x"][1] < 10


def test_activations_that_overflow_are_named():
    net = Net(2)
    net.conv(4)
    net.weights[net.nodes[0].inputs[1]] *= np.float32(1e38)
    with pytest.raises(
        QuantError, match=r"graph 'net': activation 'n0.out' reaches (nan|-?inf).* on the calibration data"
    ):
        estimate_ranges(net.graph(), inputs(4) * 100, None)


BAD = [
    (np.zeros((4, 3, 9, 7), np.float32), r"calibration data has shape \[4, 3, 9, 7\]; the model takes \[N, 3, 9, 8\]"),
    (np.zeros((3, 9, 8), np.float32), r"calibration data has shape \[3, 9, 8\]; the model takes \[N, 3, 9, 8\]"),
    (np.zeros((4, 9, 8, 3), np.float32), r"the model takes \[N, 3, 9, 8\]"),
    (np.float32(0), r"calibration data has shape \[\]; the model takes"),
    (np.zeros((0, 3, 9, 8), np.float32), "calibration data is empty; give at least one image, better 100 to 500"),
    (np.full((1, 3, 9, 8), "a"), "calibration data is of type <U1; it must be numbers, best float32"),
    (np.full((1, 3, 9, 8), None), "calibration data is of type object"),
    (np.zeros((1, 3, 9, 8), np.complex64), "calibration data is of type complex64"),
    (np.full((1, 3, 9, 8), 1e300), "calibration data has NaN or infinite values, first in image 0"),
]


@pytest.mark.parametrize(("data", "message"), BAD)
def test_calibration_data_that_is_refused(data, message):
    graph = random_net(0, 3)
    with pytest.raises(QuantError, match=message):
        check_calibration(graph, data)
    with pytest.raises(QuantError, match=message):
        quantise(graph, parse_scheme("w8a8"), data)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_image_that_is_no_number_is_named(value):
    x = inputs(6)
    x[3, 1, 2, 2] = value
    x[5] = value
    with pytest.raises(QuantError, match="NaN or infinite values, first in image 3"):
        check_calibration(random_net(0, 3), x)


@pytest.mark.parametrize("kind", [np.uint8, np.int64, np.float64, np.float16, np.bool_])
def test_other_numbers_become_float32(kind):
    data = (inputs(2) > 0).astype(kind)
    found = check_calibration(random_net(0, 3), data)
    assert found.dtype == np.float32
    assert np.array_equal(found, data.astype(np.float32))


def test_inputs_of_a_float_graph_are_checked_too():
    graph = random_net(0, 3)
    with pytest.raises(QuantError, match=r"input 'x' has shape \[2, 3, 9, 7\]; graph 'net' takes \[N, 3, 9, 8\]"):
        run_float(graph, np.zeros((2, 3, 9, 7), np.float32))
    with pytest.raises(QuantError, match="give at least one"):
        run_float(graph, np.zeros((0, 3, 9, 8), np.float32))
