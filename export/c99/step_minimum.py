"""A limit for every channel as C: in the memory of what it limits where nothing else reads that."""

from __future__ import annotations

from export.c99.layout import c_type
from export.c99.numbers import TYPES, code, ordinal, signed_type
from export.c99.piece import Context, Piece, array
from export.c99.template import Kernel, Tokens
from quant.program import MinimumStep


def minimum_piece(context: Context, step: MinimumStep) -> Piece:
    """Return the C of a Minimum."""
    fmt = context.format(step.x)
    place, encode = ordinal(fmt), code(fmt)
    limit_type = signed_type(fmt.min_ordinal, fmt.max_ordinal)
    tokens: Tokens = (("X_T", c_type(fmt)), ("X_ORDINAL", place.name), ("X_CODE", encode.name), ("LIMIT_T", limit_type))
    kernel = Kernel("minimum", f"minimum_{fmt.name}", tokens, (TYPES, place, encode))
    limits = array(limit_type, context.label("limits"), list(step.limits))
    channels = len(step.limits)
    extent = f"{context.size(step.y) // channels}, {channels}"
    call = f"{kernel.name}({context.names[step.x]}, {context.names[step.y]}, {extent}, {context.label('limits')});"
    return Piece((kernel,), (limits.text,), (call,), limits.size_bytes)
