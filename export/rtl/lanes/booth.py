"""Signed products in rows of a carry chain: two bits of the multiplier a row (Booth's recoding, radix 4).

A digit d = -2*b2 + b1 + b0 of the multiplier's bits (b2, b1, and b0 from the digit below) is one of -2..2. One bit of
d*x is a function of b2, b1, b0 and two neighbouring bits of x: five inputs, so that with the sum from the row below it
fits one six-input look-up table and its carry. A negative digit gives the complement and a carry into the row.
"""

from __future__ import annotations

from export.rtl.lanes.vector import ZERO, Bits, Logic, add, extend


def product(name: str, x: Bits, w: Bits) -> Logic:
    """Return the product of two signed vectors, len(x) + len(w) bits wide; `w` is recoded."""
    width = len(x) + len(w)
    recoded = (ZERO, *extend(w, len(w) + len(w) % 2, True))
    lines: tuple[str, ...] = ()
    low: Bits = ()
    rest: Bits = (ZERO,) * len(x)
    for index in range(0, len(recoded) - 1, 2):
        made = row(f"{name}_{index // 2}", x, recoded[index : index + 3], rest)
        lines, low, rest = lines + made.lines, low + made.value[:2], made.value[2:]
    return Logic(lines, extend(low + rest, width, True))


def row(name: str, x: Bits, digit: Bits, rest: Bits) -> Logic:
    """Return `rest` plus digit times x: two bits more than x. `digit` is b0, b1, b2; `rest` is signed, as wide as x."""
    width = len(x) + 2
    multiple = _multiple(f"{name}_pp", x, digit)
    total = add(f"{name}_sum", extend(rest, width, True), extend(multiple.value, width, True), digit[2])
    return Logic(multiple.lines + total.lines, total.value)


def _multiple(name: str, x: Bits, digit: Bits) -> Logic:
    low, middle, top = digit
    lines = (
        f"  wire {name}_once = {middle} ^ {low};",
        f"  wire {name}_twice = {top} ? ~{middle} & ~{low} : {middle} & {low};",
    )
    shifted = (ZERO, *x)
    values = tuple(
        f"({top} ^ ({name}_once & {here} | {name}_twice & {below}))"
        for here, below in zip((*x, x[-1]), shifted, strict=True)
    )
    return Logic(lines, values)
