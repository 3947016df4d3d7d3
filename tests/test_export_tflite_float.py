"""Float `.tflite` files: what ONNX Runtime computes of the same graph, in LiteRT and in TFLite-Micro."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from export.errors import ExportError
from export.runtimes.litert import LITERT_REF, TFLITE_RUNTIME
from export.runtimes.tflm import TFLITE_MICRO
from export.tflite_float import encode_float
from quant import operators as ops
from quant.formats import Array
from quant.graph import Graph, Node, Tensor, check
from quant.onnx_write import run_float
from quant.ptq import prepare
from tests import tflite_files as files
from tests.tflite_files import DATA
from tests.toys import toy_graph

pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
INF = float("inf")
MAKERS = (
    (TFLITE_MICRO, lambda data: files.micro(data, 1, 1 << 24)),
    (LITERT_REF, files.reference_kernels),
    (TFLITE_RUNTIME, files.old_reference_kernels),
)
RUNTIMES = [
    pytest.param(
        maker, id=runtime.name, marks=pytest.mark.skipif(bool(runtime.missing()), reason=str(runtime.missing()))
    )
    for runtime, maker in MAKERS
]


def one(op: ops.Operator, out: tuple[int, ...], clip: tuple[float, float] | None = None, **weights: Array) -> Graph:
    """A float graph of one operator that reads x [1, 4, 9, 8]."""
    tensors = {"x": Tensor((1, 4, 9, 8)), "y": Tensor(out), **{name: Tensor(w.shape) for name, w in weights.items()}}
    node = Node("node", op, ("x", *weights), "y", clip)
    return check(Graph("one", "x", "y", (node,), tensors, weights))


def layer(out: int, depth: int, kernel: tuple[int, int]) -> dict[str, Array]:
    rng = np.random.default_rng(out)
    shape = (out, depth, *kernel)
    return {"w": rng.normal(0, 0.3, shape).astype(np.float32), "b": rng.normal(0, 1, out).astype(np.float32)}


def dense(clip: tuple[float, float] | None) -> Graph:
    weights = {name: value.reshape(value.shape[:2]) for name, value in layer(7, 288, (1, 1)).items() if name == "w"}
    nodes = (
        Node("flat", ops.Reshape(shape=(1, 288)), ("x",), "f"),
        Node("fc", ops.Gemm(), ("f", "w", "b"), "y", clip),
        Node("end", ops.Softmax(), ("y",), "p"),
    )
    tensors = {"x": Tensor((1, 4, 9, 8)), "f": Tensor((1, 288)), "y": Tensor((1, 7)), "p": Tensor((1, 7))}
    tensors |= {"w": Tensor((7, 288)), "b": Tensor((7,))}
    return check(Graph("dense", "x", "p", nodes, tensors, {**weights, "b": np.zeros(7, np.float32)}))


def gated() -> Graph:
    nodes = (
        Node("mean", ops.Mean(keep_dims=True), ("x",), "m"),
        Node("gate", ops.Function(name="hard_sigmoid", alpha=0.2, beta=0.5), ("m",), "g"),
        Node("mul", ops.Mul(), ("x", "g"), "p"),
        Node("join", ops.Concat(axis=1), ("p", "x"), "c"),
        Node("cut", ops.Slice(starts=(0, 1, 2, 0), ends=(1, 8, 9, 8), steps=(1, 2, 1, 3)), ("c",), "s"),
        Node("add", ops.Add(), ("s", "s"), "y", (-2.0, 3.0)),
    )
    shapes = {
        "x": (4, 9, 8),
        "m": (4, 1, 1),
        "g": (4, 1, 1),
        "p": (4, 9, 8),
        "c": (8, 9, 8),
        "s": (4, 7, 3),
        "y": (4, 7, 3),
    }
    return check(Graph("gated", "x", "y", nodes, {name: Tensor((1, *shape)) for name, shape in shapes.items()}))


IMAGE = (1, 4, 9, 8)
GRAPHS = {
    "conv": one(ops.Conv(strides=(2, 2), pads=(1, 1, 1, 1)), (1, 6, 5, 4), **layer(6, 4, (3, 3))),
    "conv relu6": one(ops.Conv(pads=(1, 1, 1, 1)), (1, 6, 9, 8), (0.0, 6.0), **layer(6, 4, (3, 3))),
    "conv odd clip": one(ops.Conv(dilations=(2, 1)), (1, 6, 5, 6), (-0.5, INF), **layer(6, 4, (3, 3))),
    "depthwise": one(ops.Conv(groups=4, pads=(1, 0, 0, 2)), (1, 8, 8, 8), **layer(8, 1, (3, 3))),
    "grouped": one(ops.Conv(groups=2), (1, 6, 9, 8), (0.0, INF), **layer(6, 2, (1, 1))),
    "dense": dense((0.0, INF)),
    "gated": gated(),
    "max pool": one(ops.MaxPool(kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)), (1, 4, 5, 4)),
    "max pool clipped": one(ops.MaxPool(kernel=(2, 2), strides=(2, 2)), (1, 4, 4, 4), (0.0, 1.0)),
    "average pool": one(ops.AveragePool(kernel=(3, 3), strides=(3, 2)), (1, 4, 3, 3)),
    "pad": one(ops.Pad(before=(0, 1, 0, 2), after=(0, 0, 3, 1)), (1, 5, 12, 11)),
    "relu": one(ops.Clip(low=0.0, high=INF), IMAGE),
    "clip": one(ops.Clip(low=-INF, high=0.7), IMAGE),
    "minimum": one(ops.Minimum(limits=(0.1, 0.2, -0.3, 0.4)), IMAGE),
    "reshape": one(ops.Reshape(shape=(1, 8, 4, 9)), (1, 8, 4, 9)),
    **{
        name: one(ops.Function(name=name, alpha=0.1 if name == "leaky_relu" else 0.0), IMAGE)
        for name in ("sigmoid", "tanh", "swish", "hard_swish", "leaky_relu")
    },
}


def outputs(graph: Graph, maker: Callable[[bytes], files.Invoke], x: Array) -> Array:
    invoke = maker(encode_float(graph))
    found = np.concatenate([invoke(image[None])[0] for image in file_layout(x)])
    shape = graph.shape(graph.output)
    if len(shape) == 4:
        return found.reshape(-1, shape[2], shape[3], shape[1]).transpose(0, 3, 1, 2)
    return found.reshape(-1, *shape[1:])


def file_layout(x: Array) -> Array:
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if x.ndim == 4 else x


@pytest.mark.parametrize("maker", RUNTIMES)
@pytest.mark.parametrize("name", GRAPHS)
def test_float_operators_compute_what_onnx_runtime_does(name: str, maker):
    graph = GRAPHS[name]
    x = np.random.default_rng(0).normal(0, 2, (3, *graph.shape("x")[1:])).astype(np.float32)
    expected, found = run_float(graph, x), outputs(graph, maker, x)
    assert np.unique(expected).size > 10
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("maker", RUNTIMES)
def test_a_real_network_in_float(maker):
    path, images = DATA / "cifar10" / "mlperf_tiny_resnet8.onnx", DATA / "cifar10" / "cifar10_test_lossless_466.npz"
    if not path.exists():
        pytest.skip(f"there is no {path.name}")
    from quant.onnx_import import load_onnx

    graph = prepare(load_onnx(path))
    with np.load(images) as file:
        x = file["x"][:16].astype(np.float32)
    expected, found = run_float(graph, x), outputs(graph, maker, x)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(found.argmax(1), expected.argmax(1))
    assert np.unique(expected.argmax(1)).size > 4


def test_what_has_no_float_file_is_refused():
    with pytest.raises(ExportError, match="is quantised"):
        encode_float(toy_graph())
    four = {name: np.ones(4, np.float32) for name in ("gamma", "beta", "mean", "variance")}
    with pytest.raises(ExportError, match="is a BatchNorm, which has no float form"):
        encode_float(one(ops.BatchNorm(epsilon=1e-3), IMAGE, **four))
    with pytest.raises(ExportError, match=r"\(AveragePool\) has pads"):
        encode_float(one(ops.AveragePool(kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)), (1, 4, 5, 4)))
    with pytest.raises(ExportError, match="has no nodes"):
        encode_float(replace(GRAPHS["relu"], nodes=(), output="x"))


def test_equal_graphs_give_equal_bytes():
    assert encode_float(GRAPHS["conv"]) == encode_float(GRAPHS["conv"])
