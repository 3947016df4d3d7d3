"""Functions of one value as TFLite operators that compute the very table of `quant.functions`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.errors import ExportError
from export.tflite_flat import FlatTensor
from export.tflite_layout import file_shape
from export.tflite_piece import Piece, activation, clamped, flat_op, fused, with_tensors
from quant import operators as ops
from quant.functions import LOGISTIC, SLOPE_CODE, TANH, limits, needs_own_grid, slope
from quant.graph import Graph, Node, Quant
from quant.tflite_functions import COARSE


def function_piece(graph: Graph, node: Node, op: ops.Function) -> Piece:
    """Return what a function becomes: one operator, or several whose codes in between the table has gone through.

    Raises:
        ExportError: a hard sigmoid of something that is no image, or steps too coarse for TFLite's kernel.
    """
    step = graph.quant(node.inputs[0]).scale[0]
    if op.name in ("sigmoid", "swish", "tanh") and step >= COARSE:
        raise ExportError(
            f"arm-a: node '{node.name}' ({op.name}) reads steps of {step}; TFLite's kernel takes zero for the lowest "
            f"input from steps of {COARSE} on. Give the layer before it more bits, or a smaller range."
        )
    match op.name:
        case "sigmoid":
            return _on_own_grid(graph, node, op, "LOGISTIC", LOGISTIC)
        case "tanh":
            return _on_own_grid(graph, node, op, "TANH", TANH)
        case "swish":
            gate, before = _gate(graph, node, "LOGISTIC", LOGISTIC)
            return fused(graph, node, flat_op("MUL", 2, (node.inputs[0], gate), node.output, "MulOptions"), before)
        case "hard_sigmoid":
            return _hard_sigmoid(graph, node, op)
        case "hard_swish":
            return clamped(
                graph, node, node.clip, flat_op("HARD_SWISH", 1, node.inputs, node.output, "HardSwishOptions")
            )
        case _:
            main = flat_op("LEAKY_RELU", 2, node.inputs, node.output, "LeakyReluOptions", alpha=op.alpha)
            return clamped(graph, node, node.clip, main)


def _on_own_grid(graph: Graph, node: Node, op: ops.Function, code: str, own: Quant) -> Piece:
    """Return an operator that writes one grid only, and QUANTIZE where the graph has another."""
    if needs_own_grid(op, graph.quant(node.output)) is None:
        return clamped(graph, node, node.clip, flat_op(code, 2, node.inputs, node.output, ""))
    between, before = _gate(graph, node, code, own)
    return clamped(graph, node, node.clip, flat_op("QUANTIZE", 2, (between,), node.output, "QuantizeOptions"), before)


def _gate(graph: Graph, node: Node, code: str, own: Quant) -> tuple[str, Piece]:
    """Return the name and the piece of a function's codes on the grid its operator writes."""
    name = f"{node.output}/{code.lower()}"
    tensor = activation(name, file_shape(graph.shape(node.output)), own)
    return name, Piece((tensor,), (flat_op(code, 2, node.inputs, name, ""),))


def _hard_sigmoid(graph: Graph, node: Node, op: ops.Function) -> Piece:
    """Return a 1x1 DEPTHWISE_CONV_2D with the slope as weight and the offset as bias; its clamp is the function's."""
    shape, x = graph.shape(node.output), graph.quant(node.inputs[0])
    if len(shape) != 4:
        raise ExportError(
            f"arm-a: node '{node.name}' (hard_sigmoid) works on shape {list(shape)}; TFLite has no operator for it, "
            "and the depthwise convolution that computes it takes images [1, C, H, W]. Keep the height and width of "
            "the mean before it."
        )
    step, bias = slope(op, x)
    channels = shape[1]
    weight = FlatTensor(
        f"{node.output}/slope", (1, 1, 1, channels), "INT8", (step,) * channels, 0, 3,
        np.full(channels, SLOPE_CODE, np.int8).tobytes(),
    )  # fmt: skip
    scale = float(np.float32(x.scale[0]) * np.float32(step))
    offsets = FlatTensor(
        f"{node.output}/offset", (channels,), "INT32", (scale,) * channels, 0, 0,
        np.full(channels, bias, "<i4").tobytes(),
    )  # fmt: skip
    inputs = (node.inputs[0], weight.name, offsets.name)
    fields = {
        "padding": 1,
        "strideH": 1,
        "strideW": 1,
        "dilationHFactor": 1,
        "dilationWFactor": 1,
        "depthMultiplier": 1,
    }
    main = flat_op("DEPTHWISE_CONV_2D", 3, inputs, node.output, "DepthwiseConv2DOptions", **fields)
    return fused(graph, replace(node, clip=limits(op, node.clip)), main, with_tensors(Piece(), weight, offsets))
