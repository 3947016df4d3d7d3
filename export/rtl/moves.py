"""Pad, Slice, Concat, Reshape and Minimum as operations of the engine: copies with an affine address."""

from __future__ import annotations

import math

from export.errors import ExportError
from export.rtl.arena import Arena
from export.rtl.operation import Axis, Destination, Loops, Operation, Output, TableEntry, Window
from quant import operators as ops
from quant.program import MinimumStep, MoveStep, Program

Axes = tuple[Axis, Axis, Axis]


def move_operations(program: Program, arena: Arena, index: int, step: MoveStep) -> tuple[Operation, ...]:
    """Return the copies of a step: one, or one per input of a Concat.

    Raises:
        ExportError: a Pad or Slice changes the batch axis, or more axes than the engine walks.
    """
    match step.op:
        case ops.Concat():
            return _concat(program, arena, index, step, step.op.axis)
        case ops.Reshape():
            loops = Loops((1, 1, 1, _size(program, step.y), 1, 1, 1), (0, 0, 0, 1, 0, 0, 0), arena.offsets[step.xs[0]])
            return (_copy(program, index, step, loops, _whole(program, arena, step.y)),)
        case ops.Pad():
            starts, strides = tuple(-before for before in step.op.before), (1,) * len(step.op.before)
        case ops.Slice():
            sizes = program.tensors[step.xs[0]].shape
            parts = zip(step.op.starts, step.op.ends, step.op.steps, sizes, strict=True)
            starts, strides = tuple(slice(a, b, c).indices(n)[0] for a, b, c, n in parts), step.op.steps
    return (_walk(program, arena, index, step, starts, strides),)


def minimum(program: Program, arena: Arena, index: int, step: MinimumStep) -> Operation:
    """Return the copy that cuts every channel at its own limit, the bias of its table entry."""
    fmt = program.quant(step.y).format
    channels = len(step.limits)
    area = _size(program, step.y) // channels
    return Operation(
        step=index,
        loops=Loops((channels, 1, 1, area, 1, 1, 1), (area, 0, 0, 1, 0, 0, 0), arena.offsets[step.x]),
        destination=_whole(program, arena, step.y),
        output=Output("pick", fmt, 0, fmt.min_ordinal, fmt.max_ordinal),
        formats=(fmt, fmt),
        table=tuple(TableEntry(limit, 0, 0) for limit in step.limits),
        per_channel=True,
        limited=True,
    )


def _size(program: Program, tensor: str) -> int:
    return math.prod(program.tensors[tensor].shape)


def _whole(program: Program, arena: Arena, tensor: str) -> Destination:
    first = arena.offsets[tensor]
    return Destination(first, 1, first + _size(program, tensor) - 1)


def _copy(
    program: Program, index: int, step: MoveStep, loops: Loops, to: Destination, window: Window | None = None
) -> Operation:
    fmt = program.quant(step.y).format
    return Operation(
        step=index,
        loops=loops,
        destination=to,
        output=Output("pick", fmt, 0, fmt.min_ordinal, fmt.max_ordinal),
        formats=(fmt, fmt),
        window=window,
        fill=step.fill,
    )


def _concat(program: Program, arena: Arena, index: int, step: MoveStep, axis: int) -> tuple[Operation, ...]:
    shape = program.tensors[step.y].shape
    axis %= len(shape)
    outer, row = math.prod(shape[:axis]), math.prod(shape[axis:])
    first, copies = arena.offsets[step.y], []
    for name in step.xs:
        run = _size(program, name) // outer
        loops = Loops((outer, 1, 1, run, 1, 1, 1), (run, 0, 0, 1, 0, 0, 0), arena.offsets[name])
        to = Destination(first, row - run + 1, first + (outer - 1) * row + run - 1)
        copies.append(_copy(program, index, step, loops, to))
        first += run
    return tuple(copies)


def _walk(
    program: Program, arena: Arena, index: int, step: MoveStep, starts: tuple[int, ...], strides: tuple[int, ...]
) -> Operation:
    """Copy a box of up to three axes (neighbouring axes that are taken whole count as one)."""
    sizes, outs = program.tensors[step.xs[0]].shape, program.tensors[step.y].shape
    axes = [(s, t, n, o) for s, t, n, o in zip(starts, strides, sizes, outs, strict=True)]
    if axes[0] != (0, axes[0][1], 1, 1):
        raise ExportError(
            f"fpga: node '{step.name}' ({type(step.op).__name__}) changes the batch axis; leave it whole."
        )
    merged = _merge([axis for axis in axes[1:] if axis[2:] != (1, 1) or axis[0]])
    if len(merged) > 3:
        raise ExportError(
            f"fpga: node '{step.name}' ({type(step.op).__name__}) works on {len(merged)} axes of shape {sizes}; this "
            "target takes 3. Split it into several nodes."
        )
    channel, row, column = ([(0, 1, 1, 1)] * 3 + merged)[-3:]
    area, width = row[2] * column[2], column[2]
    loops = Loops(
        (channel[3], 1, row[3], column[3], 1, 1, 1),
        (channel[1] * area, 0, row[1] * width, column[1], 0, 0, 0),
        arena.offsets[step.xs[0]] + channel[0] * area + row[0] * width + column[0],
    )
    window = Window(*(Axis(start, stride, 0, size) for start, stride, size, _ in (channel, row, column)))
    to = _whole(program, arena, step.y)
    return _copy(program, index, step, loops, to, window if isinstance(step.op, ops.Pad) else None)


def _merge(axes: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """Join an axis that is taken whole to the one before it, when that is whole too."""
    merged: list[tuple[int, int, int, int]] = []
    for axis in axes:
        if merged and _is_whole(axis) and _is_whole(merged[-1]):
            size = merged[-1][2] * axis[2]
            merged[-1] = (0, 1, size, size)
        else:
            merged.append(axis)
    return merged


def _is_whole(axis: tuple[int, int, int, int]) -> bool:
    start, stride, size, out = axis
    return start == 0 and size == out and (stride == 1 or size == 1)
