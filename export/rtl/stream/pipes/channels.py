"""Constants by channel: a counter of beats, and the words of the beat that comes next."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.bounds import unsigned_bits
from export.rtl.fields import literal
from export.rtl.stream.pipes.look_up import look_up
from export.rtl.stream.pipes.verilog import Part, Signal, join

#: Unless the device says otherwise, tables of at most this many words are made of LUTs, larger ones of block memory.
SMALL = 64


@dataclass(frozen=True, slots=True)
class Constant:
    """One constant of a lane: one value, or one per channel."""

    name: str
    bits: int
    values: tuple[int, ...]


def constants(
    name: str, fields: tuple[Constant, ...], lanes: int, channels: int, small: int = SMALL
) -> tuple[Part, tuple[tuple[str, str], ...]]:
    """Return wires `{field}_1` of lanes * bits: the constants of the beat that `in_valid` brought a clock before.

    Also returns the memory files, named from the pipe `name`; tables of more than `small` words have one.
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
        return join(*parts), ()
    table, memories = _table(name, wide, lanes, beats, small) if wide else (Part(), ())
    return join(*parts, table), memories


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


def _table(
    name: str, fields: tuple[Constant, ...], lanes: int, beats: int, small: int
) -> tuple[Part, tuple[tuple[str, str], ...]]:
    width, bits = lanes * sum(field.bits for field in fields), unsigned_bits(beats - 1)
    last, zero, one = literal(beats - 1, bits), literal(0, bits), literal(1, bits)
    on = f"beat + {one}" if beats == 1 << bits else f"beat == {last} ? {zero} : beat + {one}"
    words = [_word(fields, beat, lanes) for beat in range(beats)]
    parts = [
        Part(
            (
                f"reg [{bits - 1}:0] beat;",
                f"wire [{bits - 1}:0] after = {on};",
                f"wire [{bits - 1}:0] next = rst ? {zero} : in_valid ? after : beat;",
            ),
            ("beat <= next;",),
        ),
        _slices(fields, lanes),
    ]
    if beats <= small:
        parts.append(look_up(Signal("word", width, 1), "beat", bits, words))
        return join(*parts), ()
    file, digits = f"{name}_constants.mem", -(-width // 4)
    parts.append(_block(file, width, beats))
    return join(*parts), ((file, "".join(f"{word:0{digits}x}\n" for word in words)),)


def _slices(fields: tuple[Constant, ...], lanes: int) -> Part:
    """Cut the word into wires, the first field from the lowest bits on."""
    place, wires = 0, list[str]()
    for field in fields:
        wires.append(f"wire [{lanes * field.bits - 1}:0] {field.name}_1 = word_1[{place} +: {lanes * field.bits}];")
        place += lanes * field.bits
    return Part(tuple(wires))


def _block(file: str, width: int, beats: int) -> Part:
    """Return a block memory that is read while the beat before arrives, with a register behind it."""
    wires = (
        f'(* rom_style = "block", ram_style = "block" *) reg [{width - 1}:0] words[0:{beats - 1}];',
        f'initial $readmemh("{file}", words);',
        f"reg [{width - 1}:0] word_0, word_1;",
    )
    return Part(wires, ("word_0 <= words[next];", "word_1 <= word_0;"))
