"""Left shifts of a few bits' worth of selectors at a time, written so that only sources that can be there are named."""

from __future__ import annotations

from export.rtl.lanes.vector import ZERO, Bits


def shifted(value: Bits, select: Bits, step: int, signed: bool) -> Bits:
    """Return value << (select * step) as one-bit expressions, wide enough for the largest shift."""
    width = len(value) + ((1 << len(select)) - 1) * step
    return tuple(_chosen(value, select, step, bit, signed) for bit in range(width))


def _chosen(value: Bits, select: Bits, step: int, bit: int, signed: bool) -> str:
    if not select:
        return _source(value, bit, signed)
    half = step << (len(select) - 1)
    high = _chosen(value, select[:-1], step, bit - half, signed)
    low = _chosen(value, select[:-1], step, bit, signed)
    return low if high == low else f"({select[-1]} ? {high} : {low})"


def _source(value: Bits, bit: int, signed: bool) -> str:
    if bit < 0:
        return ZERO
    if bit >= len(value):
        return value[-1] if signed else ZERO
    return value[bit]
