"""A float graph as a `.tflite` file: float32 throughout, NHWC; for parts of a network that are not quantised."""

from __future__ import annotations

import numpy as np

from export.errors import ExportError
from export.tflite_flat import FlatOp, FlatTensor, pack
from export.tflite_layers import PADDING, padded, pool
from export.tflite_layout import TO_FILE, file_shape
from export.tflite_moves import move_piece
from export.tflite_piece import ACTIVATIONS, NO_ACTIVATION, Piece, activation, constant, flat_op, join, with_tensors
from quant import operators as ops
from quant.formats import Array
from quant.graph import Graph, Node, check

INF = float("inf")
LOWEST = float(np.finfo(np.float32).min)
#: Operators that can clamp their result themselves.
FUSING = ("ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MUL")
FUNCTIONS = {"sigmoid": "LOGISTIC", "tanh": "TANH", "hard_swish": "HARD_SWISH"}


def encode_float(graph: Graph) -> bytes:
    """Return the bytes of the `.tflite` file of a float graph; equal graphs give equal bytes.

    Raises:
        ExportError: the graph is quantised or empty, holds a BatchNorm, or says what TFLite does not compute.
        QuantError: the graph is not well formed.
    """
    if check(graph).is_quantised:
        raise ExportError(f"graph '{graph.name}' is quantised; a float .tflite file is made of a float graph.")
    if not graph.nodes:
        raise ExportError(f"graph '{graph.name}' has no nodes; a .tflite file needs at least one operator.")
    piece = join([_clipped(graph, node, _node(graph, node)) for node in graph.nodes])
    tensors = tuple(activation(name, file_shape(graph.shape(name)), None) for name in graph.activations())
    return pack(graph.name, (graph.input, graph.output), (*tensors, *piece.tensors), piece.operators)


def _node(graph: Graph, node: Node) -> Piece:
    """Return what a node becomes, without its clip."""
    x, y = node.inputs, node.output
    match node.op:
        case ops.Conv():
            return _conv(graph, node, node.op)
        case ops.Gemm():
            weight, bias = _values(f"{y}/weight", graph.weights[x[1]]), _values(f"{y}/bias", graph.weights[x[2]])
            main = flat_op("FULLY_CONNECTED", 1, (x[0], weight.name, bias.name), y, "FullyConnectedOptions")
            return Piece((weight, bias), (main,))
        case ops.Add() | ops.Mul():
            return Piece((), (flat_op(node.kind.upper(), 1, x, y, f"{node.kind}Options"),))
        case ops.Mean():
            axes = constant(f"{y}/axes", np.array([1, 2]))
            return Piece(
                (axes,), (flat_op("MEAN", 1, (x[0], axes.name), y, "ReducerOptions", keepDims=node.op.keep_dims),)
            )
        case ops.MaxPool() | ops.AveragePool():
            return _pool(graph, node, node.op)
        case ops.Pad() | ops.Slice() | ops.Concat() | ops.Reshape():
            return move_piece(graph, node, node.op)
        case ops.Softmax():
            return Piece((), (flat_op("SOFTMAX", 1, x, y, "SoftmaxOptions", beta=1.0),))
        case ops.Clip():
            return _clamp(x[0], y, file_shape(graph.shape(y)), (node.op.low, node.op.high))
        case ops.Minimum():
            return _with_constant("MINIMUM", x[0], y, np.array(node.op.limits))
        case ops.Function():
            return _function(graph, node, node.op)
        case _:
            raise ExportError(
                f"node '{node.name}' is a {node.kind}, which has no float form in TFLite; prepare the graph first "
                "(quant.ptq.prepare folds batch norms)."
            )


def _conv(graph: Graph, node: Node, op: ops.Conv) -> Piece:
    weights, y = graph.weights[node.inputs[1]], node.output
    out, per_group, kh, kw = weights.shape
    reach = ((kh - 1) * op.dilations[0] + 1, (kw - 1) * op.dilations[1] + 1)
    x, padding, before = padded(graph, node, reach, op)
    fields = {"padding": PADDING[padding], "strideH": op.strides[0], "strideW": op.strides[1]}
    fields |= {"dilationHFactor": op.dilations[0], "dilationWFactor": op.dilations[1]}
    name, options, turned = "CONV_2D", "Conv2DOptions", weights.transpose(TO_FILE)
    if op.groups > 1 and per_group == 1:
        name, options, turned = "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", weights.transpose(1, 2, 3, 0)
        fields["depthMultiplier"] = out // op.groups
    weight, bias = _values(f"{y}/weight", turned), _values(f"{y}/bias", graph.weights[node.inputs[2]])
    main = flat_op(name, 2, (x, weight.name, bias.name), y, options, **fields)
    return join((with_tensors(before, weight, bias), Piece((), (main,))))


def _pool(graph: Graph, node: Node, op: ops.MaxPool | ops.AveragePool) -> Piece:
    """Return a pool; one with other pads than TFLite's SAME slides over a padded copy, where padding never wins."""
    x, padding, before = padded(graph, node, op.kernel, op)
    if not before.operators:
        return pool(f"{'MAX' if isinstance(op, ops.MaxPool) else 'AVERAGE'}_POOL_2D", x, padding, node, op)
    if isinstance(op, ops.AveragePool):
        raise ExportError(
            f"node '{node.name}' (AveragePool) has pads {op.pads}; padding that is not counted can only be said as "
            "TFLite's SAME. Use kernel, strides and pads that match it."
        )
    (zeros,) = before.operators
    lowest = _values(f"{x}/fill", np.array([LOWEST]))
    copy = flat_op("PADV2", 1, (*zeros.inputs, lowest.name), x, "PadV2Options")
    return join((Piece((*before.tensors, lowest), (copy,)), pool("MAX_POOL_2D", x, padding, node, op)))


def _function(graph: Graph, node: Node, op: ops.Function) -> Piece:
    x, y, shape = node.inputs[0], node.output, file_shape(graph.shape(node.output))
    if op.name in FUNCTIONS:
        options = "HardSwishOptions" if op.name == "hard_swish" else ""
        return Piece((), (flat_op(FUNCTIONS[op.name], 1, (x,), y, options),))
    if op.name == "leaky_relu":
        return Piece((), (flat_op("LEAKY_RELU", 1, (x,), y, "LeakyReluOptions", alpha=op.alpha),))
    if op.name == "swish":
        gate = activation(f"{y}/gate", shape, None)
        made = flat_op("LOGISTIC", 1, (x,), gate.name, ""), flat_op("MUL", 1, (x, gate.name), y, "MulOptions")
        return Piece((gate,), made)
    steps = [activation(f"{y}/{part}", shape, None) for part in ("product", "sum")]
    product = _with_constant("MUL", x, steps[0].name, np.array([op.alpha]))
    total = _with_constant("ADD", steps[0].name, steps[1].name, np.array([op.beta]))
    return join((Piece(tuple(steps)), product, total, _clamp(steps[1].name, y, shape, (0.0, 1.0))))


def _clipped(graph: Graph, node: Node, piece: Piece) -> Piece:
    """Return a piece with the node's clip: fused where its operator can, else behind it."""
    if node.clip is None or node.clip == (-INF, INF):
        return piece
    code = next((code for code, known in ACTIVATIONS if known == node.clip), NO_ACTIVATION)
    main = piece.operators[-1]
    if main.code in FUSING and code != NO_ACTIVATION:
        fields = (*main.fields, ("fusedActivationFunction", code))
        fused = FlatOp(main.code, main.version, main.inputs, main.output, main.options, fields)
        return Piece(piece.tensors, (*piece.operators[:-1], fused))
    inner = activation(f"{node.output}/unclipped", file_shape(graph.shape(node.output)), None)
    moved = FlatOp(main.code, main.version, main.inputs, inner.name, main.options, main.fields)
    before = Piece((*piece.tensors, inner), (*piece.operators[:-1], moved))
    return join((before, _clamp(inner.name, node.output, inner.shape, node.clip)))


def _clamp(x: str, y: str, shape: tuple[int, ...], clip: tuple[float, float]) -> Piece:
    """Return RELU, RELU6, or MAXIMUM and MINIMUM with constants; `shape` is the file's."""
    name = {(0.0, INF): "RELU", (0.0, 6.0): "RELU6"}.get(clip)
    if name is not None:
        return Piece((), (flat_op(name, 1, (x,), y, ""),))
    raised = activation(f"{y}/raised", shape, None)
    low = _with_constant("MAXIMUM", x, raised.name, np.array([max(clip[0], LOWEST)]))
    return join((Piece((raised,)), low, _with_constant("MINIMUM", raised.name, y, np.array([min(clip[1], -LOWEST)]))))


def _with_constant(code: str, x: str, y: str, values: Array) -> Piece:
    """Return an operator of a tensor and a constant: one value, or one per channel."""
    options = {"MUL": "MulOptions", "ADD": "AddOptions"}.get(code, "MaximumMinimumOptions")
    value = _values(f"{y}/{code.lower()}", values)
    return Piece((value,), (flat_op(code, 1, (x, value.name), y, options),))


def _values(name: str, values: Array) -> FlatTensor:
    return FlatTensor(name, values.shape, "FLOAT32", data=np.ascontiguousarray(values, dtype="<f4").tobytes())
