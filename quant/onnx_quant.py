"""The quantised half of the ONNX importer: QuantizeLinear parameters, weight codes, biases, fused activations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from quant.errors import QuantError
from quant.formats import Array, Format, find_format
from quant.graph import Graph, Node, Quant, Tensor
from quant.onnx_nodes import attributes, constant, refuse
from quant.onnx_read import OnnxModel
from quant.operators import MOVES
from quant.passes.fuse_clip import fuse_clip
from quant.rounding import to_nearest_ordinals

#: numpy / ml_dtypes type names of ONNX codes -> format name.
_FORMATS = {
    "int8": "int8",
    "uint8": "int8",
    "int16": "int16",
    "int4": "int4",
    "int32": "int32",
    "float8_e4m3fn": "e4m3fn",
    "float8_e5m2": "e5m2ocp",
}


def read_quant(model: OnnxModel, node: Any) -> Quant:
    """Read scale and zero point of a QuantizeLinear or DequantizeLinear node; uint8 becomes int8."""
    scale, zero = constant(model, node, 1), constant(model, node, 2)
    if scale is None:
        raise refuse(model, node, "it has no scale.")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise refuse(model, node, "its scale must be positive and finite.")
    stored = zero.dtype.name if zero is not None else "uint8"
    if zero is None and node.op_type == "DequantizeLinear" and node.input[0] in model.constants:
        stored = model.constants[node.input[0]].dtype.name
    if stored not in _FORMATS:
        raise refuse(model, node, f"codes of type {stored}; supported: {', '.join(_FORMATS)}.")
    zeros = np.zeros(scale.size, np.int64) if zero is None or stored.startswith("float") else zero.astype(np.int64)
    shift = 128 if stored == "uint8" else 0
    if len(set(zeros.reshape(-1).tolist())) > 1:
        raise refuse(model, node, "zero points that differ between channels are not supported.")
    per_channel = scale.ndim > 0 and scale.size > 1
    rank = len(model.shapes[node.input[0]])
    axis = int(attributes(node).get("axis", 1)) % rank if per_channel else None
    fmt = Format(name="int32", bits=32) if stored == "int32" else find_format(_FORMATS[stored])
    scales = tuple(float(s) for s in scale.astype(np.float32).reshape(-1))
    return Quant(fmt, scales, int(zeros.reshape(-1)[0]) - shift, axis)


def quantise_constant(model: OnnxModel, node: Any, value: Array, quant: Quant | None) -> tuple[Array, Quant | None]:
    """Return weight codes and their symmetric format, or float weights and None."""
    if quant is None:
        return value.astype(np.float32), None
    if quant.zero != 0:
        raise refuse(model, node, f"its weights have zero point {quant.zero}; only symmetric weights are supported.")
    if value.dtype.kind == "f" and value.dtype.itemsize >= 4:
        shape = [1] * value.ndim
        if quant.axis is not None:
            shape[quant.axis] = -1
        scale = np.array(quant.scale, dtype=np.float32).reshape(shape)
        codes = quant.format.from_ordinals(to_nearest_ordinals(quant.format, value / scale))
    elif value.dtype == np.uint8:
        codes = (value.astype(np.int64) - 128).astype(np.int8)
    elif quant.format.is_minifloat:
        codes = value.view(np.uint8)
    else:
        codes = value.astype(quant.format.dtype)
    return codes, replace(quant, axis=0 if quant.axis is None else quant.axis)


def bias_units(x: Quant, weight: Quant) -> Array:
    """Real value of one bias unit per output channel (float64): the accumulator's grid."""
    units: Array = np.array(weight.scale) * (x.scale[0] * x.format.unit * weight.format.unit)
    return units


def quantise_bias(bias: Array, x: Quant, weight: Quant) -> Array:
    """Round a float bias to whole accumulator units: int32 for integer formats, int64 where a minifloat takes part."""
    units = np.rint(bias.astype(np.float64) / bias_units(x, weight))
    wide = x.format.is_minifloat or weight.format.is_minifloat
    limit = 2.0**47 if wide else 2.0**31 - 1
    codes: Array = np.clip(units, -limit, limit).astype(np.int64 if wide else np.int32)
    return codes


def bias_fits(quant: Quant, x: Quant, weight: Quant, out: int) -> bool:
    """Whether a stored integer bias has the scale s_x * s_w that the accumulator has."""
    expected = np.broadcast_to(bias_units(x, weight), (out,))
    return quant.zero == 0 and bool(np.allclose(np.array(quant.scale), expected, rtol=1e-5))


def complete(graph: Graph) -> Graph:
    """Fuse activations, pass formats through operators that only move codes, and check that every tensor has one."""
    graph = _inherit(fuse_clip(graph))
    for name in graph.activations():
        if graph.tensors[name].quant is None:
            made = graph.producer(name)
            where = f"the output of node '{made.name}' ({made.kind})" if made else "the model's input"
            raise QuantError(
                f"{graph.name}: tensor '{name}', {where}, has no scale: no QuantizeLinear reads it. Quantise this "
                "tensor in the tool that wrote the file, or start from the float model."
            )
    return graph


def _inherit(graph: Graph) -> Graph:
    tensors, nodes = dict(graph.tensors), []
    for node in graph.nodes:
        first = tensors[node.inputs[0]].quant
        if isinstance(node.op, MOVES) and first is not None:
            nodes.extend(_align(tensors, node, tensors[node.output].quant or first))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes), tensors=tensors)


def _align(tensors: dict[str, Tensor], node: Node, quant: Quant) -> list[Node]:
    """Put a Requantize before every input of a moving operator whose format differs from its output's."""
    from quant.operators import Requantize

    made, inputs = [], []
    for name in node.inputs:
        if tensors[name].quant != quant:
            fresh = f"{node.name}.{name}.requantized"
            tensors[fresh] = Tensor(tensors[name].shape, quant)
            made.append(Node(fresh, Requantize(), (name,), fresh))
            inputs.append(fresh)
        else:
            inputs.append(name)
    tensors[node.output] = Tensor(tensors[node.output].shape, quant)
    return [*made, replace(node, inputs=tuple(inputs))]
