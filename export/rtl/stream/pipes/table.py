"""Pipes of one input: functions of a code as tables, other scales and formats, limits by channel."""

from __future__ import annotations

import numpy as np

from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.channels import Constant
from export.rtl.stream.pipes.decode import ordinal_less
from export.rtl.stream.pipes.frame import Lane, pipe
from export.rtl.stream.pipes.look_up import code, look_up, patterns, scalar, units
from export.rtl.stream.pipes.operand import centred, reach
from export.rtl.stream.pipes.product import PIECE
from export.rtl.stream.pipes.requant import rounded
from export.rtl.stream.pipes.verilog import Signal, hold, join, register
from quant.fixedpoint import multiply_q31, round_to_minifloat
from quant.formats import Format, IntArray
from quant.steps import MinimumStep, Requant, RequantizeStep, TableStep

#: Functions of codes of at most this many bits are tables.
TABLE_BITS = 8


def table(module: str, step: TableStep, x: Format, y: Format, lanes: int) -> Pipe:
    """Return the look-up of every code: `in_data` [lanes * bits of x], `out_data` [lanes * bits of y]."""
    return _table(module, f"{x.name} to {y.name} by table", x, y, list(step.entries), lanes)


def requantize(module: str, step: RequantizeStep, x: Format, lanes: int, *, tile: int = PIECE + 1) -> Pipe:
    """Return the change of scale, zero point or format: `in_data` [lanes * bits of x] to `out_data`."""
    y = step.requant.format
    if x.bits <= TABLE_BITS:
        acc = np.array(units(x), dtype=np.int64) - step.x_zero
        return _table(module, f"{x.name} to {y.name}", x, y, ordinals(step.requant, acc).tolist(), lanes)
    data = Signal("data", x.bits, 0)
    value, begin = centred(x, data, step.x_zero)
    result, fields, text = rounded(step.requant, value, reach(x, step.x_zero), tile)
    return pipe(module, Lane(f"{x.name} to {y.name}", (data,), fields, result, join(begin, text)), lanes, lanes)


def minimum(module: str, step: MinimumStep, fmt: Format, lanes: int) -> Pipe:
    """Return the smaller of each code and its channel's limit: `in_data` to `out_data`, [lanes * bits]."""
    limits = tuple(code(fmt, limit) for limit in step.limits)
    merged = limits[:1] if len(set(limits)) == 1 else limits
    data, limit, out = Signal("data", fmt.bits, 0), Signal("limit", fmt.bits, 0), Signal("code", fmt.bits, 1)
    text = register(out, f"{ordinal_less(fmt, limit.text, data.text)} ? {limit.text} : {data.text}")
    lane = Lane(f"Minimum of {fmt.name} and a limit", (data,), (Constant("limit", fmt.bits, merged),), out, text)
    return pipe(module, lane, lanes, len(step.limits))


def ordinals(requant: Requant, acc: IntArray) -> IntArray:
    """Return the ordinals that a requantisation with one multiplier gives accumulators."""
    one = requant.multipliers[0]
    mantissa, exponent = scalar(one.mantissa), scalar(one.exponent)
    if requant.format.is_minifloat:
        found = round_to_minifloat(requant.format, acc, mantissa, exponent)
    else:
        found = multiply_q31(acc, mantissa, exponent) + requant.zero
    return np.clip(found, requant.low, requant.high)


def _table(module: str, title: str, x: Format, y: Format, entries: list[int], lanes: int) -> Pipe:
    """Return the pipe of a table of ordinals by bit pattern, with a register behind it for block memories."""
    assert len(entries) == len(patterns(x))
    data, found = Signal("data", x.bits, 0), Signal("found", y.bits, 1)
    first = look_up(found, data.text, x.bits, [code(y, entry) for entry in entries])
    out, last = hold(found, 2)
    return pipe(module, Lane(title, (data,), (), out, join(first, last)), lanes, lanes)
