"""A function of every code as C: one look-up, in the memory of what it reads where nothing else reads that."""

from __future__ import annotations

import numpy as np

from export.c99.layout import c_type
from export.c99.numbers import TYPES
from export.c99.piece import Context, Piece, array
from export.c99.template import Kernel, Tokens
from quant.program import TableStep


def table_piece(context: Context, step: TableStep) -> Piece:
    """Return the C of a function: its table holds output codes by the low bits of the input code."""
    x, y = context.format(step.x), context.format(step.y)
    mask = "" if x.bits == 8 else f"& {(1 << x.bits) - 1}"
    tokens: Tokens = (("X_T", c_type(x)), ("Y_T", c_type(y)), (" MASK", f" {mask}" if mask else ""))
    kernel = Kernel("table", f"table_{x.name}_{y.name}", tokens, (TYPES,))
    codes = y.from_ordinals(np.array(step.entries, dtype=np.int64))
    entries = array(c_type(y), context.label("table"), [int(code) for code in codes])
    operands = f"{context.names[step.x]}, {context.names[step.y]}, {context.size(step.y)}, {context.label('table')}"
    return Piece((kernel,), (entries.text,), (f"{kernel.name}({operands});",), entries.size_bytes)
