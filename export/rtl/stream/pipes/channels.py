"""Constants by channel: a counter of beats, and the words of the beat that comes next."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.bounds import unsigned_bits
from export.rtl.fields import literal
from export.rtl.stream.pipes.verilog import Part, join


@dataclass(frozen=True, slots=True)
class Constant:
    """One constant of a lane: one value, or one per channel."""

    name: str
    bits: int
    values: tuple[int, ...]


def constants(fields: tuple[Constant, ...], lanes: int, channels: int) -> Part:
    """Return wires `{name}_1` of lanes * bits: the constants of the beat that `in_valid` brought a clock before.

    The next word is read while the beat before it arrives, so that block memories can hold the table.
    """
    beats = channels // lanes
    wide = tuple(field for field in fields if len(field.values) > 1)
    fixed = tuple(field for field in fields if len(field.values) == 1)
    parts = [_fixed(field.name, field.bits, field.values[0], lanes) for field in fixed]
    if beats == 1:
        parts += [
            _wire(field.name, lanes * field.bits, literal(_word((field,), 0, lanes), lanes * field.bits))
            for field in wide
        ]
        return join(*parts)
    if wide:
        parts.append(_table(wide, lanes, beats))
    return join(*parts)


def _wire(name: str, bits: int, text: str) -> Part:
    return Part((f"wire [{bits - 1}:0] {name}_1 = {text};",))


def _fixed(name: str, bits: int, value: int, lanes: int) -> Part:
    return _wire(name, lanes * bits, f"{{{lanes}{{{literal(value, bits)}}}}}")


def _word(fields: tuple[Constant, ...], beat: int, lanes: int) -> int:
    """Return the word of a beat: fields from the lowest bits on, in each its lanes."""
    word, place = 0, 0
    for field in fields:
        for lane in range(lanes):
            word |= (field.values[beat * lanes + lane] & ((1 << field.bits) - 1)) << place
            place += field.bits
    return word


def _table(fields: tuple[Constant, ...], lanes: int, beats: int) -> Part:
    width, bits = lanes * sum(field.bits for field in fields), unsigned_bits(beats - 1)
    last, zero, one = literal(beats - 1, bits), literal(0, bits), literal(1, bits)
    wires = [
        f"reg [{bits - 1}:0] beat;",
        f"wire [{bits - 1}:0] after = beat == {last} ? {zero} : beat + {one};",
        f"wire [{bits - 1}:0] next = rst ? {zero} : in_valid ? after : beat;",
        f"reg [{width - 1}:0] word_0, word_1;",
    ]
    place = 0
    for field in fields:
        wires.append(f"wire [{lanes * field.bits - 1}:0] {field.name}_1 = word_1[{place} +: {lanes * field.bits}];")
        place += lanes * field.bits
    cases = [
        f"  {_label(beat, beats, bits)}: word_0 <= {literal(_word(fields, beat, lanes), width)};"
        for beat in range(beats)
    ]
    return Part(tuple(wires), ("beat <= next;", "word_1 <= word_0;", "case (next)", *cases, "endcase"))


def _label(beat: int, beats: int, bits: int) -> str:
    return "default" if beat == beats - 1 else literal(beat, bits)
