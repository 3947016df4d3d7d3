"""Pad, Slice, Concat and Reshape of codes as TFLite operators."""

from __future__ import annotations

import numpy as np

from export.errors import ExportError
from export.tflite_layout import TO_FILE, TO_GRAPH, file_axis, file_order, file_shape
from export.tflite_piece import Piece, activation, bound, constant, flat_op, join
from quant import operators as ops
from quant.graph import Graph, Node

#: TFLite-Micro's CONCATENATION takes no more.
MAX_CONCAT_INPUTS = 10


def move_piece(graph: Graph, node: Node, op: ops.Pad | ops.Slice | ops.Concat | ops.Reshape) -> Piece:
    """Return what an operator that only moves codes becomes.

    Raises:
        ExportError: a Concat has more inputs than TFLite-Micro takes.
    """
    match op:
        case ops.Pad():
            widths = tuple(zip(file_order(op.before), file_order(op.after), strict=True))
            return pad(graph, node.inputs[0], node.output, widths)
        case ops.Slice():
            return _slice(graph, node, op)
        case ops.Concat():
            return _concat(graph, node, op)
        case ops.Reshape():
            return _reshape(graph, node)


def pad(graph: Graph, x: str, y: str, widths: tuple[tuple[int, int], ...], fill: int | None = None) -> Piece:
    """Return PAD (with the code of zero), or PADV2 with the ordinal `fill`."""
    amounts = constant(f"{y}/pads", np.array(widths))
    if fill is None:
        return Piece((amounts,), (flat_op("PAD", 2, (x, amounts.name), y, "PadOptions"),))
    value = bound(f"{y}/fill", graph.quant(x), fill)
    return Piece((amounts, value), (flat_op("PADV2", 2, (x, amounts.name, value.name), y, "PadV2Options"),))


def _slice(graph: Graph, node: Node, op: ops.Slice) -> Piece:
    """Return STRIDED_SLICE with starts and ends inside the input's extents."""
    shape = graph.shape(node.inputs[0])
    parts = [slice(a, b, c).indices(n) for a, b, c, n in zip(op.starts, op.ends, op.steps, shape, strict=True)]
    parts[0] = (0, 1, 1)
    constants = tuple(
        constant(f"{node.output}/{name}", np.array(file_order(values)))
        for name, values in zip(("begin", "end", "strides"), zip(*parts, strict=True), strict=True)
    )
    inputs = (node.inputs[0], *(constant.name for constant in constants))
    return Piece(constants, (flat_op("STRIDED_SLICE", 2, inputs, node.output, "StridedSliceOptions"),))


def _concat(graph: Graph, node: Node, op: ops.Concat) -> Piece:
    """Return CONCATENATION, or raise ExportError when it has more inputs than TFLite-Micro takes."""
    if len(node.inputs) > MAX_CONCAT_INPUTS:
        raise ExportError(
            f"arm-a: node '{node.name}' joins {len(node.inputs)} tensors; TFLite-Micro joins at most "
            f"{MAX_CONCAT_INPUTS}. Split it into several Concat nodes."
        )
    axis = file_axis(op.axis, len(graph.shape(node.output)))
    return Piece((), (flat_op("CONCATENATION", 2, node.inputs, node.output, "ConcatenationOptions", axis=axis),))


def _reshape(graph: Graph, node: Node) -> Piece:
    """Return RESHAPE between TRANSPOSEs where the order of values in memory differs from the graph's."""
    quant, x, y = graph.tensors[node.output].quant, node.inputs[0], node.output
    before, after = graph.shape(x), graph.shape(y)
    pieces = []
    if _moves(before):
        pieces.append(_transpose(x, f"{y}/nchw", TO_GRAPH))
        pieces.append(Piece((activation(f"{y}/nchw", before, quant),)))
        x = f"{y}/nchw"
    flat, shape = (f"{y}/flat", after) if _moves(after) else (y, file_shape(after))
    target = constant(f"{y}/shape", np.array(shape))
    pieces.append(Piece((target,), (flat_op("RESHAPE", 1, (x, target.name), flat, "ReshapeOptions"),)))
    if _moves(after):
        pieces.append(Piece((activation(flat, after, quant),)))
        pieces.append(_transpose(flat, y, TO_FILE))
    return join(pieces)


def _moves(shape: tuple[int, ...]) -> bool:
    """Whether NCHW and NHWC order the values of a shape differently."""
    return len(shape) == 4 and shape[1] > 1 and shape[2] * shape[3] > 1


def _transpose(x: str, y: str, order: tuple[int, ...]) -> Piece:
    axes = constant(f"{y}/perm", np.array(order))
    return Piece((axes,), (flat_op("TRANSPOSE", 2, (x, axes.name), y, "TransposeOptions"),))
