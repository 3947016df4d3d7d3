"""Codes as numbers: the value in units less the zero point, or significand and shift."""

from __future__ import annotations

from export.rtl.bounds import signed_bits
from export.rtl.fields import literal
from export.rtl.stream.pipes.verilog import Part, Signal, hold, join, register, wire
from quant.formats import Format


def reach(fmt: Format, zero: int) -> int:
    """Return the largest |x - zero| in units."""
    return max(abs(fmt.units_of_ordinal(fmt.min_ordinal) - zero), abs(fmt.max_units - zero))


def significand(fmt: Format, code: Signal, zero: int) -> tuple[Signal, Signal | None, Part]:
    """Return the signed significand of x - zero and its left shift (None for integers), one clock later."""
    if not fmt.is_minifloat:
        value, parts = centred(fmt, code, zero)
        return value, None, parts
    top, low = fmt.bits - 2, fmt.mantissa
    normal, field = f"|{code.text}[{top}:{low}]", f"{code.text}[{top}:{low}]"
    mantissa = f", {code.text}[{low - 1}:0]" if low else ""
    value = Signal(f"{code.name}_value", low + 2, code.clock + 1, True)
    magnitude = Signal(f"{code.name}_magnitude", low + 2, code.clock)
    shift = Signal(f"{code.name}_shift", fmt.exponent, code.clock + 1)
    one = f"{{{literal(0, fmt.exponent - 1)}, {normal}}}" if fmt.exponent > 1 else normal
    return (
        value,
        shift,
        join(
            wire(magnitude, f"{{1'b0, {normal}{mantissa}}}"),
            register(value, f"{code.text}[{fmt.bits - 1}] ? -{magnitude.text} : {magnitude.text}"),
            register(shift, f"{field} - {one}" if fmt.exponent > 1 else "1'b0"),
        ),
    )


def centred(fmt: Format, code: Signal, zero: int) -> tuple[Signal, Part]:
    """Return x - zero in units as a signed signal: one clock later for integers, three for minifloats."""
    if fmt.is_minifloat:
        value, shift, parts = significand(fmt, code, 0)
        assert shift is not None
        lifted, lift = lift_by(value, shift, (1 << fmt.exponent) - 2, fmt.magnitude_bits + 1)
        return lifted, join(parts, lift)
    bits = signed_bits(min(fmt.min_ordinal - zero, fmt.min_ordinal), max(fmt.max_ordinal - zero, fmt.max_ordinal))
    value = Signal(f"{code.name}_value", bits, code.clock + 1, True)
    source = Signal(code.name, code.bits, code.clock, fmt.signed)
    text = source.part(0, bits) + (f" - {literal(zero, bits)}" if zero else "")
    return value, register(value, text)


def lift_by(value: Signal, shift: Signal, most: int, bits: int) -> tuple[Signal, Part]:
    """Return a signed value shifted left by at most `most`, in two clocks; `bits` hold the result."""
    parts = list[Part]()
    wide = Signal(f"{value.name}_wide", bits, value.clock, True)
    parts.append(wire(wide, value.part(0, bits)))
    low, high = min(shift.bits, 2), shift.bits - 2
    first = Signal(f"{value.name}_lifted", bits, value.clock + 1, True)
    parts.append(register(first, f"{wide.text} <<< {shift.text}[{low - 1}:0]"))
    late, delay = hold(shift, first.clock)
    parts.append(delay)
    second = Signal(f"{value.name}_lifted", bits, value.clock + 2, True)
    text = f"{first.text} <<< {{{late.text}[{shift.bits - 1}:2], 2'd0}}" if high > 0 and most > 3 else first.text
    parts.append(register(second, text))
    return second, join(*parts)
