"""The pipe of a sum towards a minifloat: tables of weighted codes, and one rounding."""

from __future__ import annotations

import numpy as np

from export.rtl.bounds import signed_bits
from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.frame import Lane, pipe
from export.rtl.stream.pipes.look_up import look_up, scalar, units
from export.rtl.stream.pipes.product import PIECE
from export.rtl.stream.pipes.requant import rounded
from export.rtl.stream.pipes.verilog import Part, Signal, hold, join, register
from export.rtl.stream.pipes.wide import Wide
from export.rtl.stream.pipes.wide_lane import wide_text
from quant.fixedpoint import round_to_minifloat
from quant.formats import Format, IntArray
from quant.steps import WideAddStep


def wide_add(
    module: str, step: WideAddStep, first: Format, second: Format, lanes: int, *, tile: int = PIECE + 1
) -> Pipe:
    """Return the weighted sum towards a minifloat: `in_a` and `in_b` [lanes * bits of their formats] to `out_data`."""
    formats = (first, second)
    a, b = (Signal(name, fmt.bits, 0) for name, fmt in zip("ab", formats, strict=True))
    title = f"Sum of {formats[0].name} and {formats[1].name} as {step.requant.format.name}"
    addends = [_weighted(step, index, fmt) for index, fmt in enumerate(formats)]
    short = _shortened(step, addends, tile)
    tables, rule = short if short is not None else (addends, None)
    total, parts = _total((a, b), tables)
    if rule is not None:
        code, text = wide_text(rule, total)
        return pipe(module, Lane(title, (a, b), (), code, join(parts, text)), lanes, lanes)
    reach = sum(int(np.abs(one).max()) for one in tables)
    code, fields, text = rounded(step.requant, total, reach, tile)
    return pipe(module, Lane(title, (a, b), fields, code, join(parts, text)), lanes, lanes)


def _total(codes: tuple[Signal, Signal], tables: list[IntArray]) -> tuple[Signal, Part]:
    """Return the sum of what the tables have for both codes; a register behind them is for block memories."""
    low, high = (sum(pick(int(one.min()), int(one.max())) for one in tables) for pick in (min, max))
    bits, parts, late = signed_bits(low, high), list[Part](), list[Signal]()
    for code, entries in zip(codes, tables, strict=True):
        found = Signal(f"{code.name}_table", bits, 1, True)
        kept, delay = hold(found, 2)
        parts += [look_up(found, code.text, code.bits, entries.tolist()), delay]
        late.append(kept)
    total = Signal("total", bits, 3, True)
    return total, join(*parts, register(total, f"{late[0].text} + {late[1].text}"))


def _weighted(step: WideAddStep, index: int, fmt: Format) -> IntArray:
    return (np.array(units(fmt), dtype=np.int64) - step.zeros[index]) * step.weights[index]


def _shortened(step: WideAddStep, addends: list[IntArray], tile: int) -> tuple[list[IntArray], Wide] | None:
    """Return tables with the multiplier inside and few bits below the unit, right for all pairs; None without any."""
    fmt, one = step.requant.format, step.requant.multipliers[0]
    clip_to = (step.requant.low, step.requant.high)
    total = addends[0][:, None] + addends[1][None, :]
    wanted = np.clip(round_to_minifloat(fmt, total, scalar(one.mantissa), scalar(one.exponent)), *clip_to)
    exact_bits = max(int(np.abs(part).max()) for part in addends).bit_length() + one.mantissa.bit_length()
    for below in range(1, min(-one.exponent, 47 - exact_bits - one.exponent) + 1):
        tables = [_scaled(part, one.mantissa, one.exponent + below) for part in addends]
        pairs = tables[0][:, None] + tables[1][None, :]
        got = np.clip(round_to_minifloat(fmt, pairs, scalar(1), scalar(-below)), *clip_to)
        if np.array_equal(got, wanted):
            bits = int(np.abs(pairs).max()).bit_length()
            return tables, Wide(fmt, (1,), (0,), -below, *clip_to, (1 << bits) - 1, bits, tile)
    return None


def _scaled(values: IntArray, mantissa: int, exponent: int) -> IntArray:
    """Return values * mantissa * 2^exponent to the nearest integers, exactly; exponent <= 0."""
    half = (1 << -exponent) >> 1
    return np.array([(int(one) * mantissa + half) >> -exponent for one in values], dtype=np.int64)
