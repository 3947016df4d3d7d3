"""Products of two activations as C, of one shape or with one factor per channel."""

from __future__ import annotations

from export.c99.layout import c_type
from export.c99.numbers import TYPES, requant, units, units_range
from export.c99.piece import Context, Piece, requant_constants
from export.c99.template import Kernel, Tokens
from quant.program import MulStep


def mul_piece(context: Context, step: MulStep) -> Piece:
    """Return the C of a product: per pixel all channels, which lie side by side, or all of both tensors."""
    a, b, y = (context.format(tensor) for tensor in (*step.xs, step.y))
    decode_a, decode_b = units(a), units(b)
    bound = 1
    for fmt, zero in ((a, step.zeros[0]), (b, step.zeros[1])):
        low, high = units_range(fmt, zero)
        bound *= max(-low, high)
    rule = requant(step.requant, bound)
    tokens: Tokens = (
        ("A_T", c_type(a)),
        ("B_T", c_type(b)),
        ("Y_T", c_type(y)),
        ("ACC_T", "int64_t" if y.is_minifloat else "int32_t"),
        ("A_UNITS", decode_a.name),
        ("B_UNITS", decode_b.name),
        ("REQUANT", rule.name),
    )
    name = "_".join(("mul", a.name, b.name, rule.name))
    kernel = Kernel("mul", name, tokens, (TYPES, decode_a, decode_b, rule))
    constants = requant_constants(context, step.requant)
    inner = context.size(step.xs[1])
    operands = ", ".join(context.names[tensor] for tensor in (*step.xs, step.y))
    extent = f"{context.size(step.y) // inner}, {inner}, {step.zeros[0]}, {step.zeros[1]}"
    call = f"{name}({operands}, {extent}, &{context.label('requant')});"
    return Piece((kernel,), (constants.text,), (call,), constants.size_bytes)
