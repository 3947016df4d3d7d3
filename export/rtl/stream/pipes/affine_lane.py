"""One lane of the rounding of integer outputs: value * factor + constant, shifted and clipped."""

from __future__ import annotations

from export.rtl.bounds import signed_bits
from export.rtl.fields import literal
from export.rtl.stream.pipes.affine import Affine
from export.rtl.stream.pipes.product import product
from export.rtl.stream.pipes.verilog import Part, Signal, hold, join, register, wire


def limit(value: Signal, bits: int) -> tuple[Signal, Part]:
    """Return a signed value limited to `bits` bits, one clock later; itself when it has no more."""
    if value.bits <= bits:
        return value, Part()
    kept = Signal(f"{value.name}_limited", bits, value.clock + 1, True)
    inside = f"{value.text}[{value.bits - 1}:{bits - 1}] == {{{value.bits - bits + 1}{{{value.top}}}}}"
    end = f"{{{value.top}, {{{bits - 1}{{!{value.top}}}}}}}"
    return kept, register(kept, f"{inside} ? {value.text}[{bits - 1}:0] : {end}")


def affine_lane(affine: Affine, value: Signal, factor: Signal, offset: Signal) -> tuple[Signal, Part]:
    """Return the result before the clip, and its text.

    `factor` and `offset` are of the value's clock or before it; an offset that is the same for all channels is taken
    from `affine`. `offset` counts multiples of `offset_unit`.
    """
    limited, parts = limit(value, affine.value_bits)
    scaled, multiply = _multiply(affine, limited, factor)
    added, add = _round(affine, limited, scaled, offset)
    return added, join(parts, multiply, add)


def offset_unit(affine: Affine) -> int:
    """Return log2 of the largest power of two that divides all offsets."""
    return min(((o & -o).bit_length() - 1 for o in affine.offsets if o), default=0)


def _multiply(affine: Affine, value: Signal, factor: Signal) -> tuple[Signal, Part]:
    if affine.factors == (1,):
        # Constants by channel take one clock to find their sign.
        return hold(value, value.clock + (len(affine.offsets) > 1))
    held, parts = hold(factor, value.clock)
    scaled, text = product(f"{value.name}_scaled", value, held, affine.tile)
    return scaled, join(parts, text)


def _round(affine: Affine, value: Signal, scaled: Signal, offset: Signal) -> tuple[Signal, Part]:
    """Add the constant above the bits that it cannot carry into, and drop the bits below the shift."""
    spare = min(_zeros(affine.base), *(_zeros(o) for o in affine.offsets), affine.shift, scaled.bits - 1)
    low, high = affine.results()
    bits = signed_bits(min(low, affine.low), max(high, affine.high)) + affine.shift - spare
    rounding, parts = _rounding(affine, value, offset, spare, bits, scaled.clock)
    total = Signal(f"{value.name}_total", bits, scaled.clock, True)
    result = Signal(f"{value.name}_result", bits - affine.shift + spare, scaled.clock + 1, True)
    drop = affine.shift - spare
    return result, join(
        parts,
        wire(total, f"{scaled.part(spare, bits)} + {rounding}"),
        register(result, f"{total.text}[{bits - 1}:{drop}]" if drop else total.text),
    )


def _zeros(value: int) -> int:
    return (value & -value).bit_length() - 1 if value else 1 << 20


def _rounding(affine: Affine, value: Signal, offset: Signal, spare: int, bits: int, clock: int) -> tuple[str, Part]:
    """Return the constant to add at `clock`: one for values of either sign, or two, or one per channel and sign."""
    if len(affine.offsets) == 1:
        up, down = (literal((affine.base + o) >> spare, bits) for o in (affine.offsets[0], -affine.offsets[0]))
        if not affine.mirrored:
            return up, Part()
        negative, parts = _negative(value, clock)
        return f"({negative} ? {down} : {up})", parts
    unit = offset_unit(affine)
    held, parts = hold(offset, value.clock)
    shifted = (
        f"{{{held.part(0, max(bits - unit + spare, 1))}, {literal(0, unit - spare)}}}"
        if unit > spare
        else held.part(0, bits)
    )
    base = literal(affine.base >> spare, bits)
    text = f"{base} + ({shifted})"
    if affine.mirrored:
        text = f"{value.top} ? {base} - {shifted} : {text}"
    rounding = Signal(f"{value.name}_rounding", bits, value.clock + 1)
    late, delay = hold(rounding, clock)
    return late.text, join(parts, register(rounding, text), delay)


def _negative(value: Signal, clock: int) -> tuple[str, Part]:
    if clock == value.clock:
        return value.top, Part()
    sign = Signal(f"{value.name}_negative", 1, value.clock + 1)
    late, delay = hold(sign, clock)
    return late.text, join(register(sign, value.top), delay)


def clip(result: Signal, low: int, high: int, bits: int) -> tuple[Signal, Part]:
    """Return the low `bits` bits of a result limited to [low, high], one clock later."""
    code = Signal("code", bits, result.clock + 1)
    least, most = -(1 << (result.bits - 1)), (1 << (result.bits - 1)) - 1
    if low > most or high < least:
        return code, register(code, literal(low if low > most else high, bits))
    text = result.part(0, bits)
    if high < most:
        text = f"{result.text} > {literal(high, result.bits, True)} ? {literal(high, bits)} : {text}"
    if low > least:
        text = f"{result.text} < {literal(low, result.bits, True)} ? {literal(low, bits)} : {text}"
    return code, register(code, text)
