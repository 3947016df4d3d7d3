"""From codes back to real values: the float network of a quantised graph."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from quant import operators as ops
from quant.errors import QuantError
from quant.formats import UINT8
from quant.graph import Graph, Node, Tensor, check
from quant.passes.dequantise import dequantise
from quant.scheme import parse_scheme
from tests import tflite_cases as cases
from tests.tiny import float_graph
from tests.toys import toy_graph


def test_the_float_network_comes_back():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    from quant.onnx_write import run_float
    from quant.ptq import prepare, quantise

    floats = prepare(float_graph())
    x = np.random.default_rng(0).uniform(0, 1, (64, *floats.shape(floats.input)[1:])).astype(np.float32)
    quantised = quantise(floats, parse_scheme("w8a8"), x)
    # As a file of another tool has it: no clip where the grid begins at 0.
    bare = replace(quantised, nodes=tuple(replace(node, clip=None) for node in quantised.nodes))
    assert bare.nodes != quantised.nodes
    again = dequantise(bare)
    assert not again.is_quantised
    straight = replace(again, nodes=tuple(replace(node, clip=None) for node in again.nodes))
    expected, found, other = (run_float(graph, x) for graph in (floats, again, straight))
    # What is left is the rounding of the weights to 8 bits.
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
    assert np.abs(other - expected).max() > 0.5 * np.abs(expected).max()
    assert (found.argmax(1) == expected.argmax(1)).mean() > 0.95
    assert np.unique(expected.argmax(1)).size > 2


def test_roundings_go_and_their_clips_stay():
    x = Tensor((1, 4, 6, 6), cases.quant(0.1, 3))
    pool = Tensor((1, 4, 3, 3), cases.quant(0.1, 131, UINT8))
    nodes = (
        Node("first", ops.Requantize(), ("x",), "a"),
        Node("pool", ops.AveragePool(kernel=(2, 2), strides=(2, 2)), ("a",), "b"),
        Node("clipped", ops.Requantize(), ("b",), "c", (0.0, 6.0)),
        Node("last", ops.Requantize(), ("c",), "y"),
    )
    tensors = {"x": x, "a": Tensor(x.shape, pool.quant), "b": pool, "c": replace(pool, quant=x.quant), "y": pool}
    graph = check(Graph("g", "x", "y", nodes, tensors))
    floats = dequantise(graph)
    assert [node.op for node in floats.nodes] == [nodes[1].op, ops.Clip(low=0.0, high=6.0)]
    assert (floats.nodes[0].inputs, floats.output) == (("x",), "c")


def test_what_has_nothing_to_turn_back_is_refused():
    with pytest.raises(QuantError, match="is a float graph"):
        dequantise(dequantise(toy_graph()))
    with pytest.raises(QuantError, match="nothing but roundings"):
        dequantise(cases.tiny_graph())
