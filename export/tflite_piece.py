"""The tensors and operators one graph node becomes, and how a clip is said: fused, or as MAXIMUM and MINIMUM."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from export.tflite_flat import FlatOp, FlatTensor
from export.tflite_layout import file_dtype, file_shape, file_type, file_zero, offset
from quant.formats import Array
from quant.graph import Graph, Node, Quant
from quant.program import clip_ordinals

#: Values of the schema's enum ActivationFunctionType, and the range each clamps to.
NO_ACTIVATION = 0
ACTIVATIONS = ((1, (0.0, float("inf"))), (3, (0.0, 6.0)), (2, (-1.0, 1.0)))


@dataclass(frozen=True, slots=True)
class Piece:
    """Tensors (beside the graph's activations) and operators that one node becomes."""

    tensors: tuple[FlatTensor, ...] = ()
    operators: tuple[FlatOp, ...] = ()


def join(pieces: Sequence[Piece]) -> Piece:
    """Return pieces one after the other as one."""
    return Piece(
        tuple(tensor for piece in pieces for tensor in piece.tensors),
        tuple(op for piece in pieces for op in piece.operators),
    )


def with_tensors(piece: Piece, *tensors: FlatTensor) -> Piece:
    """Return a piece with more tensors."""
    return Piece((*piece.tensors, *tensors), piece.operators)


def activation(name: str, shape: tuple[int, ...], quant: Quant | None) -> FlatTensor:
    """Return the tensor of an activation, float32 without a number format; `shape` is in file layout."""
    if quant is None:
        return FlatTensor(name, shape, "FLOAT32")
    return FlatTensor(name, shape, file_type(quant.format), (quant.scale[0],), file_zero(quant))


def constant(name: str, values: Array) -> FlatTensor:
    """Return an INT32 constant without quantisation."""
    return FlatTensor(name, values.shape, "INT32", data=values.astype("<i4").tobytes())


def bound(name: str, quant: Quant, ordinal: int) -> FlatTensor:
    """Return a one-value constant on the grid of an activation."""
    return limits(name, quant, (ordinal,), 1)


def limits(name: str, quant: Quant, ordinals: tuple[int, ...], rank: int) -> FlatTensor:
    """Return a constant on the grid of an activation with one value per channel, the last of `rank` axes."""
    data = (np.array(ordinals) - offset(quant.format)).astype(file_dtype(quant.format)).tobytes()
    shape = (*(1,) * (rank - 1), len(ordinals))
    return FlatTensor(name, shape, file_type(quant.format), (quant.scale[0],), file_zero(quant), data=data)


def flat_op(code: str, version: int, inputs: tuple[str, ...], output: str, options: str, **fields: float) -> FlatOp:
    """Return an operator; `fields` are the fields of its options table that differ from the schema's defaults."""
    return FlatOp(code, version, inputs, output, options, tuple(fields.items()))


def fused(graph: Graph, node: Node, op: FlatOp, before: Piece | None = None) -> Piece:
    """Return `op` with the node's clip as its fused activation where TFLite has it, else followed by a clamp."""
    code = _fused_activation(graph.quant(node.output), node.clip)
    if code is None:
        return clamped(graph, node, node.clip, _with(op, NO_ACTIVATION), before)
    return join((before or Piece(), Piece((), (_with(op, code),))))


def _with(op: FlatOp, code: int) -> FlatOp:
    fields = (*op.fields, ("fusedActivationFunction", code))
    return FlatOp(op.code, op.version, op.inputs, op.output, op.options, fields)


def _fused_activation(quant: Quant, clip: tuple[float, float] | None) -> int | None:
    """Return the fused activation that clamps to the same codes as `clip`; None when there is none."""
    limits = clip_ordinals(quant, clip)
    if limits == (quant.format.min_ordinal, quant.format.max_ordinal):
        return NO_ACTIVATION
    return next((code for code, known in ACTIVATIONS if clip_ordinals(quant, known) == limits), None)


def clamped(
    graph: Graph, node: Node, clip: tuple[float, float] | None, op: FlatOp, before: Piece | None = None
) -> Piece:
    """Return `op` followed by MAXIMUM and MINIMUM with constants where `clip` narrows the format's range."""
    quant, low, high = graph.quant(node.output), *clip_ordinals(graph.quant(node.output), clip)
    limits = []
    if low > quant.format.min_ordinal:
        limits.append(("MAXIMUM", low))
    if high < quant.format.max_ordinal:
        limits.append(("MINIMUM", high))
    steps = [f"{node.output}/{place}" for place in range(len(limits))] + [node.output]
    shape = file_shape(graph.shape(node.output))
    between = tuple(activation(name, shape, quant) for name in steps[:-1])
    main = FlatOp(op.code, op.version, op.inputs, steps[0], op.options, op.fields)
    pieces = [before or Piece(), Piece(between, (main,))]
    for (code, limit), x, y in zip(limits, steps[:-1], steps[1:], strict=True):
        value = bound(f"{y}/{code.lower()}", quant, limit)
        pieces.append(Piece((value,), (flat_op(code, 2, (x, value.name), y, "MaximumMinimumOptions"),)))
    return join(pieces)
