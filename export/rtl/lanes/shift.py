"""Left shifts written bit by bit, so that only sources that can be there are named, and split over two clocks.

The first clock shifts by the low bits of the selector, the second by whole windows of places and takes the sign. A
place that the first clock only gates (its other source is zero) goes to the second clock as it is, if a look-up table
there has an input left for the gate.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.lanes.vector import ZERO, Bits, named

#: Inputs of a look-up table by family.
INPUTS = {"xc": 6, "ecp5": 4, "ice40": 4}


@dataclass(frozen=True, slots=True)
class Window:
    """What the first clock leaves: places, what gates them, and the selector of the second clock.

    `gates` has `""`, `"gate"` or `"~gate"` for each place, all meaning the bit `gate`.
    """

    lines: tuple[str, ...]
    places: Bits
    gates: tuple[str, ...]
    gate: str | None
    select: Bits
    step: int


def shifted(value: Bits, select: Bits, step: int, signed: bool, least: int = 0) -> Bits:
    """Return value << (select * step) as one-bit expressions, wide enough for the largest shift.

    `select` is never below `least`: what it would choose there is left out.
    """
    width = len(value) + ((1 << len(select)) - 1) * step
    return tuple(_chosen(value, select, step, bit, signed, least) for bit in range(width))


def _chosen(value: Bits, select: Bits, step: int, bit: int, signed: bool, least: int) -> str:
    if not select:
        return _source(value, bit, signed)
    half = 1 << (len(select) - 1)
    high = _chosen(value, select[:-1], step, bit - half * step, signed, least - half)
    if half <= least:
        return high
    low = _chosen(value, select[:-1], step, bit, signed, least)
    return low if high == low else f"({select[-1]} ? {high} : {low})"


def _source(value: Bits, bit: int, signed: bool) -> str:
    if bit < 0:
        return ZERO
    if bit >= len(value):
        return value[-1] if signed else ZERO
    return value[bit]


def window(value: Bits, select: Bits, signed: bool, inputs: int) -> Window:
    """Return the first clock's part of value << select, split where the fewest look-up tables are needed."""
    fine = min(range(min(3, len(select)) + 1), key=lambda bits: cost(len(value), len(select), bits, inputs))
    coarse = select[fine:]
    if fine == 0:
        return Window((), value, ("",) * len(value), None, coarse, 1)
    moved = named("moved", shifted(value, select[: min(fine, 2)], 1, signed))
    if fine < 3:
        return Window(moved.lines, moved.value, ("",) * len(moved.value), None, coarse, 1 << fine)
    return _gated(moved.lines, moved.value, select[2], coarse, signed, inputs)


def _gated(lines: tuple[str, ...], value: Bits, gate: str, coarse: Bits, signed: bool, inputs: int) -> Window:
    width = len(value) + 4
    pairs = [(_source(value, place, signed), _source(value, place - 4, signed)) for place in range(width)]
    places, gates = [], []
    for place, (low, high) in enumerate(pairs):
        fits = len(range(place % 8, width, 8)) + len(coarse) + 2 <= inputs
        if ZERO in (low, high) and fits:
            places.append(high if low == ZERO else low)
            gates.append("gate" if low == ZERO else "~gate")
        else:
            places.append(f"({gate} ? {high} : {low})")
            gates.append("")
    return Window(lines, tuple(places), tuple(gates), gate if any(gates) else None, coarse, 8)


def cost(width: int, select: int, fine: int, inputs: int) -> int:
    """Return about how many look-up tables a shift takes that does `fine` bits of the selector in the first clock."""
    moved = width + (1 << min(fine, 2)) - 1
    first = sum(_tables(min(place + 1, width, moved - place), min(fine, 2), inputs) for place in range(moved))
    places = moved + (4 if fine == 3 else 0)
    first = first * (fine > 0) + (moved - 4) * (fine == 3)
    step, coarse = 1 << fine, select - fine
    total = places + ((1 << coarse) - 1) * step
    return first + sum(_tables(_sources(at, places, step, coarse), coarse + 1, inputs) for at in range(total))


def _sources(place: int, places: int, step: int, coarse: int) -> int:
    return sum(0 <= place - move * step < places for move in range(1 << coarse))


def _tables(sources: int, selectors: int, inputs: int) -> int:
    """Return the tables that choose among some sources: one, or one more than those that halve or quarter them."""
    return 1 if sources + selectors <= inputs else 1 + -(-sources // (4 if inputs == 6 else 2))
