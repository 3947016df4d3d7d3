"""The QDQ dialect of the Jetson targets: signed int8 or FP8, zero points 0, Q/DQ on the inputs of what runs in 8 bits.

TensorRT fuses a layer into an int8 kernel when all its inputs come from DequantizeLinear and nothing quantises its
output too early. So a tensor is quantised where a quantised layer reads it, one pair for each reader:

* Conv, Gemm, pooling, Mean and Concat quantise their inputs; weights are int8 with DequantizeLinear, biases float;
* a residual Add quantises its skip input only; the convolution that feeds the other input keeps its float output,
  so that Conv + Add + Relu become one kernel;
* a Clip behind a tensor that others read too cannot become part of its producer; it reads the codes they read,
  because its own grid may be finer;
* Pad, Slice, Reshape and Minimum make no value between the grid's and are left to TensorRT;
* the network's output stays float.

Every Q/DQ has three inputs and, per channel, an explicit axis. The batch is 1 and static.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from export.onnx_fragment import Fragment, Port, constant, join, model, operation, scalar
from export.onnx_ops import clip, keep_mean_dims, limits_on_grid, operator
from export.onnx_qdq import dequantised_constant, parameter_name
from quant import operators as ops
from quant.formats import Array, Format
from quant.graph import Graph, Node

_INT8_READERS = (ops.Conv, ops.Gemm, ops.Mean, ops.MaxPool, ops.AveragePool, ops.Concat, ops.Requantize)


def jetson_model(graph: Graph, opset: int) -> Any:
    """Return a quantised graph with zero points of 0 as an ONNX model of batch 1.

    Raises:
        ExportError: the ONNX checker refuses the result.
    """
    graph = limits_on_grid(keep_mean_dims(graph))
    pairs = _pairs(graph)
    body = [_quantise(graph, graph.input, pairs)]
    for node in graph.nodes:
        body += [_node(graph, node, pairs), _quantise(graph, node.output, pairs)]
    ports = [Port(name, graph.shape(name)) for name in (graph.input, graph.output)]
    return model(graph.name, join(body), ports[0], ports[1], opset)


def quantised_inputs(graph: Graph, node: Node) -> tuple[str, ...]:
    """Return the activations that a node reads through a Q/DQ pair."""
    if isinstance(node.op, _INT8_READERS):
        return tuple(dict.fromkeys(name for name in node.inputs if name not in graph.weights))
    if isinstance(node.op, ops.Add):
        return _skip_inputs(graph, node)
    if isinstance(node.op, ops.Clip) and len(graph.consumers(node.inputs[0])) > 1:
        return node.inputs
    return ()


def _skip_inputs(graph: Graph, node: Node) -> tuple[str, ...]:
    """Return all inputs of an Add but the one whose convolution can absorb the Add: the last one made."""
    made = [n.output for n in graph.nodes if n.output in node.inputs and _absorbs(graph, n)]
    return tuple(dict.fromkeys(name for name in node.inputs if name not in made[-1:]))


def _absorbs(graph: Graph, node: Node) -> bool:
    alone = len(graph.consumers(node.output)) == 1 and node.output != graph.output
    return isinstance(node.op, ops.Conv) and node.clip is None and alone


def _pairs(graph: Graph) -> dict[tuple[str, str], str]:
    """Return the suffix of each Q/DQ pair by (tensor, reading node): empty for a tensor's first reader."""
    count: dict[str, int] = {}
    suffixes = {}
    for node in graph.nodes:
        for tensor in quantised_inputs(graph, node):
            number = count.get(tensor, 0)
            suffixes[tensor, node.name] = f"_{number}" if number else ""
            count[tensor] = number + 1
    return suffixes


def _quantise(graph: Graph, tensor: str, pairs: dict[tuple[str, str], str]) -> Fragment:
    """Return the Q/DQ pairs of a tensor's readers; all share one scale."""
    suffixes = [suffix for (name, _), suffix in pairs.items() if name == tensor]
    if not suffixes:
        return Fragment()
    grid = (f"{tensor}_scale", f"{tensor}_zero_point")
    quant = graph.quant(tensor)
    parts = [scalar(grid[0], quant.scale[0], np.dtype(np.float32)), codes(grid[1], quant.format, np.zeros((), np.int8))]
    for suffix in suffixes:
        stored = f"{tensor}_QuantizeLinear_Output{suffix}"
        parts.append(operation("QuantizeLinear", (tensor, *grid), stored))
        parts.append(operation("DequantizeLinear", (stored, *grid), f"{tensor}_DequantizeLinear_Output{suffix}"))
    return join(parts)


def _node(graph: Graph, node: Node, pairs: dict[tuple[str, str], str]) -> Fragment:
    inputs = tuple(_input_name(graph, node, name, pairs) for name in node.inputs)
    limits = _limits(graph, node, pairs)
    raw = f"{node.output}_{node.kind}_Output" if limits else node.output
    parts = [_parameters(graph, node)] if isinstance(node.op, ops.Conv | ops.Gemm) else []
    # A Requantize only changes the grid, which the Q/DQ pairs of its readers do.
    made = (
        operation("Identity", inputs, raw)
        if isinstance(node.op, ops.Requantize)
        else operator(graph, node, inputs, raw)
    )
    parts.append(made)
    if limits:
        parts.append(clip(raw, node.output, limits))
    return join(parts)


def _limits(graph: Graph, node: Node, pairs: dict[tuple[str, str], str]) -> tuple[float, float] | None:
    """Return the fused activation, as Relu where int8 saturation gives the upper limit anyway.

    The operators that only move codes ignore `clip`, as the reference does.
    """
    if node.clip is None or isinstance(node.op, (ops.Clip, *ops.MOVES)):
        return None
    low, high = node.clip
    readers = graph.consumers(node.output)
    all_quantised = bool(readers) and all((node.output, reader.name) in pairs for reader in readers)
    quant = graph.quant(node.output)
    saturates = high >= quant.scale[0] * quant.format.max
    return (low, float("inf")) if low == 0 and saturates and all_quantised else (low, high)


def _input_name(graph: Graph, node: Node, tensor: str, pairs: dict[tuple[str, str], str]) -> str:
    if tensor in graph.weights:
        name = parameter_name(graph, node, tensor)
        return name if tensor == node.inputs[2] else f"{name}_DequantizeLinear_Output"
    suffix = pairs.get((tensor, node.name))
    return tensor if suffix is None else f"{tensor}_DequantizeLinear_Output{suffix}"


def _parameters(graph: Graph, node: Node) -> Fragment:
    x, w = graph.quant(node.inputs[0]), graph.quant(node.inputs[1])
    names = [parameter_name(graph, node, tensor) for tensor in node.inputs[1:]]
    scale = np.array(w.scale, dtype=np.float32)
    unit = x.scale[0] * x.format.unit * w.format.unit
    bias = graph.weights[node.inputs[2]] * (unit * scale.astype(np.float64))
    weights = graph.weights[node.inputs[1]]
    if w.format.is_minifloat:
        stored = dequantised_minifloat(names[0], w.format, weights, scale)
    else:
        stored = dequantised_constant(names[0], weights.astype(np.int8), scale)
    return join((stored, constant(names[1], bias.astype(np.float32))))


def codes(name: str, fmt: Format, values: Array) -> Fragment:
    """Return codes of an 8-bit format as an initializer: int8, or float8e4m3fn byte by byte."""
    if not fmt.is_minifloat:
        return Fragment((), (numpy_helper.from_array(np.asarray(values, np.int8, order="C"), name),))
    raw = np.ascontiguousarray(values, np.uint8).tobytes()
    return Fragment((), (helper.make_tensor(name, TensorProto.FLOAT8E4M3FN, values.shape, raw, raw=True),))


def dequantised_minifloat(name: str, fmt: Format, values: Array, scale: Array) -> Fragment:
    """Return float8e4m3fn codes and their DequantizeLinear, as `dequantised_constant` does with integers."""
    several = scale.size > 1
    names = (f"{name}_quantized", f"{name}_scale", f"{name}_zero_point")
    zeros = np.zeros(scale.shape if several else (), np.uint8)
    factor = constant(names[1], scale) if several else scalar(names[1], scale[0], scale.dtype)
    attributes = {"axis": 0} if several else {}
    made = operation("DequantizeLinear", names, f"{name}_DequantizeLinear_Output", attributes)
    return join((codes(names[0], fmt, values), factor, codes(names[2], fmt, zeros), made))
