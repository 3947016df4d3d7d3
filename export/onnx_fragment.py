"""Pieces of an ONNX graph, joined into a checked model. Import lazily: this module needs the onnx package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from export.atomic import write_file
from export.errors import ExportError
from quant.formats import Array

#: File format 8 goes with opset 17 and is read by every runtime from 2022 on; opset 13 needs 7, opset 19 with FP8 9.
IR_VERSIONS = {13: 7, 17: 8, 19: 9}


@dataclass(frozen=True, eq=False)
class Fragment:
    """Nodes in execution order and the constants they read."""

    nodes: tuple[Any, ...] = ()
    constants: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Port:
    """A model input or output: name and shape; an axis given as text is dynamic. Values are float32."""

    name: str
    shape: tuple[int | str, ...]


def join(fragments: Iterable[Fragment]) -> Fragment:
    """Return the fragments one behind the other."""
    parts = tuple(fragments)
    return Fragment(tuple(n for p in parts for n in p.nodes), tuple(c for p in parts for c in p.constants))


def operation(
    kind: str, inputs: tuple[str, ...], output: str, attributes: Mapping[str, object] | None = None
) -> Fragment:
    """Return one node, named after its output."""
    return Fragment((helper.make_node(kind, list(inputs), [output], f"{output}/{kind}", **(attributes or {})),))


def constant(name: str, values: Array) -> Fragment:
    """Return one initializer; the numpy type decides the ONNX type."""
    return Fragment((), (numpy_helper.from_array(np.ascontiguousarray(values), name),))


def scalar(name: str, value: float, dtype: np.dtype[Any]) -> Fragment:
    """Return an initializer of rank 0."""
    return Fragment((), (numpy_helper.from_array(np.array(value, dtype=dtype), name),))


def model(name: str, body: Fragment, source: Port, sink: Port, opset: int) -> Any:
    """Return a checked ModelProto of the default domain.

    Args:
        name: graph name.
        body: everything between input and output.
        source: the float32 input.
        sink: the float32 output.
        opset: a key of `IR_VERSIONS`.

    Raises:
        ExportError: the ONNX checker or its shape inference refuses the model.
    """
    values = [helper.make_tensor_value_info(p.name, onnx.TensorProto.FLOAT, list(p.shape)) for p in (source, sink)]
    graph = helper.make_graph(body.nodes, name, values[:1], values[1:], body.constants)
    made = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSIONS[opset], producer_name="edgemill"
    )
    try:
        onnx.checker.check_model(made, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"graph '{name}' gives an invalid ONNX model: {error}") from error
    return made


def save(made: Any, path: Path) -> None:
    """Write a model deterministically: the same graph gives the same bytes."""
    write_file(path, made.SerializeToString(deterministic=True))
