"""Weights of at most 4 bits, two in a byte: the schema's INT4."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.tflite_flat import FlatOp, FlatTensor
from export.tflite_layout import is_wide
from export.tflite_piece import Piece
from quant.graph import Graph, Node
from quant.operators import Conv

INT4_BITS = 4
#: Operator versions with 4-bit weights that all runtimes know (LiteRT's reference DEPTHWISE_CONV_2D ends at 6).
VERSIONS = {"CONV_2D": 7, "DEPTHWISE_CONV_2D": 6}


def packed(graph: Graph, piece: Piece) -> Piece:
    """Return a piece whose convolution weights of at most 4 bits are INT4: half the bytes, the same codes.

    Only convolutions of 8-bit codes: TFLite-Micro and tflite-runtime refuse such FULLY_CONNECTED layers. TFLite-Micro
    unpacks the weights of one layer at a time into its arena, so flash is traded for memory.
    """
    nodes = [node for node in graph.nodes if isinstance(node.op, Conv) and _is_narrow(graph, node)]
    weights = {f"{node.output}/weight" for node in nodes}
    tensors = tuple(_pack(tensor) if tensor.name in weights else tensor for tensor in piece.tensors)
    return Piece(tensors, tuple(_newer(op, weights) for op in piece.operators))


def _is_narrow(graph: Graph, node: Node) -> bool:
    x, weight = (graph.quant(name).format for name in node.inputs[:2])
    return weight.bits <= INT4_BITS and not is_wide(x)


def _pack(tensor: FlatTensor) -> FlatTensor:
    """Return a tensor with its int8 codes in nibbles, the first in the low half of a byte."""
    codes = np.frombuffer(tensor.data, np.uint8) & 15
    pairs = np.append(codes, np.zeros(len(codes) % 2, np.uint8)).reshape(-1, 2)
    return replace(tensor, dtype="INT4", data=(pairs[:, 0] | pairs[:, 1] << 4).astype(np.uint8).tobytes())


def _newer(op: FlatOp, weights: set[str]) -> FlatOp:
    return replace(op, version=VERSIONS[op.code]) if any(name in weights for name in op.inputs) else op
