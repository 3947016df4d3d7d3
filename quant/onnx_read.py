"""Read an ONNX file strictly: parse, check, find constants, infer every shape with a batch of 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quant.errors import QuantError
from quant.formats import Array


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A checked ONNX graph: nodes that compute, constants by name, shapes by tensor name."""

    name: str
    opset: int
    input: str
    output: str
    nodes: tuple[Any, ...]
    constants: Mapping[str, Array]
    shapes: Mapping[str, tuple[int, ...]]


def read_onnx(path: Path) -> OnnxModel:
    """Read a model with one input and one output.

    Raises:
        QuantError: the file is damaged or no ONNX model, has NaN or infinite weights, several inputs or outputs, or
            shapes that are not known for a batch of 1.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
        constants = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    except (DecodeError, onnx.checker.ValidationError, OSError, ValueError, TypeError) as error:
        raise QuantError(f"{path} is not a readable ONNX model: {_first_line(error)}") from error
    _check_finite(path, constants)
    name, output = _single(path, model.graph, constants)
    nodes = _fold_constants(model, constants)
    return OnnxModel(
        path.stem, _opset(path, model), name, output, nodes, constants, _shapes(path, model, nodes, name, constants)
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _check_finite(path: Path, constants: Mapping[str, Array]) -> None:
    for name, array in constants.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int(np.size(array) - np.isfinite(array).sum())
            raise QuantError(f"{path}: weight '{name}' has {bad} NaN or infinite values of {array.size}; train again.")


def _single(path: Path, graph: Any, constants: Mapping[str, Array]) -> tuple[str, str]:
    inputs = [value.name for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        raise QuantError(f"{path}: a classifier has one input and one output; this model has {inputs} and {outputs}.")
    return inputs[0], outputs[0]


def _opset(path: Path, model: Any) -> int:
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise QuantError(f"{path}: the model names no ONNX opset.")
    return int(versions[0])


def _fold_constants(model: Any, constants: dict[str, Array]) -> tuple[Any, ...]:
    """Evaluate nodes whose inputs are all constants (ONNX's reference evaluator); return the others."""
    from onnx.reference import ReferenceEvaluator

    left = []
    for node in model.graph.node:
        names = [name for name in node.input if name]
        quantises = node.op_type in ("QuantizeLinear", "DequantizeLinear")
        if quantises or not all(name in constants for name in names):
            left.append(node)
            continue
        evaluator = ReferenceEvaluator(node, opsets={entry.domain: entry.version for entry in model.opset_import})
        values = evaluator.run(None, {name: constants[name] for name in names})
        constants.update(zip(node.output, values, strict=True))
    return tuple(left)


def _shapes(
    path: Path, model: Any, nodes: tuple[Any, ...], name: str, constants: Mapping[str, Array]
) -> dict[str, tuple[int, ...]]:
    """Infer shapes of the folded graph: pads that torch computes from constants are known only there."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    dims = next(value for value in fixed.graph.input if value.name == name).type.tensor_type.shape.dim
    if not dims:
        raise QuantError(f"{path}: input '{name}' has no shape; export the model with a known input shape.")
    dims[0].dim_value = 1
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    del fixed.graph.node[:]
    fixed.graph.node.extend(nodes)
    stored = {item.name for item in fixed.graph.initializer}
    fixed.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, key) for key, value in constants.items() if key not in stored
    )
    try:
        inferred = onnx.shape_inference.infer_shapes(fixed, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise QuantError(f"{path}: shapes do not fit a batch of 1: {_first_line(error)}") from error
    shapes = {key: tuple(value.shape) for key, value in constants.items()}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        shapes[value.name] = tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
    unknown = [key for key, shape in shapes.items() if key not in constants and 0 in shape]
    if unknown:
        raise QuantError(f"{path}: tensor '{unknown[0]}' has an unknown size; export with fixed height and width.")
    return shapes
