"""Unsigned products of short significands: tables of six inputs, one or the sum of two."""

from __future__ import annotations

from export.rtl.lanes.vector import Bits, Logic, add, extend, table

#: Inputs of the largest table.
TABLE_INPUTS = 6


def fits(x: Bits, w: Bits, inputs: int) -> bool:
    """Whether tables are best, with look-up tables of `inputs` inputs: one alone, or two of any inputs and a sum."""
    if len(x) + len(w) <= TABLE_INPUTS:
        return len(x) + len(w) <= inputs
    return len(x) + -(-len(w) // 2) <= TABLE_INPUTS


def product(name: str, x: Bits, w: Bits) -> Logic:
    """Return the product of two unsigned vectors, len(x) + len(w) bits wide; `fits` says when."""
    if len(x) + len(w) <= TABLE_INPUTS:
        return _table(name, x, w)
    half = -(-len(w) // 2)
    low, high = _table(f"{name}_low", x, w[:half]), _table(f"{name}_high", x, w[half:])
    width = len(x) + len(w) - half
    total = add(f"{name}_sum", extend(low.value[half:], width, False), extend(high.value, width, False))
    return Logic(low.lines + high.lines + total.lines, low.value[:half] + total.value)


def _table(name: str, x: Bits, w: Bits) -> Logic:
    values = tuple(b * a for b in range(1 << len(w)) for a in range(1 << len(x)))
    return table(name, (*x, *w), len(x) + len(w), values)
