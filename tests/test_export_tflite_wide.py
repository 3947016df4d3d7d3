"""`.tflite` files with int16 activations, or 4-bit weights: exact in TFLite-Micro, in LiteRT's kernels as stated."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from export.arm_a import TARGET
from export.errors import ExportError
from export.runtimes.litert import LITERT_REF, TFLITE_RUNTIME, LiteSession, _litert, _tflite_runtime
from export.runtimes.tflm import TFLITE_MICRO, MicroSession
from export.runtimes.tflm_arena import measure_arena
from export.target import Source
from export.tflite import encode
from export.tflite_flat import read
from quant import operators as ops
from quant.errors import QuantError
from quant.formats import integer
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.reference import quantise_input
from quant.scheme import parse_scheme
from quant.tflite_import import graph_of
from quant.tflite_read import parse
from tests import tflite_cases as cases
from tests.tflite_files import DATA, packed

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")
REASON = TFLITE_MICRO.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))
INF, INT16 = float("inf"), integer(16)
KWS, INPUTS = DATA / "kws" / "mlperf_tiny_kws_dscnn_runA_float.onnx", DATA / "kws" / "kws01_mfcc_int8.npz"
X = Tensor((1, 4, 8, 8), Quant(INT16, (float(np.float32(0.0003)),)))
REFERENCE = (("litert-ref", LITERT_REF, partial(_litert, "BUILTIN_REF")),)
OTHERS = (*REFERENCE, ("tflite-runtime", TFLITE_RUNTIME, partial(_tflite_runtime, "AUTO")))


def wide(scale: float) -> Quant:
    return cases.quant(scale, 0, INT16)


def conv(op: ops.Conv, shape: tuple[int, int, int], clip: cases.Clip = None) -> Graph:
    """A convolution whose outputs use about a third of int16, and whose sums fit int32."""
    graph = cases.conv(np.random.default_rng(7), op, X, shape, clip=clip)
    weight = graph.quant("w")
    spread = X.quant.scale[0] * np.mean(weight.scale) * 74 * 19000 * np.sqrt(np.prod(graph.shape("w")[1:]))
    tensors = {**graph.tensors, "y": Tensor(graph.shape("y"), wide(spread / 12000))}
    return check(replace(graph, tensors=tensors, weights={**graph.weights, "b": graph.weights["b"] * np.int32(300)}))


def gemm(clip: cases.Clip = None) -> Graph:
    graph = cases.gemm(np.random.default_rng(2), Tensor((1, 33), X.quant), 20, clip)
    return check(replace(graph, tensors={**graph.tensors, "y": Tensor((1, 20), wide(0.003))}))


def one(op: ops.Operator, out: tuple[int, ...], scale: float = 0.0003) -> Graph:
    return cases.one(op, X, Tensor(out, wide(scale)))


def concat() -> Graph:
    pad = ops.Pad(before=(0, 0, 0, 0), after=(0, 1, 0, 0))
    nodes = (Node("pad", pad, ("x",), "p"), Node("join", ops.Concat(axis=1), ("x", "p"), "y"))
    tensors = {"x": X, "p": Tensor((1, 5, 8, 8), X.quant), "y": Tensor((1, 9, 8, 8), X.quant)}
    return check(Graph("join", "x", "y", nodes, tensors))


def product() -> Graph:
    nodes = (Node("other", ops.Requantize(), ("x",), "a"), Node("mul", ops.Mul(), ("x", "a"), "y"))
    tensors = {"x": X, "a": Tensor(X.shape, wide(0.0002)), "y": Tensor(X.shape, wide(0.003))}
    return check(Graph("mul", "x", "y", nodes, tensors))


WIDE = {
    "conv": conv(ops.Conv(pads=(1, 1, 1, 1)), (6, 3, 3)),
    "conv relu6": conv(ops.Conv(pads=(1, 1, 1, 1)), (6, 3, 3), (0.0, 6.0)),
    "conv padded": conv(ops.Conv(strides=(2, 2), pads=(1, 1, 1, 1)), (6, 3, 3)),
    "depthwise": conv(ops.Conv(pads=(1, 1, 1, 1), groups=4), (8, 3, 3)),
    "fully connected": gemm(),
    "fully connected relu": gemm((0.0, INF)),
    "add": cases.add(wide(0.0003), wide(0.0002), wide(0.0004)),
    "add relu": cases.add(wide(0.0003), wide(0.0002), wide(0.0004), (0.0, INF)),
    "mul": product(),
    "requantise": one(ops.Requantize(), X.shape, 0.0005),
    "to int8": cases.one(ops.Requantize(), X, Tensor(X.shape, cases.quant(0.07, 5))),
    "clip": one(ops.Clip(low=-1.0, high=4.0), X.shape),
    "minimum": one(ops.Minimum(limits=(1.0, 2.0, 3.0, 4.0)), X.shape),
    "max pool": one(ops.MaxPool(kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)), (1, 4, 4, 4)),
    "average pool": one(ops.AveragePool(kernel=(3, 3), strides=(1, 1), pads=(1, 1, 1, 1)), X.shape),
    "mean": one(ops.Mean(keep_dims=False), (1, 4), 0.0002),
    "pad": one(ops.Pad(before=(0, 1, 0, 2), after=(0, 0, 3, 1)), (1, 5, 11, 11)),
    "slice": one(ops.Slice(starts=(0, 1, 0, 2), ends=(1, 4, 8, 8), steps=(1, 1, 2, 2)), (1, 3, 4, 3)),
    "reshape": one(ops.Reshape(shape=(1, 256)), (1, 256)),
    "concat": concat(),
}


@pytest.mark.parametrize("name", WIDE)
def test_int16_operators_are_exact_in_tflite_micro(name: str):
    graph, codes = WIDE[name], cases.random_input(WIDE[name], 8)
    expected = cases.expected(graph, codes)
    session = MicroSession(encode(graph), graph)
    found = session.tensors(codes)
    for tensor, values in expected.items():
        np.testing.assert_array_equal(found[tensor], values, err_msg=tensor)
        assert found[tensor].dtype == values.dtype
    assert np.unique(expected[graph.output]).size > 20
    again = graph_of(parse(encode(graph), "again"))
    np.testing.assert_array_equal(cases.expected(again, codes)[again.output], expected[graph.output])


@pytest.mark.parametrize("name", WIDE)
@pytest.mark.parametrize(("runtime", "found", "factory"), OTHERS, ids=[name for name, *_ in OTHERS])
def test_int16_operators_in_the_other_runtimes(name: str, runtime: str, found, factory):
    reason = found.missing()
    if reason is not None:
        pytest.skip(reason)
    graph, codes = WIDE[name], cases.random_input(WIDE[name], 8)
    expected = cases.expected(graph, codes)[graph.output].astype(int)
    made = LiteSession(factory, encode(graph), graph).run(codes).astype(int)
    exact = runtime == "litert-ref" and name not in ("fully connected", "fully connected relu", "mul")
    assert np.abs(made - expected).max() <= (0 if exact else 1)
    assert (made != expected).mean() < 0.01


def test_int16_needs_no_zero_point_and_one_width():
    narrow = Tensor(X.shape, cases.quant(0.05, 3))
    for graph, message in (
        (
            cases.one(ops.Requantize(), narrow, Tensor(X.shape, replace(X.quant, zero=5))),
            "'y' .* int16 with zero point 5",
        ),
        (mixed(), r"'node' \(Conv\) has int8 and int16 codes at its ends"),
    ):
        with pytest.raises(ExportError, match=message):
            encode(graph)


def mixed() -> Graph:
    graph = cases.conv(np.random.default_rng(1), ops.Conv(), Tensor(X.shape, cases.quant(0.05, 3)), (2, 1, 1))
    return check(replace(graph, tensors={**graph.tensors, "y": Tensor(graph.shape("y"), wide(0.0003))}))


def test_the_usual_int64_biases_of_int16_layers_are_refused():
    data = encode(conv(ops.Conv(), (2, 3, 3)))
    model = read(data)
    layer = model.subgraphs[0].operators[0]
    layer.inputs = layer.inputs[:2]
    with pytest.raises(QuantError, match="imported as CONV_2D and FULLY_CONNECTED with an int32 bias"):
        graph_of(parse(packed(model), "net"))


FOUR = integer(4)
IMAGE = Tensor((1, 4, 8, 8), cases.quant(0.03, 5))
NARROW = {
    "conv": (ops.Conv(pads=(1, 1, 1, 1)), 4, (6, 3, 3)),
    "an odd number of weights": (ops.Conv(), 3, (5, 3, 3)),
    "pointwise": (ops.Conv(), 4, (8, 1, 1)),
    "depthwise": (ops.Conv(groups=4), 4, (4, 3, 3)),
    "depthwise with a multiplier": (ops.Conv(groups=4), 4, (8, 3, 3)),
    "grouped": (ops.Conv(groups=2), 4, (8, 3, 3)),
}


@pytest.mark.parametrize("bits", [2, 3, 4])
@pytest.mark.parametrize("name", NARROW)
def test_four_bit_weights_are_packed_and_exact(name: str, bits: int):
    op, channels, shape = NARROW[name]
    x = Tensor((1, channels, 8, 8), IMAGE.quant)
    graph = cases.conv(np.random.default_rng(bits + 20), op, x, shape, weight=integer(bits))
    # A sum of few 2-bit weights varies more than `cases.conv` expects.
    y = Tensor(graph.shape("y"), cases.quant(4 * graph.quant("y").scale[0], 0))
    graph = check(replace(graph, tensors={**graph.tensors, "y": y}))
    data, codes = encode(graph), cases.random_input(graph, 8)
    (weight,) = (t for t in read(data).subgraphs[0].tensors if t.name == b"y/weight")
    assert weight.type == schema.TensorType.INT4
    assert len(read(data).buffers[weight.buffer].data) == (graph.weights["w"].size + 1) // 2
    expected = cases.expected(graph, codes)[graph.output]
    assert np.unique(expected).size > 40
    np.testing.assert_array_equal(MicroSession(data, graph).run(codes), expected)
    np.testing.assert_array_equal(graph_of(parse(data, "again")).weights["y/weight"], graph.weights["w"])
    for _, runtime, factory in OTHERS:
        if runtime.missing() is None:
            made = LiteSession(factory, data, graph).run(codes).astype(int)
            assert np.abs(made - expected).max() <= (0 if runtime is LITERT_REF else 1)


def test_where_runtimes_refuse_them_four_bit_weights_stay_bytes(tmp_path):
    graph = cases.conv(np.random.default_rng(0), ops.Conv(), IMAGE, (6, 3, 3), weight=FOUR)
    small, large = encode(graph), encode(graph, int4=False)
    assert len(large) - len(small) > 100
    np.testing.assert_array_equal(
        *(MicroSession(data, graph).run(cases.random_input(graph, 4)) for data in (small, large))
    )
    layer = cases.gemm(np.random.default_rng(0), Tensor((1, 12), IMAGE.quant), 5)
    weight = np.clip(layer.weights["w"], -7, 7)
    tensors = {**layer.tensors, "w": Tensor(weight.shape, replace(layer.quant("w"), format=FOUR))}
    dense = check(replace(layer, tensors=tensors, weights={**layer.weights, "w": weight}))
    assert encode(dense) == encode(dense, int4=False)


@pytest.mark.parametrize("scheme", ["w8a16-sym", "w4a8"])
def test_a_real_network_is_exact_in_every_tensor(scheme: str):
    pytest.importorskip("onnx", reason="onnx is not installed")
    from quant.onnx_import import load_onnx
    from quant.ptq import quantise

    for need in (KWS, INPUTS):
        if not need.exists():
            pytest.skip(f"there is no {need.name}")
    with np.load(INPUTS) as file:
        x = ((file["x"].astype(np.float32) - file["zero_point"]) * file["scale"]).transpose(0, 3, 1, 2)
    graph = quantise(load_onnx(KWS), parse_scheme(scheme), x[:64].astype(np.float32))
    codes = quantise_input(graph.quant(graph.input), x[-8:].astype(np.float32))
    expected, data = cases.expected(graph, codes), encode(graph)
    found = MicroSession(data, graph).tensors(codes)
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    logits = expected[graph.output]
    assert np.unique(logits.argmax(1)).size > 3
    if LITERT_REF.missing() is None:
        made = LiteSession(REFERENCE[0][2], data, graph).run(codes).astype(int)
        assert np.abs(made - logits).max() <= 1


def test_the_target_takes_int16_and_its_arena_is_measured(tmp_path):
    graph = conv(ops.Conv(), (6, 3, 3))
    codes = cases.random_input(graph, 2)
    facts = TARGET.write(Source("wide", graph, codes, cases.expected(graph, codes)["y"]), tmp_path)
    assert facts["input_zero"] == 0
    assert measure_arena(tmp_path, "wide", graph).total_bytes > 2 * 256
