"""Pairs of steps of which the second runs row by row behind the first, so that what passes is never whole in memory.

The first is a convolution of signed bytes; the second a sum, of which it makes one addend, or a depthwise convolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from export.c99.layout import size
from export.c99.piece import Context, Piece
from export.c99.step_byte import conv_depthwise
from export.c99.step_conv import has_ring, is_byte_conv
from export.c99.step_elementwise import add_piece
from quant.program import AddStep, ConvStep, Program, Step
from quant.steps import reads

#: The number of the second step to that of the first, which is the step just before it.
Pairs = Mapping[int, int]


def candidates(program: Program) -> dict[int, int]:
    """Return the pairs that may run row by row, no step in two of them."""
    found: dict[int, int] = {}
    for index in range(1, len(program.steps)):
        first, second = program.steps[index - 1], program.steps[index]
        if isinstance(first, ConvStep) and index - 1 not in found and _by_row(program, first, second):
            found[index] = index - 1
    return found


def _by_row(program: Program, first: ConvStep, second: Step) -> bool:
    """Whether nothing else reads what `first` makes, which has more than one row, and both can take turns."""
    users = [x for step in program.steps for x in reads(step) if x == first.y]
    shape = program.tensors[first.y].shape
    if len(users) != 1 or first.y not in reads(second) or len(shape) != 4:
        return False
    if not is_byte_conv(Context(program, {}, 0), first):
        return False
    height = shape[2]
    if isinstance(second, AddStep):
        return height > 1
    if not (isinstance(second, ConvStep) and has_ring(Context(program, {}, 0), second)):
        return False
    # Every row is made, in order, and used.
    kernel, stride = second.weight.shape[2], second.op.strides[0]
    last = (program.tensors[second.y].shape[2] - 1) * stride - second.op.pads[0] + kernel
    return height > 1 and stride <= kernel and last >= height


def reads_at(program: Program, pairs: Pairs, index: int) -> tuple[str, ...]:
    """Return the activations that are read when step `index` runs; the first of a pair runs with the second."""
    step = program.steps[index]
    if index in pairs.values():
        return ()
    if index not in pairs:
        return reads(step)
    first = program.steps[pairs[index]]
    return (*reads(first), *(x for x in reads(step) if x != first.y))


def row_bytes(program: Program, tensor: str) -> int:
    """Return the bytes of one row of an image of bytes."""
    return size(program.tensors[tensor].shape) // program.tensors[tensor].shape[2]


def second_piece(program: Program, names: Mapping[str, str], index: int, pieces: tuple[Piece, Piece]) -> Piece:
    """Return the C of the pair whose second step is `index`; of `pieces`, the first keeps only its constants."""
    first, second = program.steps[index - 1], program.steps[index]
    assert isinstance(first, ConvStep)
    if isinstance(second, AddStep):
        return _sum(program, names, index, pieces[0])
    assert isinstance(second, ConvStep)
    return conv_depthwise(Context(program, names, index), (first, second), pieces)


def _sum(program: Program, names: Mapping[str, str], index: int, conv_piece: Piece) -> Piece:
    conv, add = program.steps[index - 1], program.steps[index]
    assert isinstance(conv, ConvStep) and isinstance(add, AddStep)
    tensors = dict(program.tensors)
    for tensor in (*add.xs, add.y):
        _, channels, _, columns = tensors[tensor].shape
        tensors[tensor] = replace(tensors[tensor], shape=(1, channels, 1, columns))
    placed = {t: name if t == conv.y else f"{name} + at" for t, name in names.items()}
    piece = add_piece(Context(replace(program, tensors=tensors), placed, index), add)
    count, rows = row_bytes(program, conv.y), program.tensors[conv.y].shape[2]
    width = program.quant(add.y).format.dtype.itemsize
    window = f"step{index - 1}_window"
    (call,) = conv_piece.statements
    (add_call,) = piece.statements
    lines = (
        "{",
        f"    struct window row = {window};",
        "    int32_t at;",
        "    row.out_height = 1;",
        f"    for (at = 0; at < {rows * count}; at += {count}) {{",
        f"        {call.replace(f'&{window}', '&row')}",
        f"        TAP({index - 1}, {names[conv.y]}, {count});",
        f"        {add_call}",
        f"        TAP({index}, {names[add.y]} + at, {count * width});",
        f"        row.pad_top -= {conv.op.strides[0]};",
        "    }",
        "}",
    )
    return replace(piece, statements=lines)
