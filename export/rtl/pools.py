"""Pooling steps as operations of the engine."""

from __future__ import annotations

import math

from export.errors import ExportError
from export.rtl.arena import Arena
from export.rtl.operation import Axis, Destination, Loops, Operation, Output, TableEntry, Window
from export.rtl.reciprocal import reciprocal
from quant.fixedpoint import Multiplier
from quant.formats import Format
from quant.operators import AveragePool, MaxPool
from quant.program import AveragePoolStep, MaxPoolStep, Program


def max_pool(program: Program, arena: Arena, index: int, step: MaxPoolStep) -> Operation:
    """Return the operation that keeps the largest ordinal of each window."""
    fmt = program.quant(step.x).format
    loops, window = _windows(program, arena, step)
    return Operation(
        step=index,
        loops=loops,
        destination=_destination(program, arena, step.y),
        output=Output("pick", fmt, 0, fmt.min_ordinal, fmt.max_ordinal),
        formats=(fmt, fmt),
        window=window,
        fill=fmt.min_ordinal,
    )


def average_pool(program: Program, arena: Arena, index: int, step: AveragePoolStep) -> Operation:
    """Return the operation that sums each window and divides by the count of its terms inside the image.

    Raises:
        ExportError: a window lies wholly in the padding, so its mean is not defined.
    """
    fmt, most = program.quant(step.x).format, step.op.kernel[0] * step.op.kernel[1]
    loops, window = _windows(program, arena, step)
    for axis, outer, inner in ((window.row, 2, 5), (window.column, 3, 6)) if window else ():
        _check_overlap(step.name, axis, loops.counts[outer], loops.counts[inner])
    largest = max(abs(fmt.units_of_ordinal(fmt.min_ordinal)), fmt.max_units)
    return Operation(
        step=index,
        loops=loops,
        destination=_destination(program, arena, step.y),
        output=Output("wide" if fmt.is_minifloat else "divide", fmt, 0, fmt.min_ordinal, fmt.max_ordinal),
        formats=(fmt, fmt),
        window=window,
        table=_counts_table(fmt, step.multipliers, largest, most),
        by_count=True,
        acc_max=largest * most,
    )


def _counts_table(fmt: Format, multipliers: tuple[Multiplier, ...], largest: int, most: int) -> tuple[TableEntry, ...]:
    """Return the division by each count 1..most: half the count is added to the magnitude before it."""
    if not fmt.is_minifloat:
        multipliers = tuple(reciprocal(count, largest * count + count // 2) for count in range(1, most + 1))
    return tuple(TableEntry(0, m.mantissa, m.exponent) for m in multipliers)


def _check_overlap(name: str, axis: Axis, outer: int, inner: int) -> None:
    for index in range(outer):
        start = axis.origin + index * axis.stride
        if start + inner <= 0 or start >= axis.size:
            raise ExportError(
                f"fpga: node '{name}' (AveragePool) has a window that lies wholly in the padding (output {index}, "
                f"positions {start} to {start + inner - 1} of {axis.size}); make the pads smaller than the kernel."
            )


def _destination(program: Program, arena: Arena, tensor: str) -> Destination:
    first = arena.offsets[tensor]
    return Destination(first, 1, first + math.prod(program.tensors[tensor].shape) - 1)


def _windows(program: Program, arena: Arena, step: MaxPoolStep | AveragePoolStep) -> tuple[Loops, Window | None]:
    op: MaxPool | AveragePool = step.op
    _, channels, height, width = program.tensors[step.x].shape
    _, _, rows, columns = program.tensors[step.y].shape
    (kh, kw), (sy, sx), (top, left, _, _) = op.kernel, op.strides, op.pads
    loops = Loops(
        (channels, 1, rows, columns, 1, kh, kw),
        (height * width, 0, sy * width, sx, 0, width, 1),
        arena.offsets[step.x] - top * width - left,
    )
    window = Window(Axis(0, 0, 0, channels), Axis(-top, sy, 1, height), Axis(-left, sx, 1, width))
    return loops, window if any(op.pads) else None
