"""The runtimes of `.tflite` files: TFLite-Micro exact, the others at most one step per operator."""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

from export.arm_a import TARGET
from export.errors import ExportError
from export.runtimes import litert, tflm
from export.runtimes.session import Runtime
from export.runtimes.tflite_part import TINY_MODEL
from export.target import Source
from export.tflite import encode
from quant import operators as ops
from quant.formats import INT8, UINT8, Array, integer
from quant.graph import Graph, Tensor
from tests import tflite_cases as cases
from tests.toys import random_codes, toy_graph

RUNTIMES = tflm.RUNTIMES + litert.RUNTIMES
EVERY = pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
#: Largest difference of one operator from the reference, in steps of its output (x86 and one thread; see
#: docs/numerics.md). Operators that are absent are exact. TFLite-Micro is exact throughout.
STEPS = {
    "litert": {"conv": 1, "depthwise": 1, "gemm": 1, "add": 1, "mean": 1, "requantize": 1},
    "litert-ref": {"gemm": 1},
    "tflite-runtime": {"conv": 1, "gemm": 1, "mean": 1},
}


def ready(runtime: Runtime) -> Runtime:
    reason = runtime.missing()
    if reason is not None:
        pytest.skip(reason)
    return runtime


def opened(runtime: Runtime, graph: Graph, folder, codes: Array):
    expected = cases.expected(graph, codes)
    TARGET.write(Source("part", graph, codes, expected[graph.output]), folder)
    return ready(runtime).open(folder, "part", graph), expected


def distance(found: Array, expected: Array) -> int:
    return int(np.abs(found.astype(np.int64) - expected.astype(np.int64)).max())


@EVERY
@pytest.mark.parametrize("act", [INT8, UINT8], ids=["int8", "uint8"])
@pytest.mark.parametrize("bits", [8, 4])
def test_a_small_network_agrees_and_its_labels_vary(runtime, act, bits, tmp_path):
    graph = narrow(toy_graph(INT8, integer(bits)))
    graph = unsigned(graph) if act == UINT8 else graph
    codes = random_codes(graph, 32)
    session, expected = opened(runtime, graph, tmp_path, codes)
    found = session.run(codes)
    assert np.unique(expected["y"]).size > 20
    assert np.unique(expected["y"].argmax(1)).size > 2
    assert found.dtype == expected["y"].dtype
    assert found.shape == expected["y"].shape
    assert distance(found, expected["y"]) <= (0 if runtime.exact else 2)
    session.close()


def narrow(graph: Graph) -> Graph:
    """The same network with weight scales that reach as far as those of int8, whatever the format of the weights."""
    tensors = dict(graph.tensors)
    for name in graph.weights:
        quant = tensors[name].quant
        if quant is not None:
            factor = 127 / quant.format.max_ordinal
            scale = tuple(float(np.float32(s * factor)) for s in quant.scale)
            tensors[name] = replace(tensors[name], quant=replace(quant, scale=scale))
    return replace(graph, tensors=tensors)


def unsigned(graph: Graph) -> Graph:
    """The same network with uint8 activations: codes and zero points 128 higher."""
    tensors = {
        name: Tensor(t.shape, cases.quant(t.quant.scale[0], t.quant.zero + 128, UINT8))
        if name in graph.activations() and t.quant
        else t
        for name, t in graph.tensors.items()
    }
    return Graph(graph.name, graph.input, graph.output, graph.nodes, tensors, graph.weights)


@EVERY
def test_every_tensor_of_the_graph_is_shown(runtime, tmp_path):
    graph = toy_graph()
    codes = random_codes(graph, 4)
    session, expected = opened(runtime, graph, tmp_path, codes)
    found = session.tensors(codes)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert found[name].shape == values.shape
        assert distance(found[name], values) <= (0 if runtime.exact else 2), name
    np.testing.assert_array_equal(found["y"], session.run(codes))


def centre(x: Tensor) -> Tensor:
    return replace(x, quant=cases.quant(x.quant.scale[0], 0))


def one_operator(kind: str, rng: np.random.Generator) -> Graph:
    x = Tensor((1, 4, 8, 8), cases.quant(0.02, int(rng.integers(-128, 128))))
    y = cases.quant(x.quant.scale[0] * rng.uniform(0.2, 3), int(rng.integers(-128, 128)))
    match kind:
        case "conv":
            return cases.conv(rng, ops.Conv(strides=(2, 2), pads=(1, 1, 1, 1)), x, (16, 3, 3), clip=(0.0, 6.0))
        case "depthwise":
            return cases.conv(rng, ops.Conv(pads=(1, 1, 1, 1), groups=4), x, (8, 3, 3))
        case "gemm":
            return cases.gemm(rng, Tensor((1, 64), x.quant), 64)
        case "add":
            return cases.add(x.quant, x.quant, y, shape=(1, 2, 32, 32))
        case "mean":
            centred = cases.quant(x.quant.scale[0] * rng.uniform(0.1, 0.4), int(rng.integers(-128, 128)))
            return cases.one(ops.Mean(keep_dims=False), centre(x), Tensor((1, 4), replace(centred, zero=0)))
        case "requantize":
            return cases.one(ops.Requantize(), x, Tensor(x.shape, y))
        case "clip":
            return cases.one(ops.Clip(low=-0.3, high=0.8), x, x)
        case "max pool":
            return cases.one(
                ops.MaxPool(kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)), x, Tensor((1, 4, 4, 4), x.quant)
            )
        case "average pool":
            return cases.one(ops.AveragePool(kernel=(2, 2), strides=(2, 2)), x, Tensor((1, 4, 4, 4), x.quant))
        case "pad":
            return cases.one(ops.Pad(before=(0, 2, 1, 0), after=(0, 3, 0, 2)), x, Tensor((1, 9, 9, 10), x.quant))
        case "slice":
            op = ops.Slice(starts=(0, 1, 0, 0), ends=(1, 4, 8, 8), steps=(1, 1, 2, 2))
            return cases.one(op, x, Tensor((1, 3, 4, 4), x.quant))
        case _:
            return cases.one(ops.Reshape(shape=(1, 256)), x, Tensor((1, 256), x.quant))


KINDS = (
    "conv",
    "depthwise",
    "gemm",
    "add",
    "mean",
    "requantize",
    "clip",
    "max pool",
    "average pool",
    "pad",
    "slice",
    "flatten",
)


@EVERY
@pytest.mark.parametrize("kind", KINDS)
def test_one_operator_stays_within_its_bound(runtime, kind, tmp_path):
    allowed = 0 if runtime.exact else STEPS[runtime.name].get(kind, 0)
    for seed in range(5):
        graph = one_operator(kind, np.random.default_rng(seed))
        codes = cases.random_input(graph, 8, seed)
        session, expected = opened(runtime, graph, tmp_path, codes)
        # The second addend of a sum is made by a Requantize that keeps its codes.
        assert distance(session.run(codes), expected["y"]) <= allowed
        assert np.unique(expected["y"]).size > 10


@EVERY
def test_a_timed_inference_computes_the_output(runtime, tmp_path):
    graph = toy_graph()
    codes = random_codes(graph, 3)
    session, _ = opened(runtime, graph, tmp_path, codes)
    expected = session.run(codes)
    infer = session.timed(codes[2:])
    infer()
    infer()
    np.testing.assert_array_equal(session.run(codes), expected)
    session.close()


@EVERY
def test_bad_parts_and_bad_inputs_are_named(runtime, tmp_path):
    graph = toy_graph()
    codes = random_codes(graph, 2)
    session, _ = opened(runtime, graph, tmp_path, codes)
    for bad in (codes[:, :2], codes[0], codes[:0]):
        with pytest.raises(ExportError, match="the part takes"):
            session.run(bad)
    with pytest.raises(ExportError, match=r"absent\.tflite"):
        runtime.open(tmp_path, "absent", graph)


@EVERY
def test_a_damaged_file_is_refused(runtime, tmp_path):
    for data in (b"not a model", b"", encode(toy_graph())[:1000]):
        (tmp_path / "part.tflite").write_bytes(data)
        with pytest.raises(ExportError, match="again"):
            ready(runtime).open(tmp_path, "part", toy_graph())


@pytest.mark.parametrize(
    ("runtime", "module"),
    [
        (litert.LITERT, "ai_edge_litert.interpreter"),
        (litert.TFLITE_RUNTIME, "tflite_runtime.interpreter"),
        (tflm.TFLITE_MICRO, "tflite_micro.python.tflite_micro"),
    ],
    ids=["litert", "tflite-runtime", "tflite-micro"],
)
def test_a_runtime_that_is_absent_says_how_to_get_it(runtime, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    reason = runtime.missing()
    assert reason is not None
    assert "pip install" in reason


def test_the_model_that_tries_a_runtime_is_what_the_exporter_writes():
    pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")
    assert encode(cases.tiny_graph()) == TINY_MODEL
