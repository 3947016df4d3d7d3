"""QDQ files as ONNX Runtime writes them: the same codes, nearly the same outputs; and our own files come back exactly.

The reference rounds in fixed point and ONNX Runtime in float, so a value may differ by 1 LSB behind each of a
network's roundings. The bounds below are what these nets need, with one LSB to spare at most.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from export.onnx_qdq import qdq_model
from quant.formats import Array, find_format
from quant.graph import Graph
from quant.onnx_import import load_onnx
from quant.operators import Conv, Gemm
from quant.program import lower
from quant.ptq import quantise
from quant.reference import fast_dot, quantise_input, run
from quant.scheme import parse_scheme
from tests.networks import DATA, NETWORKS, files
from tests.onnx_models import NODE, images, ort_run, save, weights
from tests.ort_static import assert_same_codes, static
from tests.toys import random_codes, toy_graph
from tests.toys_fitted import fitted_graph, real_inputs

SHAPE = (1, 3, 12, 12)
#: How quantize_static is asked; the format that activations must get.
WAYS = {
    "u8 per channel": ({}, "int8"),
    "u8 per tensor": ({"per_channel": False}, "int8"),
    "s8 per channel": ({"activation": "s8"}, "int8"),
    "s8 symmetric": ({"activation": "s8", "ActivationSymmetric": True}, "int8"),
    "u8 percentile": ({"method": "Percentile"}, "int8"),
    "float bias": ({"QuantizeBias": False}, "int8"),
    "Q/DQ of weights": ({"AddQDQPairToWeight": True}, "int8"),
    "a pair per reader": ({"DedicatedQDQPair": True}, "int8"),
    "u8 weights": ({"weight": "u8", "WeightSymmetric": True, "per_channel": False}, "int8"),
    "u16": ({"activation": "u16"}, "int16"),
    "s16 symmetric": ({"activation": "s16", "ActivationSymmetric": True}, "int16"),
}


def real(name: str) -> tuple[Path, Array, Array]:
    """Return the file, calibration and test inputs of a pretrained network, or skip."""
    if not DATA.is_dir():
        pytest.skip("the folder of pretrained networks is not there")
    return files(name)


def small_net(path: Path) -> Path:
    """A net with every operator that quantize_static puts pairs around."""
    nodes = [
        NODE("Conv", ["x", "w1", "b1"], ["c1"], name="stem", pads=[1, 1, 1, 1]),
        NODE("Relu", ["c1"], ["r1"], name="relu1"),
        NODE("MaxPool", ["r1"], ["p1"], name="maxpool", kernel_shape=[2, 2], strides=[2, 2]),
        NODE("Conv", ["p1", "w2", "b2"], ["c2"], name="depthwise", pads=[1, 1, 1, 1], group=8),
        NODE("Clip", ["c2", "low", "high"], ["r2"], name="relu6"),
        NODE("Add", ["p1", "r2"], ["a"], name="add"),
        NODE("Concat", ["a", "p1"], ["j"], name="concat", axis=1),
        NODE("Conv", ["j", "w3"], ["c3"], name="pointwise"),
        NODE("AveragePool", ["c3"], ["p2"], name="avgpool", kernel_shape=[2, 2], strides=[2, 2]),
        NODE("GlobalAveragePool", ["p2"], ["g"], name="pool"),
        NODE("Flatten", ["g"], ["f"], name="flatten"),
        NODE("Gemm", ["f", "w4", "b4"], ["y"], name="fc", transB=1),
    ]
    constants = {"w1": weights(8, 3, 3, 3), "b1": weights(8), "w2": weights(8, 1, 3, 3), "b2": weights(8)}
    constants |= {"w3": weights(12, 16, 1, 1), "w4": weights(10, 12, seed=7) * 3, "b4": weights(10)}
    constants |= {"low": np.float32(0), "high": np.float32(6)}
    return save(path, nodes, constants, SHAPE)


def compare(graph: Graph, path: Path, x: Array) -> tuple[int, float]:
    """Run the reference and ONNX Runtime; return the largest difference in LSB and the share of equal labels."""
    codes = run(lower(graph), quantise_input(graph.quant(graph.input), x), fast_dot)[graph.output]
    # Without fusion every Q and DQ is executed as the file says.
    theirs = quantise_input(graph.quant(graph.output), ort_run(path, x, "ORT_DISABLE_ALL"))
    labels = codes.argmax(axis=1)
    assert len(set(labels.tolist())) > 1
    assert (codes != codes[0]).any()
    agreement = float((labels == theirs.argmax(axis=1)).mean())
    return int(np.abs(codes.astype(int) - theirs.astype(int)).max()), agreement


@pytest.mark.parametrize("way", WAYS)
def test_a_small_net(tmp_path, way):
    options, fmt = WAYS[way]
    x = images(SHAPE, 128) * 2
    path = static(small_net(tmp_path / "float.onnx"), tmp_path / "qdq.onnx", x[:64], **dict(options))
    graph = load_onnx(path)
    assert {graph.quant(name).format.name for name in graph.activations()} == {fmt}
    if not options.get("AddQDQPairToWeight"):
        assert_same_codes(path, graph)
    steps, agreement = compare(graph, path, x[64:])
    assert steps <= 3
    assert agreement >= 0.95


@pytest.mark.parametrize("way", ["u8 per channel", "u8 per tensor", "s8 symmetric", "float bias"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_real_network(tmp_path, name, way):
    source, calibration, x = real(name)
    path = static(source, tmp_path / "qdq.onnx", calibration, **dict(WAYS[way][0]))
    graph = load_onnx(path)
    assert_same_codes(path, graph)
    steps, agreement = compare(graph, path, x[:64])
    print(f"{name}, {way}: at most {steps} LSB, {agreement:.3f} equal labels")
    assert steps <= 6
    assert agreement >= 0.95


def assert_comes_back(path: Path, graph: Graph, inputs: Array) -> Graph:
    """Write a graph as QDQ, import it, and assert equal formats, weights, biases and outputs."""
    path.write_bytes(qdq_model(graph).SerializeToString())
    back = load_onnx(path)
    layers, found = ([node for node in g.nodes if isinstance(node.op, Conv | Gemm)] for g in (graph, back))
    assert len(layers) == len(found)
    for ours, theirs in zip(layers, found, strict=True):
        assert ours.op == theirs.op
        for mine, other in zip(ours.inputs[1:], theirs.inputs[1:], strict=True):
            assert np.array_equal(graph.weights[mine], back.weights[other])
        assert graph.quant(ours.inputs[1]).scale == back.quant(theirs.inputs[1]).scale
    for name in (graph.input, *(node.output for node in graph.nodes)):
        # In the file `name` may be the real values behind the codes.
        other = next(
            n for n in (name, f"{name}_QuantizeLinear_Output", f"{name}_QuantizeLinear_Input") if n in back.tensors
        )
        assert (graph.quant(name).scale, graph.quant(name).zero) == (back.quant(other).scale, back.quant(other).zero)
    ours, theirs = (run(lower(g), inputs.astype(np.int8), fast_dot)[g.output] for g in (graph, back))
    assert np.array_equal(ours, theirs)
    assert len({tuple(row) for row in ours.reshape(len(ours), -1).tolist()}) > 1
    return back


@pytest.mark.parametrize(("act", "weight"), [("int8", "int8"), ("int4", "int8"), ("int8", "int3"), ("int6", "int4")])
def test_our_own_files_come_back_exactly(tmp_path, act, weight):
    graph = toy_graph(find_format(act), find_format(weight))
    if (act, weight) == ("int8", "int8"):
        assert_comes_back(tmp_path / "toy.onnx", graph, random_codes(graph, 32))
    fitted = fitted_graph(find_format(act), find_format(weight))
    codes = quantise_input(fitted.quant("x"), real_inputs(fitted, 32))
    back = assert_comes_back(tmp_path / "fitted.onnx", fitted, codes)
    kinds = {node.kind for node in back.nodes}
    assert {"Conv", "Add", "Gemm", "MaxPool", "AveragePool", "Concat", "Pad", "Slice", "Clip"} <= kinds
    # Fewer than 8 bits are a clip of the codes, so that there a Requantize comes back as a Clip.
    assert act != "int8" or "Requantize" in kinds


@pytest.mark.parametrize("scheme", ["w8a8", "w8a8-sym-pt", "w4a8-p99.9", "w8a6", "w4a5"])
@pytest.mark.parametrize("name", NETWORKS)
def test_our_own_real_networks_come_back_exactly(tmp_path, name, scheme):
    source, calibration, x = real(name)
    graph = quantise(load_onnx(source), parse_scheme(scheme), calibration)
    assert_comes_back(tmp_path / "ours.onnx", graph, quantise_input(graph.quant(graph.input), x[:16]))
