"""From accumulators to codes: the start of each channel, then the rule of the output format."""

from __future__ import annotations

from export.rtl.bounds import signed_bits
from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.affine import Affine, planned
from export.rtl.stream.pipes.affine_lane import affine_lane, clip, offset_unit
from export.rtl.stream.pipes.channels import SMALL, Constant
from export.rtl.stream.pipes.frame import Lane, pipe, start
from export.rtl.stream.pipes.product import PIECE
from export.rtl.stream.pipes.verilog import Part, Signal, join
from export.rtl.stream.pipes.wide import wide_rule
from export.rtl.stream.pipes.wide_lane import wide_text
from quant.steps import Requant


def requant(
    module: str,
    requant: Requant,
    starts: tuple[int, ...],
    acc_bits: int,
    lanes: int,
    channels: int,
    acc_max: int,
    tile: int = PIECE + 1,
    small: int = SMALL,
) -> Pipe:
    """Return the pipe from accumulators to codes.

    Ports: `in_acc` [lanes * acc_bits], the accumulators modulo 2^acc_bits; `out_data` [lanes * bits of the format].

    Args:
        module: name of the module, unique in the design.
        requant: multipliers (one, or one per channel), zero point, limits and format of the output.
        starts: what is added to every accumulator, one number or one per channel.
        acc_bits: bits of an accumulator.
        lanes: accumulators of one beat; divides `channels`.
        channels: accumulators of lane i of beat b belong to channel (b * lanes + i) mod channels.
        acc_max: largest magnitude of an accumulator with its start.
        tile: bits, with sign, of the wider side of the device's multipliers: 18 (ECP5) or 25 (Xilinx).
        small: words of constants by channel up to which they are in look-up tables.
    """
    bits = min(acc_bits, signed_bits(-acc_max, acc_max))
    acc = Signal("acc", acc_bits, 0)
    value, begin = start(acc, bits)
    fields = (Constant("start", bits, _one(starts)),)
    title = f"Accumulators of {bits} bits to {requant.format.name}"
    code, more, text = rounded(requant, value, acc_max, tile)
    return pipe(module, Lane(title, (acc,), fields + more, code, join(begin, text)), lanes, channels, small=small)


def rounded(requant: Requant, value: Signal, acc_max: int, tile: int) -> tuple[Signal, tuple[Constant, ...], Part]:
    """Return the code of a signed value of at most `acc_max`, the constants by channel it takes, and its text."""
    if requant.format.is_minifloat:
        wide = wide_rule(requant, acc_max, tile)
        code, text = wide_text(wide, value)
        return code, wide.fields(), text
    affine = planned(requant, acc_max, tile)
    code, text = integer_text(affine, value, requant.format.bits)
    return code, integer_fields(affine), text


def integer_fields(affine: Affine) -> tuple[Constant, ...]:
    """Return the constants by channel that the lane of an integer output takes."""
    unit, fields = offset_unit(affine), list[Constant]()
    if affine.factors != (1,):
        fields.append(Constant("factor", affine.factor_bits, affine.factors))
    if len(affine.offsets) > 1:
        scaled = tuple(one >> unit for one in affine.offsets)
        fields.append(Constant("offset", signed_bits(min(scaled), max(scaled)), scaled))
    return tuple(fields)


def integer_text(affine: Affine, value: Signal, bits: int) -> tuple[Signal, Part]:
    """Return the code of a value, and its text."""
    fields = {field.name: field.bits for field in integer_fields(affine)}
    factor = Signal("factor", fields.get("factor", 1), 0)
    offset = Signal("offset", fields.get("offset", 1), 0, True)
    result, text = affine_lane(affine, value, factor, offset)
    code, last = clip(result, affine.low, affine.high, bits)
    return code, join(text, last)


def _one(values: tuple[int, ...]) -> tuple[int, ...]:
    return values[:1] if len(set(values)) == 1 else values
