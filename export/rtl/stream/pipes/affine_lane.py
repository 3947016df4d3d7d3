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
    drop = affine.shift - spare
    bits = signed_bits(min(low, affine.low), max(high, affine.high)) + drop
    rounding, carry, parts = _rounding(affine, value, offset, spare, bits, scaled.clock)
    total = Signal(f"{value.name}_total", bits + bool(carry), scaled.clock, True)
    addend = scaled.part(spare, bits)
    text = f"{{{addend}, 1'b1}} + {{{rounding}, {carry}}}" if carry else f"{addend} + {rounding}"
    result = Signal(f"{value.name}_result", bits - drop, scaled.clock + 1, True)
    lowest = drop + bool(carry)
    return result, join(
        parts,
        wire(total, text),
        register(result, f"{total.text}[{total.bits - 1}:{lowest}]" if lowest else total.text),
    )


def _zeros(value: int) -> int:
    return (value & -value).bit_length() - 1 if value else 1 << 20


def _rounding(
    affine: Affine, value: Signal, offset: Signal, spare: int, bits: int, clock: int
) -> tuple[str, str | None, Part]:
    """Return what to add at `clock`, and beside it a carry or None: one constant, or one per sign, or per channel."""
    if len(affine.offsets) == 1:
        up, down = (literal((affine.base + o) >> spare, bits) for o in (affine.offsets[0], -affine.offsets[0]))
        if not affine.mirrored:
            return up, None, Part()
        negative, parts = _negative(value, clock)
        return f"({negative} ? {down} : {up})", None, parts
    unit = offset_unit(affine)
    held, parts = hold(offset, value.clock)
    addend = Signal(f"{value.name}_offset", bits, value.clock)
    text = held.part(0, bits)
    if unit > spare:
        text = f"{{{held.part(0, max(bits - unit + spare, 1))}, {literal(0, unit - spare)}}}"
    # -offset is ~offset + 1, and the one is a carry into the sum.
    text = f"({text}) ^ {{{bits}{{{value.top}}}}}" if affine.mirrored else text
    rounding = Signal(f"{value.name}_rounding", bits, value.clock + 1)
    late, delay = hold(rounding, clock)
    parts = join(parts, wire(addend, text), register(rounding, _with_base(affine, addend, spare)), delay)
    if not affine.mirrored:
        return late.text, None, parts
    negative, sign = _negative(value, clock)
    return late.text, negative, join(parts, sign)


def _with_base(affine: Affine, addend: Signal, spare: int) -> str:
    """Return base + addend; offsets below one half only turn the bit of the half, and the zero point stands above."""
    half, drop = 1 << (affine.shift - 1), affine.shift - spare
    zero, rest = divmod(affine.base, 1 << affine.shift)
    if drop < 2 or rest != half or any(abs(one) >= half for one in affine.offsets):
        return f"{literal(affine.base >> spare, addend.bits)} + {addend.text}"
    name = addend.text
    return f"{{{literal(zero, addend.bits - drop)}, !{name}[{drop - 1}], {name}[{drop - 2}:0]}}"


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
    return code, register(code, _ends(result, low, high, bits) or _compared(result, low, high, bits))


def _ends(result: Signal, low: int, high: int, bits: int) -> str | None:
    """Return the limited result where the limits are those of `count` bits, which the bits above tell; else None."""
    count, top = high.bit_length(), result.top
    if high + 1 != 1 << count or low not in (0, -high - 1) or bits != count + (low < 0) or result.bits <= bits:
        return None
    kept, above = result.part(0, bits), result.bits - 1 - count
    if low == 0:
        within = f"|{result.text}[{result.bits - 2}:{count}] ? {{{bits}{{1'b1}}}} : {kept}" if above else kept
        return f"{top} ? {literal(0, bits)} : {within}"
    end = f"{{{top}, {{{count}{{!{top}}}}}}}"
    return f"{result.text}[{result.bits - 2}:{count}] == {{{above}{{{top}}}}} ? {kept} : {end}"


def _compared(result: Signal, low: int, high: int, bits: int) -> str:
    """Return the result limited by comparisons."""
    least, most = -(1 << (result.bits - 1)), (1 << (result.bits - 1)) - 1
    text = result.part(0, bits)
    if high < most:
        text = f"{result.text} > {literal(high, result.bits, True)} ? {literal(high, bits)} : {text}"
    if low > least:
        text = f"{result.text} < {literal(low, result.bits, True)} ? {literal(low, bits)} : {text}"
    return text
