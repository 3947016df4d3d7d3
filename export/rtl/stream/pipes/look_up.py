"""Functions of few bits as tables in the text: tools put small ones into LUTs and large ones into block memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from export.rtl.fields import literal
from export.rtl.stream.pipes.verilog import Part, Signal, hold, join
from quant.formats import Format, IntArray

#: Functions of two codes of at most this many bits together are tables.
PAIR_BITS = 8
#: Bits of the parts that a code is split into for sums of tables: inputs of a small LUT.
CHUNK = 4


def look_up(result: Signal, index: str, index_bits: int, entries: Sequence[int]) -> Part:
    """Return the register `result` that holds entry `index` of the clock before."""
    last = len(entries) - 1
    labels = ["default" if k == last else literal(k, index_bits) for k in range(len(entries))]
    cases = [
        f"  {label}: {result.text} <= {literal(entry, result.bits, result.signed)};"
        for label, entry in zip(labels, entries, strict=True)
    ]
    sign = "signed " if result.signed else ""
    wires = (f"reg {sign}[{result.bits - 1}:0] {result.text};",)
    return Part(wires, (f"case ({index})", *cases, "endcase"))


def pair_table(fmt: Format, a: Signal, b: Signal, ordinals: IntArray) -> tuple[Signal, Part]:
    """Return the code of every pair of codes, two clocks later; `ordinals` [patterns of a, patterns of b]."""
    found = Signal("found", fmt.bits, a.clock + 1)
    entries = [code(fmt, int(one)) for one in ordinals.reshape(-1)]
    text = look_up(found, f"{{{a.text}, {b.text}}}", a.bits + b.bits, entries)
    out, last = hold(found, a.clock + 2)
    return out, join(text, last)


def patterns(fmt: Format) -> list[int]:
    """Return the ordinal of every bit pattern; reserved codes of a minifloat count as the largest value."""
    if not fmt.is_minifloat:
        half = 1 << (fmt.bits - 1)
        return [k - 2 * half if fmt.signed and k >= half else k for k in range(2 * half)]
    half = 1 << (fmt.bits - 1)
    magnitudes = [min(k, fmt.max_ordinal) for k in range(half)]
    return magnitudes + [-k for k in magnitudes]


def units(fmt: Format) -> list[int]:
    """Return the value in units of every bit pattern."""
    return [fmt.units_of_ordinal(ordinal) for ordinal in patterns(fmt)]


def scalar(value: int) -> IntArray:
    """Return an int64 array of no dimensions."""
    return np.array(value, dtype=np.int64)


def code(fmt: Format, ordinal: int) -> int:
    """Return the bit pattern of an ordinal."""
    if fmt.is_minifloat:
        return abs(ordinal) | (int(ordinal < 0) << (fmt.bits - 1))
    return ordinal & ((1 << fmt.bits) - 1)
