"""Conv and Gemm as TFLite's CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED; pools; and the pads of all three."""

from __future__ import annotations

import numpy as np

from export.errors import ExportError
from export.tflite_flat import FlatTensor
from export.tflite_layout import TO_FILE, file_shape, is_wide
from export.tflite_moves import pad
from export.tflite_piece import Piece, activation, flat_op, fused, join, with_tensors
from export.tflite_windows import Window, tflite_padding
from quant import operators as ops
from quant.formats import Array
from quant.graph import Graph, Node

#: Value of the schema's enum TensorType.
INT32 = 2
#: Values of the schema's enum Padding.
PADDING = {"SAME": 0, "VALID": 1}
#: TFLite weights are symmetric; kernels may rely on -128 being absent.
MIN_WEIGHT = -127


def conv_piece(graph: Graph, node: Node, op: ops.Conv) -> Piece:
    """Return DEPTHWISE_CONV_2D when every input channel is its own group, else CONV_2D (grouped by weight shape).

    Layers of int16 codes have int32 biases, with which runtimes round as the graph does; with the usual int64 they take
    a 16-bit multiplier. DEPTHWISE_CONV_2D allows int64 only, so there it is a CONV_2D with a group per channel.
    """
    codes = graph.weights[node.inputs[1]]
    out, per_group, kh, kw = codes.shape
    reach = ((kh - 1) * op.dilations[0] + 1, (kw - 1) * op.dilations[1] + 1)
    x, padding, before = padded(graph, node, reach, op)
    fields = {
        "padding": PADDING[padding],
        "strideH": op.strides[0],
        "strideW": op.strides[1],
        "dilationHFactor": op.dilations[0],
        "dilationWFactor": op.dilations[1],
    }
    wide = is_wide(graph.quant(node.inputs[0]).format)
    if op.groups > 1 and per_group == 1 and not wide:
        weight, bias = _weights(graph, node, codes.transpose(1, 2, 3, 0), 3)
        fields["depthMultiplier"] = out // op.groups
        name, options = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions"
    else:
        weight, bias = _weights(graph, node, codes.transpose(TO_FILE), 0)
        name, options = "CONV_2D", "Conv2DOptions"
        if wide:
            fields["quantizedBiasType"] = INT32
    main = flat_op(name, 3, (x, weight.name, bias.name), node.output, options, **fields)
    return fused(graph, node, main, with_tensors(before, weight, bias))


def gemm_piece(graph: Graph, node: Node) -> Piece:
    """Return FULLY_CONNECTED with per-channel scales.

    Version 9 is written because tflite-runtime 2.14 refuses 11 and 12.
    """
    weight, bias = _weights(graph, node, graph.weights[node.inputs[1]], 0)
    inputs = (node.inputs[0], weight.name, bias.name)
    fields = {"quantizedBiasType": INT32} if is_wide(graph.quant(node.inputs[0]).format) else {}
    main = flat_op("FULLY_CONNECTED", 9, inputs, node.output, "FullyConnectedOptions", **fields)
    return fused(graph, node, main, Piece((weight, bias)))


def max_pool_piece(graph: Graph, node: Node, op: ops.MaxPool) -> Piece:
    """Return MAX_POOL_2D, after PADV2 with the lowest code where SAME does not give the pads."""
    lowest = graph.quant(node.output).format.min_ordinal
    x, padding, before = padded(graph, node, op.kernel, op, lowest)
    return join((before, pool("MAX_POOL_2D", x, padding, node, op)))


def average_pool_piece(graph: Graph, node: Node, op: ops.AveragePool) -> Piece:
    """Return AVERAGE_POOL_2D.

    Raises:
        ExportError: the codes are not int8, or padding is not TFLite's SAME.
    """
    fmt = graph.quant(node.output).format
    if not fmt.signed:
        raise ExportError(
            f"arm-a: node '{node.name}' averages {fmt.name} codes, whose halves round the other way than "
            "those of int8 and int16, the only formats TFLite averages. Quantise with int8 activations."
        )
    x, padding, before = padded(graph, node, op.kernel, op)
    if before.operators:
        raise ExportError(
            f"arm-a: node '{node.name}' (AveragePool) has pads {op.pads}, which TFLite's SAME does not give for "
            f"input {graph.shape(node.inputs[0])}, kernel {op.kernel}, strides {op.strides}; padding that is not "
            "counted can only be said as SAME. Use kernel, strides and pads that match it."
        )
    return pool("AVERAGE_POOL_2D", x, padding, node, op)


def pool(code: str, x: str, padding: str, node: Node, op: ops.MaxPool | ops.AveragePool) -> Piece:
    """Return a pooling operator that slides over tensor `x` with padding SAME or VALID."""
    (sh, sw), (kh, kw) = op.strides, op.kernel
    fields = {"padding": PADDING[padding], "strideH": sh, "strideW": sw, "filterHeight": kh, "filterWidth": kw}
    return Piece((), (flat_op(code, 2, (x,), node.output, "Pool2DOptions", **fields),))


def _weights(graph: Graph, node: Node, codes: Array, axis: int) -> tuple[FlatTensor, FlatTensor]:
    """Return weights (already in file layout, channels on `axis`) and bias, both with one scale per channel.

    One scale for all channels is repeated: tflite-runtime rounds the product of scales to float32 in per-tensor
    FULLY_CONNECTED, but not in per-channel kernels.
    """
    x, weight, bias = graph.quant(node.inputs[0]), graph.quant(node.inputs[1]), graph.weights[node.inputs[2]]
    if codes.min() < MIN_WEIGHT:
        raise ExportError(
            f"arm-a: weight '{node.inputs[1]}' of node '{node.name}' holds -128; TFLite's int8 weights are -127..127. "
            "Quantise weights symmetrically, or export to arm-m or fpga."
        )
    wide = bias.astype(np.int64)
    if np.abs(wide).max(initial=0) >= 1 << 31:
        raise ExportError(f"arm-a: bias '{node.inputs[2]}' of node '{node.name}' does not fit int32.")
    count = codes.shape[axis]
    scales = np.broadcast_to(np.array(weight.scale, np.float32), (count,))
    products = np.float32(x.scale[0]) * scales
    data, bias_data = np.ascontiguousarray(codes, dtype=np.int8).tobytes(), wide.astype("<i4").tobytes()
    return (
        FlatTensor(f"{node.output}/weight", codes.shape, "INT8", tuple(float(s) for s in scales), 0, axis, data),
        FlatTensor(f"{node.output}/bias", (count,), "INT32", tuple(float(s) for s in products), data=bias_data),
    )


def padded(
    graph: Graph,
    node: Node,
    reach: tuple[int, int],
    op: ops.Conv | ops.MaxPool | ops.AveragePool,
    fill: int | None = None,
) -> tuple[str, str, Piece]:
    """Return the tensor a window slides over, SAME or VALID, and a PAD piece where neither says the pads."""
    x, shape, out = node.inputs[0], graph.shape(node.inputs[0]), graph.shape(node.output)
    padding = tflite_padding(Window((shape[2], shape[3]), (out[2], out[3]), reach, op.strides, op.pads))
    if padding is not None:
        return x, padding, Piece()
    top, left, bottom, right = op.pads
    y, widths = f"{node.output}/padded", ((0, 0), (top, bottom), (left, right), (0, 0))
    extents = tuple(extent + sum(pair) for extent, pair in zip(file_shape(shape), widths, strict=True))
    before = with_tensors(pad(graph, x, y, widths, fill), activation(y, extents, graph.tensors[x].quant))
    return y, "VALID", before
