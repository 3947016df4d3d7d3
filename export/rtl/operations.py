"""Integer steps as operations of the engine: convolutions, sums and means."""

from __future__ import annotations

import math

from export.rtl.arena import Arena
from export.rtl.bounds import WIDE_EXPONENTS, magnitude_max
from export.rtl.functions import product_operations, table_operation
from export.rtl.moves import minimum, move_operations
from export.rtl.operation import Addends, Axis, Destination, Loops, Operation, Output, TableEntry, Window
from export.rtl.pools import average_pool, max_pool
from quant.fixedpoint import Multiplier
from quant.program import (
    AddStep,
    AveragePoolStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    MinimumStep,
    MoveStep,
    MulStep,
    Program,
    Requant,
    RequantizeStep,
    Step,
    TableStep,
    WideAddStep,
)


def operations(program: Program, arena: Arena) -> tuple[Operation, ...]:
    """Return what the engine executes for a program, in order; a Concat is one operation per input.

    Raises:
        ExportError: a step has a shape the engine cannot walk.
    """
    return tuple(op for index, step in enumerate(program.steps) for op in _step(program, arena, index, step))


def _step(program: Program, arena: Arena, index: int, step: Step) -> tuple[Operation, ...]:
    match step:
        case ConvStep():
            return (_conv(program, arena, index, step),)
        case AddStep() | WideAddStep():
            return (_add(program, arena, index, step),)
        case MulStep():
            return product_operations(program, arena, index, step)
        case TableStep():
            return (table_operation(program, arena, index, step),)
        case MeanStep():
            return (_mean(program, arena, index, step),)
        case RequantizeStep():
            return (_requantize(program, arena, index, step),)
        case MaxPoolStep():
            return (max_pool(program, arena, index, step),)
        case AveragePoolStep():
            return (average_pool(program, arena, index, step),)
        case MinimumStep():
            return (minimum(program, arena, index, step),)
        case MoveStep():
            return move_operations(program, arena, index, step)


def _whole(program: Program, arena: Arena, tensor: str) -> Destination:
    """Fill a tensor from front to back."""
    first = arena.offsets[tensor]
    return Destination(first, 1, first + math.prod(program.tensors[tensor].shape) - 1)


def _output(requant: Requant) -> Output:
    rule = "wide" if requant.format.is_minifloat else "q31"
    return Output(rule, requant.format, requant.zero, requant.low, requant.high)


def entry(bias: int, multiplier: Multiplier) -> TableEntry:
    """Return a table entry; exponents beyond which nothing changes are cut."""
    return TableEntry(bias, multiplier.mantissa, min(max(multiplier.exponent, WIDE_EXPONENTS[0]), WIDE_EXPONENTS[1]))


def _conv(program: Program, arena: Arena, index: int, step: ConvStep) -> Operation:
    _, channels, height, width = (*program.tensors[step.x].shape, 1, 1)[:4]
    _, outputs, rows, columns = (*program.tensors[step.y].shape, 1, 1)[:4]
    _, depth, kh, kw = step.weight.shape
    op, groups, area = step.op, step.op.groups, height * width
    loops = Loops(
        (groups, outputs // groups, rows, columns, depth, kh, kw),
        (depth * area, 0, op.strides[0] * width, op.strides[1], area, op.dilations[0] * width, op.dilations[1]),
        arena.offsets[step.x] - op.pads[0] * width - op.pads[1],
    )
    window = Window(
        Axis(0, 0, 0, channels),
        Axis(-op.pads[0], op.strides[0], op.dilations[0], height),
        Axis(-op.pads[1], op.strides[1], op.dilations[1], width),
    )
    multipliers = step.requant.multipliers * (outputs if len(step.requant.multipliers) == 1 else 1)
    fmt = program.quant(step.x).format
    return Operation(
        step=index,
        loops=loops,
        destination=_whole(program, arena, step.y),
        output=_output(step.requant),
        formats=(fmt, fmt),
        zeros=(step.x_zero, step.x_zero),
        window=window if any(op.pads) else None,
        weights=step.codes.reshape(-1),
        weight_format=step.weight_format,
        table=tuple(entry(int(b), m) for b, m in zip(step.bias, multipliers, strict=True)),
        per_channel=True,
        acc_max=step.acc_max,
    )


def _add(program: Program, arena: Arena, index: int, step: AddStep | WideAddStep) -> Operation:
    first, second = step.xs
    a, b = program.quant(first), program.quant(second)
    offset, size = arena.offsets[first], math.prod(program.tensors[step.y].shape)
    if isinstance(step, AddStep):
        addends, factors = Addends(step.left_shift, step.scales), (1, 1)
        acc_max = (magnitude_max(a) + magnitude_max(b)) << (step.left_shift - 1)
    else:
        addends, factors = None, step.weights
        acc_max = magnitude_max(a) * factors[0] + magnitude_max(b) * factors[1]
    return Operation(
        step=index,
        loops=Loops((1, 1, 1, size, 2, 1, 1), (0, 0, 0, 1, arena.offsets[second] - offset, 0, 0), offset),
        destination=_whole(program, arena, step.y),
        output=_output(step.requant),
        formats=(a.format, b.format),
        zeros=step.zeros,
        factors=factors,
        table=(entry(0, step.requant.multipliers[0]),),
        addends=addends,
        acc_max=acc_max,
    )


def _mean(program: Program, arena: Arena, index: int, step: MeanStep) -> Operation:
    _, channels, height, width = program.tensors[step.x].shape
    quant = program.quant(step.x)
    return Operation(
        step=index,
        loops=Loops(
            (channels, 1, 1, 1, 1, height, width), (height * width, 0, 0, 0, 0, width, 1), arena.offsets[step.x]
        ),
        destination=_whole(program, arena, step.y),
        output=_output(step.requant),
        formats=(quant.format, quant.format),
        zeros=(step.x_zero, step.x_zero),
        table=(entry(0, step.requant.multipliers[0]),),
        acc_max=magnitude_max(quant) * height * width,
    )


def _requantize(program: Program, arena: Arena, index: int, step: RequantizeStep) -> Operation:
    quant, size = program.quant(step.x), math.prod(program.tensors[step.y].shape)
    return Operation(
        step=index,
        loops=Loops((1, 1, 1, size, 1, 1, 1), (0, 0, 0, 1, 0, 0, 0), arena.offsets[step.x]),
        destination=_whole(program, arena, step.y),
        output=_output(step.requant),
        formats=(quant.format, quant.format),
        zeros=(step.x_zero, step.x_zero),
        table=(entry(0, step.requant.multipliers[0]),),
        acc_max=magnitude_max(quant),
    )
