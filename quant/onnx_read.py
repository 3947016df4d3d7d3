"""Read an ONNX file strictly: parse, check, find constants, infer every shape with a batch of 1."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from quant.errors import QuantError
from quant.formats import Array
from quant.onnx_fold import DAMAGED, first_line, resolve
from quant.onnx_qoperator import to_qdq

#: Protobuf's own limit.
MAX_BYTES = (1 << 31) - 1
#: Before opset 7 operators broadcast by attributes and batch norm may train.
MIN_OPSET = 7

#: ONNX numbers of the types an input may have; integers are codes, with a DequantizeLinear behind them.
_INPUT_KINDS = {1: "float32", 10: "float16", 11: "float64", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16"}


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A checked ONNX graph: nodes that compute, constants by name, shapes by tensor name."""

    name: str
    opset: int
    input: str
    input_dtype: np.dtype[Any]
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
    model, stored = _parse(path)
    opset = _opset(path, model)
    name, output = _single(path, model.graph, stored)
    nodes, constants, shapes = resolve(path, model, name, output, stored)
    _check_finite(path, nodes, constants)
    return OnnxModel(path.stem, opset, name, _input_dtype(path, model, name), output, nodes, constants, shapes)


def _parse(path: Path) -> tuple[Any, dict[str, Array]]:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        if not path.is_file():
            raise FileNotFoundError("no such file" if not path.exists() else "it is not a regular file")
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"{path.stat().st_size} bytes; an ONNX file has at most {MAX_BYTES}")
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
        if len(model.graph.sparse_initializer):
            raise ValueError("sparse weights are not supported")
        model = to_qdq(path, model)
        return model, {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    except (DecodeError, onnx.checker.ValidationError, OSError, *DAMAGED) as error:
        raise QuantError(f"{path} is not a readable ONNX model: {first_line(error)}") from error


def _check_finite(path: Path, nodes: tuple[Any, ...], constants: Mapping[str, Array]) -> None:
    read = {name for node in nodes for name in node.input}
    for name, array in constants.items():
        # Limits of a Clip may be infinite. Kind V are the small floats and integers of ml_dtypes.
        if array.dtype.kind not in "fV" or array.ndim == 0 or name not in read:
            continue
        with np.errstate(invalid="ignore"):
            bad = int(array.size - np.isfinite(array.astype(np.float64)).sum())
        if not bad:
            continue
        raise QuantError(f"{path}: weight '{name}' has {bad} NaN or infinite values of {array.size}; train again.")


def _single(path: Path, graph: Any, constants: Mapping[str, Array]) -> tuple[str, str]:
    inputs = [value.name for value in graph.input if value.name not in constants]
    outputs = [value.name for value in graph.output]
    if len(inputs) != 1 or len(outputs) != 1:
        raise QuantError(f"{path}: a classifier has one input and one output; this model has {inputs} and {outputs}.")
    return inputs[0], outputs[0]


def _input_dtype(path: Path, model: Any, name: str) -> np.dtype[Any]:
    import onnx

    kind = next(value for value in model.graph.input if value.name == name).type.tensor_type.elem_type
    if kind not in _INPUT_KINDS:
        known = onnx.TensorProto.DataType.Name(kind) if kind in onnx.TensorProto.DataType.values() else kind
        raise QuantError(f"{path}: input '{name}' is of type {known}; supported: {', '.join(_INPUT_KINDS.values())}.")
    return np.dtype(_INPUT_KINDS[kind])


def _opset(path: Path, model: Any) -> int:
    import onnx

    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise QuantError(f"{path}: the model names no ONNX opset.")
    if versions[0] < MIN_OPSET:
        raise QuantError(f"{path}: opset {versions[0]} is too old; export with opset {MIN_OPSET} or later (best 17).")
    if versions[0] > (newest := onnx.defs.onnx_opset_version()):
        raise QuantError(f"{path}: opset {versions[0]} is newer than {newest}, the newest known; export with opset 17.")
    return int(versions[0])
