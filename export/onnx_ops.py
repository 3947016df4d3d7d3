"""Each operator of `quant.operators` as float ONNX nodes; the dialects put QuantizeLinear around them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from export.errors import ExportError
from export.onnx_fragment import Fragment, constant, join, operation, scalar
from quant import operators as ops
from quant.graph import Graph, Node, Tensor, with_nodes
from quant.program import limit_ordinals
from quant.reference import dequantise

FLOAT32: np.dtype[Any] = np.dtype(np.float32)


def keep_mean_dims(graph: Graph) -> Graph:
    """Return the graph with every Mean that drops its axes as a Mean that keeps them and a Reshape.

    The Reshape only moves codes, so the meaning is the same, and both halves have an integer kernel in the runtimes
    (GlobalAveragePool), which ReduceMean has not.
    """
    tensors, nodes = dict(graph.tensors), []
    for node in graph.nodes:
        if not (isinstance(node.op, ops.Mean) and not node.op.keep_dims):
            nodes.append(node)
            continue
        shape, pooled = graph.shape(node.output), f"{node.output}_pooled"
        tensors[pooled] = Tensor((*shape, 1, 1), graph.tensors[node.output].quant)
        nodes.append(replace(node, op=ops.Mean(keep_dims=True), output=pooled))
        nodes.append(Node(f"{node.name}_flatten", ops.Reshape(shape=shape), (pooled,), node.output))
    return with_nodes(graph, tuple(nodes), tensors=tensors)


def operator(
    graph: Graph, node: Node, inputs: tuple[str, ...], output: str, dtype: np.dtype[Any] = FLOAT32
) -> Fragment:
    """Return a node as ONNX (opset 13 to 17), without its fused clip.

    Args:
        graph: the graph the node belongs to; gives shapes.
        node: the node.
        inputs: ONNX names of its inputs, in order.
        output: ONNX name of its output.
        dtype: float type of constants.

    Raises:
        ExportError: the operator has no float form here (Requantize).
    """
    made = _operator(graph, node, inputs, output, dtype)
    made.nodes[-1].name = node.name
    return made


def _operator(graph: Graph, node: Node, inputs: tuple[str, ...], output: str, dtype: np.dtype[Any]) -> Fragment:
    match node.op:
        case ops.Conv():
            return operation("Conv", inputs, output, _conv_attributes(node.op, graph.shape(node.inputs[1])))
        case ops.Gemm():
            return operation("Gemm", inputs, output, {"transB": 1})
        case ops.Add() | ops.Mul():
            return operation(node.kind, inputs, output)
        case ops.Function():
            return _function(node.op, inputs[0], output)
        case ops.Clip():
            return clip(inputs[0], output, (node.op.low, node.op.high), dtype)
        case ops.Minimum():
            return _minimum(node.op, inputs[0], output, (len(graph.shape(node.output)), dtype))
        case ops.BatchNorm():
            return operation("BatchNormalization", inputs, output, {"epsilon": node.op.epsilon})
        case ops.MaxPool() | ops.AveragePool():
            return operation(node.kind, inputs, output, _pool_attributes(node.op))
        case ops.Mean():
            return operation("GlobalAveragePool", inputs, output)
        case ops.Softmax():
            return operation("Softmax", inputs, output, {"axis": -1})
        case ops.Pad() | ops.Slice() | ops.Concat() | ops.Reshape():
            return _move(node.op, inputs, output, dtype)
        case ops.Requantize():
            raise ExportError(f"node '{node.name}' is a Requantize, which a float graph cannot hold.")


def _move(
    op: ops.Pad | ops.Slice | ops.Concat | ops.Reshape, inputs: tuple[str, ...], output: str, dtype: np.dtype[Any]
) -> Fragment:
    match op:
        case ops.Pad():
            return _pad(op, inputs[0], output, dtype)
        case ops.Slice():
            return _slice(op, inputs[0], output)
        case ops.Concat():
            return operation("Concat", inputs, output, {"axis": op.axis})
        case ops.Reshape():
            return _reshape(op, inputs[0], output)


def clip(source: str, output: str, limits: tuple[float, float], dtype: np.dtype[Any] = FLOAT32) -> Fragment:
    """Return Relu for [0, inf], else Clip with the finite limits as constants."""
    low, high = limits
    if low == 0.0 and np.isposinf(high):
        return operation("Relu", (source,), output)
    names = (f"{output}_min" if np.isfinite(low) else "", f"{output}_max" if np.isfinite(high) else "")
    constants = [scalar(n, v, dtype) for n, v in zip(names, limits, strict=True) if n]
    inputs = (source, *names) if names[1] else (source, names[0])
    return join((*constants, operation("Clip", inputs, output)))


def _function(op: ops.Function, source: str, output: str) -> Fragment:
    """Return a function in operators that opset 13 has: x times its gate where ONNX has no own word for it."""
    attributes: dict[str, dict[str, object]] = {
        "hard_sigmoid": {"alpha": op.alpha, "beta": op.beta},
        "leaky_relu": {"alpha": op.alpha},
    }
    gates = {"swish": ("Sigmoid", {}), "hard_swish": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5})}
    if op.name in gates:
        kind, values = gates[op.name]
        gate = operation(kind, (source,), f"{output}_gate", values)
        return join((gate, operation("Mul", (source, f"{output}_gate"), output)))
    kinds = {"hard_sigmoid": "HardSigmoid", "leaky_relu": "LeakyRelu", "sigmoid": "Sigmoid"}
    return operation(kinds.get(op.name, "Tanh"), (source,), output, attributes.get(op.name, {}))


def _minimum(op: ops.Minimum, source: str, output: str, like: tuple[int, np.dtype[Any]]) -> Fragment:
    """Return Min with one constant per channel; `like` are the rank and type of its input."""
    rank, dtype = like
    limits = np.array(op.limits).astype(dtype).reshape(1, -1, *(1,) * (rank - 2))
    return join((constant(f"{output}_limits", limits), operation("Min", (source, f"{output}_limits"), output)))


def limits_on_grid(graph: Graph) -> Graph:
    """Return a quantised graph whose Minimum nodes have limits on their tensors' grids, as the reference rounds them.

    A float Min between DequantizeLinear and QuantizeLinear then picks one of two values of the grid.
    """

    def moved(node: Node) -> Node:
        if not isinstance(node.op, ops.Minimum):
            return node
        quant = graph.quant(node.output)
        codes = quant.format.from_ordinals(np.array(limit_ordinals(quant, node.op)))
        return replace(node, op=ops.Minimum(limits=tuple(float(value) for value in dequantise(quant, codes))))

    return with_nodes(graph, tuple(moved(node) for node in graph.nodes))


def _conv_attributes(op: ops.Conv, weight_shape: tuple[int, ...]) -> dict[str, object]:
    return {
        "kernel_shape": list(weight_shape[2:]),
        "strides": list(op.strides),
        "pads": list(op.pads),
        "dilations": list(op.dilations),
        "group": op.groups,
    }


def _pool_attributes(op: ops.MaxPool | ops.AveragePool) -> dict[str, object]:
    attributes: dict[str, object] = {
        "kernel_shape": list(op.kernel),
        "strides": list(op.strides),
        "pads": list(op.pads),
    }
    if isinstance(op, ops.AveragePool):
        attributes["count_include_pad"] = 0
    return attributes


def _pad(op: ops.Pad, source: str, output: str, dtype: np.dtype[Any]) -> Fragment:
    pads = constant(f"{output}_pads", np.array((*op.before, *op.after), dtype=np.int64))
    value = scalar(f"{output}_value", 0.0, dtype)
    return join((pads, value, operation("Pad", (source, f"{output}_pads", f"{output}_value"), output)))


def _slice(op: ops.Slice, source: str, output: str) -> Fragment:
    """Slice every axis but the batch axis."""
    columns = {
        "starts": op.starts[1:],
        "ends": op.ends[1:],
        "axes": tuple(range(1, len(op.starts))),
        "steps": op.steps[1:],
    }
    constants = [constant(f"{output}_{key}", np.array(column, dtype=np.int64)) for key, column in columns.items()]
    return join((*constants, operation("Slice", (source, *(f"{output}_{key}" for key in columns)), output)))


def _reshape(op: ops.Reshape, source: str, output: str) -> Fragment:
    """Flatten to rank 2, else Reshape with the batch axis copied (0)."""
    if len(op.shape) == 2:
        return operation("Flatten", (source,), output, {"axis": 1})
    shape = constant(f"{output}_shape", np.array((0, *op.shape[1:]), dtype=np.int64))
    return join((shape, operation("Reshape", (source, f"{output}_shape"), output)))
