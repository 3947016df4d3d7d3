"""Small ONNX files for tests of the importer: built by hand, run by ONNX Runtime, compared with the imported graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from quant.formats import Array
from quant.graph import Graph
from quant.onnx_import import load_onnx
from quant.onnx_write import run_float
from quant.ptq import prepare

IMAGE = (1, 3, 8, 7)
NODE = helper.make_node


def save(
    path: Path,
    nodes: Sequence[Any],
    constants: Mapping[str, Array] | None = None,
    shape: Sequence[int | str] = IMAGE,
    opset: int = 17,
    **more: Any,
) -> Path:
    """Write a model with input `x` and output `y`. `more`: domains, input_type, inputs, outputs, check."""
    kind = more.get("input_type", TensorProto.FLOAT)
    inputs = [helper.make_tensor_value_info("x", kind, ["N", *shape[1:]])]
    outputs = [helper.make_tensor_value_info(name, kind, None) for name in more.get("outputs", ("y",))]
    inputs += [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in more.get("inputs", ())]
    values = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    graph = helper.make_graph(list(nodes), "model", inputs, outputs, values)
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(name, 1) for name in more.get("domains", ()))]
    # IR 10 is what ONNX Runtime 1.31 reads of every opset here.
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    if more.get("check", True):
        model = onnx.shape_inference.infer_shapes(model)
    for value in model.graph.output:
        # The checker wants a shape; a scalar's where inference found none.
        value.type.tensor_type.shape.SetInParent()
    path.write_bytes(model.SerializeToString())
    return path


def ort_run(path: Path, x: Array, level: str = "ORT_ENABLE_ALL") -> Array:
    """Run a file in ONNX Runtime."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.graph_optimization_level = getattr(ort.GraphOptimizationLevel, level)
    # Its fusion of Pad and MaxPool gives wrong maxima of negative values.
    session = ort.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=["Pad_Fusion"]
    )
    result: Array = session.run(None, {session.get_inputs()[0].name: x})[0]
    return result


def images(shape: Sequence[int], count: int = 3, seed: int = 0) -> Array:
    """Random inputs [count, ...], each with its own mean."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, *shape[1:])) + rng.normal(size=(count, *(1 for _ in shape[1:])))
    return x.astype(np.float32)


def same_as_ort(path: Path, shape: Sequence[int] = IMAGE, count: int = 3) -> Graph:
    """Assert that the prepared graph of a file computes what ONNX Runtime computes; return the imported graph."""
    x = images(shape, count)
    want = ort_run(path, x)
    graph = load_onnx(path)
    assert np.std(want) > 0, "a constant output would prove nothing"
    for candidate in (graph, prepare(graph)):
        found = run_float(candidate, x)
        assert found.shape == want.shape
        np.testing.assert_allclose(found, want, rtol=1e-4, atol=1e-4)
    return graph


def weights(*shape: int, seed: int = 1) -> Array:
    """Random float32 weights."""
    return np.random.default_rng(seed).normal(size=shape, scale=0.4).astype(np.float32)
