"""One lane of the rounding of minifloat outputs."""

from __future__ import annotations

from export.rtl.fields import literal
from export.rtl.stream.pipes.product import product, zero_bits
from export.rtl.stream.pipes.verilog import Part, Signal, hold, join, register, wire
from export.rtl.stream.pipes.wide import FINE, Wide


def wide_text(wide: Wide, value: Signal, fields: int = 0) -> tuple[Signal, Part]:
    """Return the code of a signed value, and its text; `factor` and `coarse` are of clock `fields`."""
    magnitude, absolute = _magnitude(wide, value)
    limited, limit = _limit(magnitude, wide.limit.bit_length())
    scaled, multiply = _multiply(wide, limited, fields)
    number, cut = _cut(wide, scaled)
    steps, normalise = _normalise(wide, number)
    rounded, round_text = _round(wide, number, steps)
    sign, delay = _sign(wide, value, rounded.clock)
    code, last = _clip(wide, sign, rounded)
    return code, join(absolute, limit, multiply, cut, normalise, round_text, delay, last)


def _magnitude(wide: Wide, value: Signal) -> tuple[Signal, Part]:
    """Return |value|, or where no code is negative the value or 0."""
    signal = Signal("magnitude", wide.magnitude_bits, value.clock + 1)
    low = value.part(0, signal.bits)
    other = literal(0, signal.bits) if wide.low >= 0 else f"-{low}"
    return signal, register(signal, f"{value.top} ? {other} : {low}")


def _limit(value: Signal, bits: int) -> tuple[Signal, Part]:
    if value.bits <= bits:
        return value, Part()
    kept = Signal("limited", bits, value.clock + 1)
    return kept, register(kept, f"{value.part(0, bits)} | {{{bits}{{|{value.text}[{value.bits - 1}:{bits}]}}}}")


def _multiply(wide: Wide, value: Signal, fields: int) -> tuple[Signal, Part]:
    scaled, parts = value, Part()
    if wide.factors != (1,):
        factor, delay = hold(Signal("factor", wide.factor_bits, fields), value.clock)
        scaled, multiply = product("scaled", value, factor, wide.tile)
        parts = join(delay, multiply)
    if not wide.coarse_bits:
        return scaled, parts
    coarse, delay = hold(Signal("coarse", wide.coarse_bits, fields), scaled.clock)
    shifted = Signal("shifted", scaled.bits + FINE * max(wide.coarse), scaled.clock + 1)
    amounts = [f"{FINE * k}" for k in range(max(wide.coarse) + 1)]
    text = scaled.part(0, shifted.bits)
    choices = "".join(
        f"{coarse.text} == {literal(k, coarse.bits)} ? {text} << {amounts[k]} : " for k in range(1, len(amounts))
    )
    return shifted, join(parts, delay, register(shifted, choices + text))


def _cut(wide: Wide, scaled: Signal) -> tuple[tuple[Signal, Signal, Signal], Part]:
    """Return the whole units with one bit below them, whether more is left below, and whether it is too large."""
    whole = wide.format.max_units.bit_length()
    spare = wide.exponent + 1
    parts = Part()
    if spare > 0:
        wider = Signal("lifted", scaled.bits + spare, scaled.clock)
        parts, scaled, spare = wire(wider, zero_bits(scaled, spare)), wider, 0
    drop, clock = -spare, scaled.clock + 1
    number, sticky, over = Signal("number", whole + 1, clock), Signal("sticky", 1, clock), Signal("over", 1, clock)
    below, top = min(drop, scaled.bits), drop + 1 + whole
    return (number, sticky, over), join(
        parts,
        register(number, scaled.part(drop, whole + 1)),
        register(sticky, f"|{scaled.text}[{below - 1}:0]" if below else "1'b0"),
        register(over, f"|{scaled.text}[{scaled.bits - 1}:{top}]" if top < scaled.bits else "1'b0"),
    )


def _normalise(wide: Wide, number: tuple[Signal, Signal, Signal]) -> tuple[tuple[Signal, ...], Part]:
    """Shift right until the number has one bit more than the mantissa; two steps a clock.

    Returns the number, sticky, over, and the bits of the shift from the highest on, all of the same clock.
    """
    mantissa, (x, sticky, over) = wide.format.mantissa, number
    parts, shifts = list[Part](), list[Signal]()
    levels = [k for k in range(wide.format.exponent - 1, -1, -1) if (1 << k) + mantissa + 1 < x.bits]
    for count, k in enumerate(levels):
        step, bits = 1 << k, (1 << k) + mantissa + 1
        kept = mantissa + 1 + step
        lift = Signal(f"lift{k}", 1, x.clock)
        after, left = Signal(f"x{k}", kept, x.clock), Signal(f"left{k}", 1, x.clock)
        parts.append(wire(lift, f"|{x.text}[{x.bits - 1}:{bits}]"))
        parts.append(wire(after, f"{lift.text} ? {x.part(step, kept)} : {x.part(0, kept)}"))
        parts.append(wire(left, f"{sticky.text} | ({lift.text} & |{x.text}[{step - 1}:0])"))
        x, sticky = after, left
        shifts.append(lift)
        if count % 2 or k == levels[-1]:
            moved = [hold(one, x.clock + 1) for one in (x, sticky, over, *shifts)]
            (x, sticky, over, *shifts), texts = [one for one, _ in moved], [text for _, text in moved]
            parts += texts
    return (x, sticky, over, *shifts), join(*parts)


def _round(wide: Wide, number: tuple[Signal, Signal, Signal], state: tuple[Signal, ...]) -> tuple[Signal, Part]:
    """Return the magnitude code, with one bit more than the format's: {shift, 0} + number, halves to even."""
    fmt, (x, sticky, over, *shifts) = wide.format, state
    rounded = Signal("rounded", fmt.bits, x.clock + 1)
    up = f"({x.text}[0] & ({sticky.text} | {x.text}[1]))"
    kept = Signal("kept", x.bits - 1, x.clock)
    parts = [wire(kept, f"{x.text}[{x.bits - 1}:1]")]
    lead = fmt.exponent + 1 - len(shifts)
    step = ", ".join([literal(0, lead)] + [one.text for one in shifts])
    whole = f"{{{step}" + (f", {literal(0, fmt.mantissa)}}}" if fmt.mantissa else "}")
    text = f"{whole} + {kept.part(0, fmt.bits)} + {{{literal(0, fmt.bits - 1)}, {up}}}"
    parts.append(register(rounded, f"{over.text} ? {literal(1 << (fmt.bits - 1), fmt.bits)} : {text}"))
    return rounded, join(*parts)


def _sign(wide: Wide, value: Signal, clock: int) -> tuple[str, Part]:
    if wide.low >= 0:
        return "1'b0", Part()
    first = Signal("negative", 1, value.clock + 1)
    sign, delay = hold(first, clock)
    return sign.text, join(register(first, value.top), delay)


def _clip(wide: Wide, sign: str, rounded: Signal) -> tuple[Signal, Part]:
    """Limit the magnitude between the limits of its sign, and put the sign in front."""
    fmt, code = wide.format, Signal("code", wide.format.bits, rounded.clock + 1)
    final = Signal("final", fmt.bits - 1, rounded.clock)
    plus = _between(rounded, max(wide.low, 0), wide.high) if wide.high >= 0 else literal(-wide.high, fmt.bits - 1)
    minus = _between(rounded, max(-wide.high, 0), -wide.low) if wide.low <= 0 else literal(wide.low, fmt.bits - 1)
    text = plus if sign == "1'b0" or plus == minus else f"{sign} ? ({minus}) : ({plus})"
    top = "1'b0" if wide.low >= 0 else "1'b1" if wide.high < 0 else f"{sign} & |{final.text}"
    return code, join(wire(final, text), register(code, f"{{{top}, {final.text}}}"))


def _between(rounded: Signal, low: int, high: int) -> str:
    bits = rounded.bits
    text = f"{rounded.text} > {literal(high, bits)} ? {literal(high, bits - 1)} : {rounded.part(0, bits - 1)}"
    if low:
        text = f"{rounded.text} < {literal(low, bits)} ? {literal(low, bits - 1)} : {text}"
    return text
