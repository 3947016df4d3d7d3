"""How many clocks a frame takes when neither stream waits: exact, a test compares it with simulation."""

from __future__ import annotations

from export.rtl.layout import Layout, tensor_words
from export.rtl.operation import Operation

#: Clocks from the last term of an operation to the first of the next, by the rule of its output and whether its terms
#: are scaled first: pipeline of the rule, write, fetch of the next constants, start.
_TAIL = {"pick": 8, "q31": 14, "divide": 14, "wide": 16}
_ADDENDS = 3
#: Clocks around the operations: first fetch and start, reading the first code of the output.
_FRAME = 5


def operation_cycles(op: Operation) -> int:
    """Return the clocks of one operation: one per term, and the time to empty the pipeline."""
    return op.loops.terms * op.loops.outputs + _TAIL[op.output.rule] + (_ADDENDS if op.addends else 0)


def cycles(layout: Layout) -> int:
    """Return the clocks from the first beat in to the last beat out, both included."""
    program = layout.program
    streams = tensor_words(layout, program.input) + tensor_words(layout, program.output)
    return streams + _FRAME + sum(operation_cycles(op) for op in layout.operations)
