"""Unsigned products of significands in rows: two bits of the multiplier a row, that choose 0, 1, 2 or 3 times."""

from __future__ import annotations

from export.rtl.lanes.vector import ZERO, Bits, Logic, add, extend


def product(name: str, x: Bits, w: Bits) -> Logic:
    """Return the product of two unsigned vectors, len(x) + len(w) bits wide."""
    width = len(x) + 2
    thrice = add(f"{name}_thrice", extend(x, width, False), extend((ZERO, *x), width, False))
    lines, rest = thrice.lines, (ZERO,) * len(x)
    low: Bits = ()
    pairs = extend(w, len(w) + len(w) % 2, False)
    for index in range(0, len(pairs), 2):
        one, two = pairs[index : index + 2]
        total = add(f"{name}_sum{index}", extend(rest, width, False), _multiple(x, thrice.value, one, two))
        lines, low, rest = lines + total.lines, low + total.value[:2], total.value[2:]
    return Logic(lines, extend(low + rest, len(x) + len(w), False))


def _multiple(x: Bits, thrice: Bits, one: str, two: str) -> Bits:
    singles, doubles = extend(x, len(thrice), False), extend((ZERO, *x), len(thrice), False)
    return tuple(
        f"({two} ? ({one} ? {c} : {b}) : {one} & {a})" for a, b, c in zip(singles, doubles, thrice, strict=True)
    )
