"""Vectors of Verilog bits as tuples of one-bit expressions, lowest first, and the text made of them.

Every bit is spelled out, so signs and widths are settled here and never by Verilog's rules for expressions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby

#: One-bit expressions, lowest bit first.
Bits = tuple[str, ...]

ZERO, ONE = "1'b0", "1'b1"
_BIT = re.compile(r"(\w+)\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Logic:
    """Lines of Verilog and the bits they make."""

    lines: tuple[str, ...]
    value: Bits


def bits(name: str, width: int, low: int = 0) -> Bits:
    """Return `width` bits of the vector `name`, from bit `low` on."""
    return tuple(f"{name}[{low + index}]" for index in range(width))


def extend(value: Bits, width: int, signed: bool) -> Bits:
    """Return a value with copies of its sign, or zeros, on top, or cut to `width`."""
    return (value + (value[-1] if signed else ZERO,) * (width - len(value)))[:width]


def concat(value: Bits) -> str:
    """Return a vector as one expression; neighbours become slices and copies become replications."""
    parts = [_run(list(group)) for _, group in groupby(enumerate(reversed(value)), key=_neighbours)]
    flat = [text for part in parts for text in part]
    return flat[0] if len(flat) == 1 else "{" + ", ".join(flat) + "}"


def _neighbours(entry: tuple[int, str]) -> tuple[str, int]:
    """Bits of one name whose index falls by one from place to place have the same key; everything else has its own."""
    place, text = entry
    found = _BIT.fullmatch(text)
    return (found[1], place + int(found[2])) if found else (text, -1)


def _run(entries: list[tuple[int, str]]) -> list[str]:
    texts = [text for _, text in entries]
    first, last = _BIT.fullmatch(texts[0]), _BIT.fullmatch(texts[-1])
    if len(texts) > 1 and first and last:
        return [f"{first[1]}[{first[2]}:{last[2]}]"]
    if len(texts) > 1:
        return [f"{{{len(texts)}{{{texts[0]}}}}}"]
    return texts


def wire(name: str, value: str, width: int) -> str:
    """Return the declaration of a vector with its value."""
    return f"  wire [{width - 1}:0] {name} = {value};"


def named(name: str, value: Bits) -> Logic:
    """Give a vector a name."""
    return Logic((wire(name, concat(value), len(value)),), bits(name, len(value)))


def register(name: str, value: Bits) -> Logic:
    """Return a vector one clock later."""
    width = len(value)
    lines = (f"  reg [{width - 1}:0] {name};", f"  always @(posedge clk) {name} <= {concat(value)};")
    return Logic(lines, bits(name, width))


def add(name: str, left: Bits, right: Bits, carry: str | None = None) -> Logic:
    """Return the sum of two vectors of one width, modulo that width, plus a carry.

    The carry is one more place below the lowest, so that it enters the carry chain without a cell of its own.
    """
    width = len(left)
    if carry is None:
        return Logic((wire(name, f"{concat(left)} + {concat(right)}", width),), bits(name, width))
    total = f"{concat((carry, *left))} + {concat((carry, *right))}"
    return Logic((wire(name, total, width + 1),), bits(name, width, 1))


def table(name: str, inputs: Bits, outputs: int, values: tuple[int, ...]) -> Logic:
    """Return `outputs` bits looked up by a few inputs, one constant per bit.

    Args:
        name: prefix of the names made.
        inputs: the index, lowest bit first.
        outputs: bits of a value.
        values: the value at every index, 2^len(inputs) of them.
    """
    rows = len(values)
    lines = []
    for bit in range(outputs):
        column = sum(((value >> bit) & 1) << index for index, value in enumerate(values))
        lines.append(f"  localparam [{rows - 1}:0] {name}_{bit} = {rows}'h{column:x};")
    lines.append(f"  wire [{len(inputs) - 1}:0] {name}_at = {concat(inputs)};")
    columns = tuple(f"{name}_{bit}[{name}_at]" for bit in range(outputs))
    made = named(name, columns)
    return Logic((*lines, *made.lines), made.value)
