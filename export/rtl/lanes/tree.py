"""Adder trees: every level adds neighbours, keeps one more bit, and ends in registers."""

from __future__ import annotations

from export.rtl.lanes.vector import Bits, add, concat, extend, register


def tree_clocks(count: int) -> int:
    """Return the clocks a sum of `count` values takes."""
    return (count - 1).bit_length()


def tree(name: str, leaves: tuple[Bits, ...], width: int) -> tuple[str, ...]:
    """Return the lines that drive `name`, `width` bits, with the sum of signed leaves."""
    lines: list[str] = []
    level = 0
    while len(leaves) > 1:
        level += 1
        summed = []
        for index in range(0, len(leaves), 2):
            made, value = _pair(f"{name}_{level}_{index // 2}", leaves[index : index + 2], width)
            lines += made
            summed.append(value)
        leaves = tuple(summed)
    return (*lines, f"  assign {name} = {concat(extend(leaves[0], width, True))};")


def _pair(name: str, values: tuple[Bits, ...], width: int) -> tuple[tuple[str, ...], Bits]:
    if len(values) == 1:
        held = register(name, values[0])
        return held.lines, held.value
    wide = min(width, max(len(value) for value in values) + 1)
    left, right = (extend(value, wide, True) for value in values)
    total = add(f"{name}_sum", left, right)
    held = register(name, total.value)
    return total.lines + held.lines, held.value
