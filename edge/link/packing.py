"""Codes of n bits packed without gaps, and back.

Code i takes bits i*n to i*n + n-1 of the payload, counted from the least significant bit of the first byte: what a
device writes with shifts into a byte. Integers are two's complement, minifloats their bit pattern. Bits beyond the
last code are 0, so that one list of codes has one payload.
"""

from __future__ import annotations

import numpy as np

from edge.errors import EdgeError
from quant.errors import QuantError
from quant.formats import Array, Format


def packed_bytes(fmt: Format, count: int) -> int:
    """Return the bytes that `count` codes take: ceil(count * bits / 8)."""
    return -(-count * fmt.bits // 8)


def pack(fmt: Format, codes: Array) -> bytes:
    """Pack codes of any shape in C order.

    Raises:
        EdgeError: a code is none of the format's numbers.
    """
    flat = np.asarray(codes).reshape(-1)
    _check(fmt, flat)
    masked = flat.astype(np.int64) & ((1 << fmt.bits) - 1)
    bits = (masked[:, None] >> np.arange(fmt.bits)) & 1
    return np.packbits(bits.astype(np.uint8).reshape(-1), bitorder="little").tobytes()


def unpack(fmt: Format, payload: bytes, count: int) -> Array:
    """Return `count` codes of the format's dtype.

    Raises:
        EdgeError: the payload has another length, bits beyond the last code, or a code that is no number.
    """
    expected = packed_bytes(fmt, count)
    if len(payload) != expected:
        raise EdgeError(f"{count} codes of {fmt.name} take {expected} bytes; the payload has {len(payload)}.")
    bits = np.unpackbits(np.frombuffer(payload, np.uint8), bitorder="little")
    used = count * fmt.bits
    if bits[used:].any():
        raise EdgeError(f"the payload has bits beyond its {count} codes of {fmt.name}; they must be 0.")
    fields = bits[:used].reshape(count, fmt.bits).astype(np.int64) @ (np.int64(1) << np.arange(fmt.bits))
    if fmt.signed and not fmt.is_minifloat:
        fields -= (fields >> (fmt.bits - 1)) << fmt.bits
    _check(fmt, fields)
    return fields.astype(fmt.dtype)


def _check(fmt: Format, codes: Array) -> None:
    try:
        fmt.to_ordinals(codes)
    except QuantError as error:
        raise EdgeError(f"the link carries a code that is no number: {error}") from error
