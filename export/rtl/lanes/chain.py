"""Products added up: chains that take the last clock of each product into their adders, then a tree.

Where a look-up table in front of a carry chain has room for the rest of a product's shift and sign, adding a product
to the sum so far costs one table a bit, and a product of its own none. The products of a chain arrive one clock after
another, so their codes wait in registers.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.lanes.vector import ZERO, Bits, add, extend, register
from quant.accumulator import smallest_bits
from quant.formats import Format

#: Products in one chain by family: longer ones need longer waits. Adders of the others have no table in front.
CHAIN = {"xc": 3, "ecp5": 1, "ice40": 1}


@dataclass(frozen=True, slots=True)
class Product:
    """One lane's product: `value` plus the bit `carry`."""

    value: Bits
    carry: str | None


def chained(name: str, products: tuple[Product, ...], widths: tuple[int, ...]) -> tuple[tuple[str, ...], Bits]:
    """Return the lines and the registered sum of products that arrive one clock after another.

    `widths` are those of the sums of the first one, two, ... products.
    """
    lines: tuple[str, ...] = ()
    total: Bits = (ZERO,)
    for index, (product, width) in enumerate(zip(products, widths, strict=True)):
        addends = extend(total, width, True), extend(product.value, width, True)
        made = add(f"{name}_{index}_next", *addends, product.carry)
        held = register(f"{name}_{index}", made.value)
        lines, total = lines + made.lines + held.lines, held.value
    return lines, total


def sum_widths(weight: Format, activation: Format, count: int) -> tuple[int, ...]:
    """Return the widths of sums of 1 .. count products."""
    return tuple(smallest_bits(weight, activation, terms) for terms in range(1, count + 1))
