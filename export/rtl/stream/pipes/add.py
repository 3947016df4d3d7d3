"""The pipe of a sum of integers: TFLite's quantised ADD."""

from __future__ import annotations

from export.rtl.bounds import signed_bits
from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.affine import Affine, lowered
from export.rtl.stream.pipes.affine_lane import affine_lane, clip
from export.rtl.stream.pipes.channels import Constant
from export.rtl.stream.pipes.frame import Lane, pipe
from export.rtl.stream.pipes.linear import Linear, linear, pairs
from export.rtl.stream.pipes.look_up import CHUNK, PAIR_BITS, look_up, pair_table
from export.rtl.stream.pipes.operand import centred, reach
from export.rtl.stream.pipes.product import PIECE
from export.rtl.stream.pipes.requant import rounded
from export.rtl.stream.pipes.verilog import Part, Signal, constant, hold, join, register, wire
from quant.formats import Format
from quant.steps import AddStep

#: Sums of codes of at most this many bits are proven pair by pair.
PROVEN_BITS = 8


def add(module: str, step: AddStep, first: Format, second: Format, lanes: int, *, tile: int = PIECE + 1) -> Pipe:
    """Return the sum of two integer tensors: `in_a` and `in_b` [lanes * bits of their formats] to `out_data`.

    Codes of up to 8 bits need no multiplier: small tables of products with constants, proven for all pairs.
    """
    formats = (first, second)
    a, b = (Signal(name, fmt.bits, 0) for name, fmt in zip("ab", formats, strict=True))
    title = f"Sum of {formats[0].name} and {formats[1].name} as {step.requant.format.name}"
    small = max(fmt.bits for fmt in formats) <= PROVEN_BITS
    rule = linear(step, formats) if small else None
    if rule is not None:
        code, text = _by_tables(step, formats, (a, b), rule)
        return pipe(module, Lane(title, (a, b), (), code, text), lanes, lanes)
    if a.bits + b.bits <= PAIR_BITS:
        code, text = pair_table(step.requant.format, a, b, pairs(step, formats))
        return pipe(module, Lane(title, (a, b), (), code, text), lanes, lanes)
    code, fields, text = _by_rule(step, formats, (a, b), tile)
    return pipe(module, Lane(title, (a, b), fields, code, text), lanes, lanes)


def _by_tables(
    step: AddStep, formats: tuple[Format, Format], codes: tuple[Signal, Signal], rule: Linear
) -> tuple[Signal, Part]:
    """Return the code from sums of tables; the constant is in a table where it does not depend on the sum's sign."""
    first = -rule.factors[0] * step.zeros[0] - rule.factors[1] * step.zeros[1]
    constants = (first if rule.mirrored else first + rule.base + rule.offset, 0)
    bits = _sum_bits(formats, rule, constants[0])
    parts, tables = list[Part](), list[Signal]()
    for code, fmt, factor, extra in zip(codes, formats, rule.factors, constants, strict=True):
        found, part = _products(code, fmt, factor, extra, bits)
        tables += found
        parts.append(part)
    total, tree = _tree(tables)
    signed, mirror = _mirror(total, rule) if rule.mirrored else (total, Part())
    shifted = Signal("shifted", max(bits - rule.shift, 2), signed.clock, True)
    parts += [tree, mirror, wire(shifted, signed.part(rule.shift, shifted.bits))]
    code, last = clip(shifted, step.requant.low, step.requant.high, step.requant.format.bits)
    return code, join(*parts, last)


def _sum_bits(formats: tuple[Format, Format], rule: Linear, start: int) -> int:
    """Return the bits of the sum of all tables and of what is added for its sign."""
    ends = [_ends(fmt, factor) for fmt, factor in zip(formats, rule.factors, strict=True)]
    low, high = (sum(end[side] for end in ends) + start for side in (0, 1))
    spare = abs(rule.base) + abs(rule.offset) if rule.mirrored else 0
    return signed_bits(low - spare, high + spare)


def _ends(fmt: Format, factor: int) -> tuple[int, int]:
    products = (fmt.min_ordinal * factor, fmt.max_ordinal * factor)
    return min(products), max(products)


def _products(code: Signal, fmt: Format, factor: int, extra: int, bits: int) -> tuple[list[Signal], Part]:
    """Return tables of factor * part of the code, one clock later, whose sum is factor * code + extra."""
    parts, tables = list[Part](), list[Signal]()
    for low in range(0, fmt.bits, CHUNK):
        count = min(CHUNK, fmt.bits - low)
        sign = fmt.signed and low + count == fmt.bits
        values = [(k - (1 << count) if sign and k >> (count - 1) else k) << low for k in range(1 << count)]
        table = Signal(f"{code.name}_table{low}", bits, code.clock + 1, True)
        entries = [factor * value + (extra if low == 0 else 0) for value in values]
        parts.append(look_up(table, f"{code.text}[{low + count - 1}:{low}]", count, entries))
        tables.append(table)
    return tables, join(*parts)


def _tree(signals: list[Signal], level: int = 0) -> tuple[Signal, Part]:
    """Return the sum of signals of the same clock and bits, one clock for each level."""
    if len(signals) == 1:
        return signals[0], Part()
    sums, parts = list[Signal](), list[Part]()
    for index in range(0, len(signals), 2):
        pair = signals[index : index + 2]
        total = Signal(f"sum{level}{index}", pair[0].bits, pair[0].clock + 1, True)
        parts.append(register(total, " + ".join(one.text for one in pair)))
        sums.append(total)
    total, tree = _tree(sums, level + 1)
    return total, join(*parts, tree)


def _mirror(total: Signal, rule: Linear) -> tuple[Signal, Part]:
    up, first = constant("up", rule.base + rule.offset, total.bits, total.clock)
    down, second = constant("down", rule.base - rule.offset, total.bits, total.clock)
    rounded_sum = Signal("rounded", total.bits, total.clock + 1, True)
    text = f"{total.text} + ({total.top} ? {down.text} : {up.text})"
    return rounded_sum, join(first, second, register(rounded_sum, text))


def _by_rule(
    step: AddStep, formats: tuple[Format, Format], codes: tuple[Signal, Signal], tile: int
) -> tuple[Signal, tuple[Constant, ...], Part]:
    """Return the code by multiplications as the rule has them."""
    parts, scaled = list[Part](), list[Signal]()
    for index, (fmt, code, zero) in enumerate(zip(formats, codes, step.zeros, strict=True)):
        value, part = centred(fmt, code, zero)
        affine = _addend(step, index, reach(fmt, zero), tile)
        factor, one = constant(f"{code.name}_factor", affine.factors[0], affine.factor_bits)
        result, multiply = affine_lane(affine, value, factor, factor)
        parts += [part, one, multiply]
        scaled.append(result)
    clock = max(one.clock for one in scaled)
    held = [hold(one, clock) for one in scaled]
    bits = 1 + max(one.bits for one in scaled)
    total = Signal("total", bits, clock + 1, True)
    first, second = (one.part(0, bits) for one, _ in held)
    parts += [*(delay for _, delay in held), register(total, f"{first} + {second}")]
    most = sum(reach(fmt, zero) for fmt, zero in zip(formats, step.zeros, strict=True)) << (step.left_shift - 1)
    code, fields, text = rounded(step.requant, total, most, tile)
    return code, fields, join(*parts, text)


def _addend(step: AddStep, index: int, most: int, tile: int) -> Affine:
    """Return the constants of one scaled addend: no limits, no zero point."""
    scale = step.scales[index]
    shift = 31 - scale.exponent
    offset = (1 << 30) if scale.exponent < 0 else 0
    limit = (1 << most.bit_length()) - 1
    # The limits of codes do not concern an addend.
    whole = Affine(
        (scale.mantissa << step.left_shift,), (offset,), offset > 0, 1 << (shift - 1), shift, 0, 0, limit, tile
    )
    return lowered(whole)
