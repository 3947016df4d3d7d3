"""Sums that are taken row by row behind the convolution that makes one addend, so that it is never whole in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from export.c99.layout import size
from export.c99.piece import Context, Piece
from export.c99.step_conv import is_byte_conv
from export.c99.step_elementwise import add_piece
from quant.program import AddStep, ConvStep, Program
from quant.steps import reads

Sums = Mapping[int, int]


def sums_by_row(program: Program) -> Sums:
    """Return, by the number of each such sum, the number of its convolution: the step just before it.

    Nothing else reads what the convolution makes, and it has more than one row.
    """
    found = {}
    for index in range(1, len(program.steps)):
        conv, add = program.steps[index - 1], program.steps[index]
        if isinstance(conv, ConvStep) and isinstance(add, AddStep) and is_byte_conv(Context(program, {}, 0), conv):
            users = [step for step in program.steps for x in reads(step) if x == conv.y]
            if len(users) == 1 and conv.y in add.xs and program.tensors[conv.y].shape[2] > 1:
                found[index] = index - 1
    return found


def reads_at(program: Program, sums: Sums, index: int) -> tuple[str, ...]:
    """Return the activations that are read when step `index` runs; a convolution runs with the sum it is part of."""
    step = program.steps[index]
    if index in sums.values():
        return ()
    if index not in sums:
        return reads(step)
    conv = program.steps[sums[index]]
    return (*reads(conv), *(x for x in reads(step) if x != conv.y))


def row_bytes(program: Program, tensor: str) -> int:
    """Return the bytes of one row of an image of bytes."""
    return size(program.tensors[tensor].shape) // program.tensors[tensor].shape[2]


def row_piece(program: Program, names: Mapping[str, str], index: int, conv_piece: Piece) -> Piece:
    """Return the C of sum `index` and of the convolution before it, whose own piece keeps only its constants."""
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
