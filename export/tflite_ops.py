"""One graph node as TFLite tensors and operators."""

from __future__ import annotations

import numpy as np

from export.errors import ExportError
from export.tflite_flat import FlatTensor
from export.tflite_functions import function_piece
from export.tflite_layers import average_pool_piece, conv_piece, gemm_piece, max_pool_piece
from export.tflite_layout import file_type, is_wide
from export.tflite_moves import move_piece
from export.tflite_piece import Piece, clamped, constant, flat_op, fused, limits
from quant import operators as ops
from quant.graph import Graph, Node
from quant.program import limit_ordinals


def node_piece(graph: Graph, node: Node) -> Piece:
    """Return what a node of a quantised graph becomes.

    Raises:
        ExportError: TFLite cannot compute the node as the graph means it; the message says why and what to do.
    """
    _check_types(graph, node)
    match node.op:
        case ops.Conv():
            return conv_piece(graph, node, node.op)
        case ops.Gemm():
            return gemm_piece(graph, node)
        case ops.Add() | ops.Mul():
            main = flat_op(node.kind.upper(), 2, node.inputs, node.output, f"{node.kind}Options")
            return fused(graph, node, main)
        case ops.Function():
            return function_piece(graph, node, node.op)
        case ops.Mean():
            return _mean(graph, node, node.op)
        case ops.Requantize():
            return _quantize(graph, node, node.clip)
        case ops.Clip():
            return _quantize(graph, node, (node.op.low, node.op.high))
        case ops.MaxPool():
            return max_pool_piece(graph, node, node.op)
        case ops.AveragePool():
            return average_pool_piece(graph, node, node.op)
        case ops.Minimum():
            return _minimum(graph, node, node.op)
        case ops.Pad() | ops.Slice() | ops.Concat() | ops.Reshape():
            return move_piece(graph, node, node.op)
        case _:
            raise ExportError(f"arm-a: node '{node.name}' is a {node.kind}, which has no int8 form in TFLite.")


def _check_types(graph: Graph, node: Node) -> None:
    """Check that int16 codes have no zero point, and that only a rounding changes the type."""
    tensors = [name for name in (*node.inputs, node.output) if name not in graph.weights]
    for name in tensors:
        if is_wide(graph.quant(name).format) and graph.quant(name).zero:
            raise ExportError(
                f"arm-a: tensor '{name}' of node '{node.name}' is int16 with zero point {graph.quant(name).zero}; "
                "TFLite's int16 has none. Quantise with symmetric activations, for example w8a16-sym."
            )
    if isinstance(node.op, ops.Requantize | ops.Clip):
        return
    if len({is_wide(graph.quant(name).format) for name in tensors}) > 1:
        raise ExportError(
            f"arm-a: node '{node.name}' ({node.kind}) has int8 and int16 codes at its ends; TFLite's operators keep "
            "the type. Give the layer one width, or put a Requantize between."
        )


def softmax_piece(graph: Graph) -> Piece:
    """Return a SOFTMAX of the graph's output, on the grid that TFLite fixes for probabilities.

    Raises:
        ExportError: the output is no vector of logits.
    """
    shape, quant = graph.shape(graph.output), graph.quant(graph.output)
    if len(shape) != 2:
        raise ExportError(f"arm-a: the output has shape {list(shape)}; probabilities are made of logits [1, N].")
    wide = is_wide(quant.format)
    scale, zero = (2.0**-15, 0) if wide else (2.0**-8, -128)
    made = FlatTensor(f"{graph.output}/softmax", shape, file_type(quant.format), (scale,), zero)
    version = 3 if wide else 2
    return Piece((made,), (flat_op("SOFTMAX", version, (graph.output,), made.name, "SoftmaxOptions", beta=1.0),))


def _minimum(graph: Graph, node: Node, op: ops.Minimum) -> Piece:
    """Return MINIMUM with a constant that has one code per channel, the last axis in the file."""
    quant = graph.quant(node.output)
    value = limits(f"{node.output}/limits", quant, limit_ordinals(quant, op), len(graph.shape(node.output)))
    inputs = (node.inputs[0], value.name)
    return Piece((value,), (flat_op("MINIMUM", 2, inputs, node.output, "MaximumMinimumOptions"),))


def _mean(graph: Graph, node: Node, op: ops.Mean) -> Piece:
    axes = constant(f"{node.output}/axes", np.array([1, 2]))
    inputs = (node.inputs[0], axes.name)
    main = flat_op("MEAN", 2, inputs, node.output, "ReducerOptions", keepDims=op.keep_dims)
    return clamped(graph, node, node.clip, main, Piece((axes,)))


def _quantize(graph: Graph, node: Node, clip: tuple[float, float] | None) -> Piece:
    return clamped(graph, node, clip, flat_op("QUANTIZE", 2, node.inputs, node.output, "QuantizeOptions"))
