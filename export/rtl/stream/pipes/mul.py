"""The pipe of a product of two tensors."""

from __future__ import annotations

import numpy as np

from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.frame import Lane, pipe
from export.rtl.stream.pipes.look_up import PAIR_BITS, pair_table, units
from export.rtl.stream.pipes.operand import lift_by, reach, significand
from export.rtl.stream.pipes.product import PIECE
from export.rtl.stream.pipes.requant import rounded
from export.rtl.stream.pipes.table import ordinals
from export.rtl.stream.pipes.verilog import Part, Signal, join, register, wire
from quant.formats import Format
from quant.steps import MulStep


def mul(module: str, step: MulStep, first: Format, second: Format, lanes: int, *, tile: int = PIECE + 1) -> Pipe:
    """Return the product of two tensors: `in_a` and `in_b` [lanes * bits of their formats] to `out_data`."""
    formats = (first, second)
    a, b = (Signal(name, fmt.bits, 0) for name, fmt in zip("ab", formats, strict=True))
    title = f"Product of {formats[0].name} and {formats[1].name} as {step.requant.format.name}"
    if a.bits + b.bits <= PAIR_BITS:
        code, text = _table(step, formats, a, b)
        return pipe(module, Lane(title, (a, b), (), code, text), lanes, lanes)
    total, multiply = _product(step, formats, a, b)
    most = reach(formats[0], step.zeros[0]) * reach(formats[1], step.zeros[1])
    code, fields, text = rounded(step.requant, total, most, tile)
    return pipe(module, Lane(title, (a, b), fields, code, join(multiply, text)), lanes, lanes)


def _table(step: MulStep, formats: tuple[Format, Format], a: Signal, b: Signal) -> tuple[Signal, Part]:
    first, second = (np.array(units(fmt), dtype=np.int64) - z for fmt, z in zip(formats, step.zeros, strict=True))
    return pair_table(step.requant.format, a, b, ordinals(step.requant, first[:, None] * second[None, :]))


def _product(step: MulStep, formats: tuple[Format, Format], a: Signal, b: Signal) -> tuple[Signal, Part]:
    """Return the product of the significands, shifted left by the sum of the shifts of minifloats."""
    first, first_shift, one = significand(formats[0], a, step.zeros[0])
    second, second_shift, two = significand(formats[1], b, step.zeros[1])
    total = Signal("product", first.bits + second.bits, 2, True)
    whole = Signal("whole", total.bits, 1, True)
    parts = [one, two, wire(whole, f"{first.text} * {second.text}"), register(total, whole.text)]
    shifts = [shift for shift in (first_shift, second_shift) if shift is not None]
    if not shifts:
        return total, join(*parts)
    most = sum((1 << fmt.exponent) - 2 for fmt in formats if fmt.is_minifloat)
    shift = Signal("shift", max(most.bit_length(), 1), 2)
    parts.append(register(shift, " + ".join(one.part(0, shift.bits) for one in shifts)))
    bits = (reach(formats[0], step.zeros[0]) * reach(formats[1], step.zeros[1])).bit_length() + 1
    lifted, lift = lift_by(total, shift, most, max(bits, total.bits))
    return lifted, join(*parts, lift)
