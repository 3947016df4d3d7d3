"""Which input a step may write over: then both tensors share memory, where nothing else reads the input any more."""

from __future__ import annotations

from export.c99.layout import c_type
from export.c99.piece import Context
from export.c99.step_conv import has_ring
from quant.program import AddStep, ConvStep, MinimumStep, MulStep, Program, RequantizeStep, Step, TableStep, WideAddStep


def overwritable(program: Program, step: Step) -> tuple[str, ...]:
    """Return the inputs that a step may write over; the elements of input and output have one C type.

    Steps that look at one element at a time may. So may a depthwise convolution whose kernel copies input rows before
    it uses them, where it never writes over a row that it has still to copy.
    """
    match step:
        case MinimumStep() | TableStep() | RequantizeStep():
            candidates: tuple[str, ...] = (step.x,)
        case AddStep() | WideAddStep() | MulStep():
            candidates = step.xs
        case ConvStep() if has_ring(Context(program, {}, 0), step) and _rows_stay_behind(program, step):
            candidates = (step.x,)
        case _:
            candidates = ()
    wanted = c_type(program.quant(step.y).format)
    return tuple(x for x in candidates if c_type(program.quant(x).format) == wanted)


def _rows_stay_behind(program: Program, step: ConvStep) -> bool:
    """Whether every output row ends before the first input row that is copied later begins."""
    height, width = program.tensors[step.x].shape[2:]
    rows, columns = program.tensors[step.y].shape[2:]
    for row in range(rows):
        later = max(row * step.op.strides[0] - step.op.pads[0] + step.weight.shape[2], 0)
        if later < height and (row + 1) * columns > later * width:
            return False
    return True
