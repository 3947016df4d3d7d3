"""The pipe of an average: sums of codes divided by the count of positions, which arrives with each beat."""

from __future__ import annotations

from export.rtl.bounds import unsigned_bits
from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.frame import Lane, pipe
from export.rtl.stream.pipes.look_up import look_up
from export.rtl.stream.pipes.product import PIECE, product
from export.rtl.stream.pipes.verilog import Part, Signal, hold, join, register
from export.rtl.stream.pipes.wide import wide_constants
from export.rtl.stream.pipes.wide_lane import wide_text
from quant.fixedpoint import Multiplier
from quant.formats import Format


def divide(
    module: str,
    fmt: Format,
    multipliers: tuple[Multiplier, ...],
    count_max: int,
    acc_bits: int,
    lanes: int,
    acc_max: int,
    counts: tuple[int, ...] = (),
    tile: int = PIECE + 1,
) -> Pipe:
    """Return the pipe from sums of codes (minifloats: of units) to the code of their mean.

    Ports: `in_acc` [lanes * acc_bits], `in_count` [bits of count_max], one for all lanes; `out_data`.

    Args:
        module: name of the module.
        fmt: format of input and output.
        multipliers: for minifloats the multiplier of each count from 1 on; empty for integers.
        count_max: the largest count the port must hold.
        acc_bits: bits of a sum; all of it must fit with sign (unsigned formats too).
        lanes: sums of one beat.
        acc_max: largest magnitude of a sum.
        counts: the counts that occur; all from 1 to `count_max` when empty.
        tile: bits, with sign, of the wider side of the device's multipliers.
    """
    acc, count = Signal("acc", acc_bits, 0, True), Signal("count", unsigned_bits(count_max), 0)
    occurring = tuple(sorted(set(counts))) or tuple(range(1, count_max + 1))
    if fmt.is_minifloat:
        code, text = _wide(fmt, multipliers, occurring, acc, count, acc_max, tile)
    else:
        code, text = _integer(fmt, occurring, acc, count, acc_max, tile)
    lane = Lane(f"Mean of {fmt.name} codes", (acc, count), (), code, text)
    return pipe(module, lane, lanes, lanes, ("count",))


def reciprocals(counts: tuple[int, ...], dividend_max: int) -> tuple[tuple[int, ...], int]:
    """Return factors m and a shift s such that (n * m) >> s == n // count for every 0 <= n <= dividend_max.

    With m = ceil(2^s / d) the floor is right exactly as long as n * (m*d - 2^s) < 2^s (Granlund and Montgomery,
    "Division by invariant integers using multiplication", 1994). s is the smallest that fulfils it for all counts.
    """
    shift = 0
    while True:
        factors = tuple(-(-(1 << shift) // count) for count in counts)
        if all(
            dividend_max * (factor * count - (1 << shift)) < 1 << shift
            for factor, count in zip(factors, counts, strict=True)
        ):
            return factors, shift
        shift += 1


def _by_count(name: str, count: Signal, counts: tuple[int, ...], values: tuple[int, ...]) -> tuple[Signal, Part]:
    """Return a constant by count, one clock later."""
    found = Signal(name, unsigned_bits(max(values)), count.clock + 1)
    entries = [values[counts.index(k)] if k in counts else 0 for k in range(1 << count.bits)]
    return found, look_up(found, count.text, count.bits, entries)


def _integer(
    fmt: Format, counts: tuple[int, ...], acc: Signal, count: Signal, acc_max: int, tile: int
) -> tuple[Signal, Part]:
    most = acc_max + max(counts) // 2
    factors, shift = reciprocals(counts, most)
    factor, table = _by_count("factor", count, counts, factors)
    bits = unsigned_bits(most)
    magnitude, negative = Signal("magnitude", bits, 1), Signal("negative", 1, 1)
    half = Signal("half", count.bits, 1)
    total = Signal("total", bits, 2)
    low = acc.part(0, bits)
    parts = [
        table,
        register(negative, acc.top),
        register(magnitude, f"{acc.top} ? -{low} : {low}"),
        register(half, f"{count.text} >> 1"),
        register(total, f"{magnitude.text} + {half.part(0, bits)}"),
    ]
    late, delay = hold(factor, 2)
    scaled, multiply = product("scaled", total, late, tile)
    sign, more = hold(negative, scaled.clock)
    code = Signal("code", fmt.bits, scaled.clock + 1)
    quotient = scaled.part(shift, fmt.bits)
    parts += [delay, multiply, more, register(code, f"{sign.text} ? -{quotient} : {quotient}")]
    return code, join(*parts)


def _wide(
    fmt: Format,
    multipliers: tuple[Multiplier, ...],
    counts: tuple[int, ...],
    acc: Signal,
    count: Signal,
    acc_max: int,
    tile: int,
) -> tuple[Signal, Part]:
    used = tuple(multipliers[k - 1] for k in counts)
    wide = wide_constants(fmt, used, fmt.min_ordinal, fmt.max_ordinal, acc_max, tile)
    value = Signal("value", acc_max.bit_length() + 1, 1, True)
    parts = [register(value, acc.part(0, value.bits))]
    for field in wide.fields():
        values = field.values if len(field.values) > 1 else field.values * len(counts)
        parts.append(_by_count(field.name, count, counts, values)[1])
    code, text = wide_text(wide, value, 1)
    return code, join(*parts, text)
