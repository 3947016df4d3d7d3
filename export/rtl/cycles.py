"""How many clocks a frame takes when neither stream waits: exact, a test compares it with simulation."""

from __future__ import annotations

from export.rtl.layout import Layout, tensor_words
from export.rtl.operation import Operation

#: Clocks of an operation besides one per term, by the rule of its output: fetch, start, pipeline, write.
_TAIL = {"pick": 7, "q31": 15, "divide": 15, "wide": 17}
#: More of them where each term is scaled before it is summed.
_ADDENDS = 3
#: Clocks from the last write to the first beat out: reading the memory.
_FRAME = 2


def operation_cycles(op: Operation) -> int:
    """Return the clocks of one operation: one per term, and the time to empty the pipeline."""
    return op.loops.terms * op.loops.outputs + _TAIL[op.output.rule] + (_ADDENDS if op.addends else 0)


def cycles(layout: Layout) -> int:
    """Return the clocks from the first beat in to the last beat out, both included."""
    program = layout.program
    streams = tensor_words(layout, program.input) + tensor_words(layout, program.output)
    return streams + _FRAME + sum(operation_cycles(op) for op in layout.operations)
