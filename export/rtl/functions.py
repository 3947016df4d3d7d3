"""Products of two activations, and functions of one value, as operations of the engine."""

from __future__ import annotations

import math

from export.rtl.arena import Arena
from export.rtl.bounds import WIDE_EXPONENTS, magnitude_max
from export.rtl.operation import Axis, Destination, Loops, Operation, Output, TableEntry, Window
from quant.program import MulStep, Program, TableStep

#: A window that no position lies inside: every term is ignored, and a `pick` gives its `fill`.
_NOWHERE = Window(Axis(0, 0, 0, 0), Axis(0, 0, 0, 0), Axis(0, 0, 0, 0))


def table_operation(program: Program, arena: Arena, index: int, step: TableStep) -> Operation:
    """Return the look-up of every code: the highest ordinal, limited by the table's entry for the code."""
    x, y = program.quant(step.x).format, program.quant(step.y).format
    size = math.prod(program.tensors[step.y].shape)
    return Operation(
        step=index,
        loops=Loops((1, 1, 1, size, 1, 1, 1), (0, 0, 0, 1, 0, 0, 0), arena.offsets[step.x]),
        destination=_whole(program, arena, step.y),
        output=Output("pick", y, 0, y.min_ordinal, y.max_ordinal),
        formats=(x, x),
        window=_NOWHERE,
        table=tuple(TableEntry(entry, 0, 0) for entry in step.entries),
        fill=y.max_ordinal,
        limited=True,
        by_code=True,
    )


def product_operations(program: Program, arena: Arena, index: int, step: MulStep) -> tuple[Operation, ...]:
    """Return the product; where the second factor has one code per channel, it is first spread over the output.

    An affine address cannot go from pixel to channel and back. The output's memory is free until the product is
    written, code by code, behind what it reads.
    """
    second, size = step.xs[1], math.prod(program.tensors[step.y].shape)
    whole = math.prod(program.tensors[second].shape)
    if whole == size:
        return (_product(program, arena, index, step, arena.offsets[second]),)
    spread = Operation(
        step=index,
        loops=Loops((whole, 1, 1, size // whole, 1, 1, 1), (1, 0, 0, 0, 0, 0, 0), arena.offsets[second]),
        destination=_whole(program, arena, step.y),
        output=_copy(program, second),
        formats=(program.quant(second).format,) * 2,
        draft=True,
    )
    return spread, _product(program, arena, index, step, arena.offsets[step.y])


def _product(program: Program, arena: Arena, index: int, step: MulStep, factor: int) -> Operation:
    a, b = (program.quant(name) for name in step.xs)
    size, offset = math.prod(program.tensors[step.y].shape), arena.offsets[step.xs[0]]
    rule, requant = "wide" if step.requant.format.is_minifloat else "q31", step.requant
    multiplier = requant.multipliers[0]
    exponent = min(max(multiplier.exponent, WIDE_EXPONENTS[0]), WIDE_EXPONENTS[1])
    return Operation(
        step=index,
        loops=Loops((1, 1, 1, size, 2, 1, 1), (0, 0, 0, 1, factor - offset, 0, 0), offset),
        destination=_whole(program, arena, step.y),
        output=Output(rule, requant.format, requant.zero, requant.low, requant.high),
        formats=(a.format, b.format),
        zeros=step.zeros,
        factors=(0, 0),
        table=(TableEntry(0, multiplier.mantissa, exponent),),
        product=True,
        acc_max=magnitude_max(a) * magnitude_max(b),
    )


def _copy(program: Program, tensor: str) -> Output:
    fmt = program.quant(tensor).format
    return Output("pick", fmt, 0, fmt.min_ordinal, fmt.max_ordinal)


def _whole(program: Program, arena: Arena, tensor: str) -> Destination:
    """Fill a tensor from front to back."""
    first = arena.offsets[tensor]
    return Destination(first, 1, first + math.prod(program.tensors[tensor].shape) - 1)
