"""Which input a step may write over: then both tensors share memory, where nothing else reads the input any more."""

from __future__ import annotations

from export.c99.by_row import Pairs, row_bytes
from export.c99.layout import c_type
from export.c99.piece import Context
from export.c99.step_conv import has_ring
from quant.program import AddStep, ConvStep, MinimumStep, Program, RequantizeStep, TableStep, WideAddStep


def overwritable(program: Program, pairs: Pairs, index: int) -> tuple[str, ...]:
    """Return what step `index` reads and may write over; the elements of input and output have one C type.

    Steps that look at one element at a time may. So may a depthwise convolution whose kernel copies input rows, or has
    them made, before it uses them, where it never writes over a row that is still to be read.
    """
    step = program.steps[index]
    match step:
        case MinimumStep() | TableStep() | RequantizeStep():
            candidates: tuple[str, ...] = (step.x,)
        case AddStep() | WideAddStep():
            candidates = tuple(x for x in step.xs if index not in pairs or x not in _of_first(program, pairs, index))
        case ConvStep() if has_ring(Context(program, {}, 0), step):
            first = program.steps[pairs[index]] if index in pairs else None
            assert first is None or isinstance(first, ConvStep)
            x = step.x if first is None else first.x
            candidates = (x,) if _rows_stay_behind(program, first, step) else ()
        case _:
            candidates = ()
    wanted = c_type(program.quant(step.y).format)
    return tuple(x for x in candidates if c_type(program.quant(x).format) == wanted)


def _of_first(program: Program, pairs: Pairs, index: int) -> tuple[str, str]:
    """Return what the convolution before a sum reads while the sum is written, and its row."""
    conv = program.steps[pairs[index]]
    assert isinstance(conv, ConvStep)
    return conv.x, conv.y


def _rows_stay_behind(program: Program, first: ConvStep | None, step: ConvStep) -> bool:
    """Whether every output row ends before the first input row that is read later begins.

    With `first` a depthwise convolution runs behind the convolution that makes its input, row by row.
    """
    x = step.x if first is None else first.x
    if len(program.tensors[x].shape) != 4:
        return False
    height = program.tensors[step.x].shape[2]
    for row in range(program.tensors[step.y].shape[2]):
        later = max(row * step.op.strides[0] - step.op.pads[0] + step.weight.shape[2], 0)
        needed = later if first is None else max(later * first.op.strides[0] - first.op.pads[0], 0)
        if later < height and (row + 1) * row_bytes(program, step.y) > needed * row_bytes(program, x):
            return False
    return True
