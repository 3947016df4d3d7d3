"""Binary numbers, -1 and +1, one bit each, and their convolution by XNOR and popcount: exact, integers only.

A bit is 1 for +1. The sign of 0 (and of -0.0) is +1. For n pairs of signs

    sum a_i * w_i = n - 2 * popcount(a xor w).

Padding with zeros is a third value that one bit cannot hold: taps outside the image are left out of n and of the count.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from quant.errors import QuantError
from quant.formats import Array

WORD_BITS = 64
#: What may surround an image: nothing (a zero adds nothing), or a sign.
PAD_VALUES = (0, 1, -1)
_M1, _M2, _M4 = (np.uint64(mask) for mask in (0x5555555555555555, 0x3333333333333333, 0x0F0F0F0F0F0F0F0F))
_ONES, _TOP = np.uint64(0x0101010101010101), np.uint64(56)


@dataclass(frozen=True, slots=True, eq=False)
class BinaryWeight:
    """Signs of shape [out, in, kernel rows, kernel columns] at one bit each.

    `bits` is uint8 [ceil(count / 8)]: C order, the first sign in the highest bit, unused bits 0.
    """

    shape: tuple[int, int, int, int]
    bits: Array

    @property
    def terms(self) -> int:
        """Products in one sum without padding: in * rows * columns."""
        return prod(self.shape[1:])


def bits_of(x: Array, what: str) -> Array:
    """Return the sign bits (bool, same shape) of real or integer values.

    Raises:
        QuantError: a value is NaN, which has no sign.
    """
    if np.isnan(x).any():
        raise QuantError(f"{what} holds NaN, which has no sign; a binary layer needs numbers.")
    bits: Array = x >= 0
    return bits


def store(signs: Array) -> BinaryWeight:
    """Pack weights [out, in, rows, columns]: values from 0 on count as +1."""
    if signs.ndim != 4 or 0 in signs.shape:
        raise QuantError(f"binary weights have shape {signs.shape}; [out, in, rows, columns] without zeros is needed.")
    out, channels, rows, columns = signs.shape
    return BinaryWeight((out, channels, rows, columns), np.packbits(bits_of(signs, "binary weight")))


def check_weight(weight: BinaryWeight) -> BinaryWeight:
    """Return the weight.

    Raises:
        QuantError: shape and bytes do not belong together, or an unused bit is set.
    """
    if len(weight.shape) != 4 or min(weight.shape) < 1:
        raise QuantError(f"binary weights have shape {weight.shape}; [out, in, rows, columns] is needed, none below 1.")
    count = prod(weight.shape)
    if weight.bits.dtype != np.uint8 or weight.bits.shape != (-(-count // 8),):
        raise QuantError(
            f"{count} binary weights {weight.shape} take uint8 [{-(-count // 8)}], not {weight.bits.dtype} "
            f"{list(weight.bits.shape)}."
        )
    if np.unpackbits(weight.bits)[count:].any():
        raise QuantError(f"binary weights {weight.shape}: a bit behind the last weight is set.")
    return weight


def signs(weight: BinaryWeight) -> Array:
    """Return the weights as int8 -1 and +1, [out, in, rows, columns]."""
    bits = np.unpackbits(weight.bits, count=prod(weight.shape)).reshape(weight.shape)
    values: Array = bits.astype(np.int8) * 2 - 1
    return values


def to_words(bits: Array) -> Array:
    """Pack bool [N, channels, H, W] along the channels: uint64 [N, H, W, ceil(channels / 64)], unused bits 0."""
    packed = np.packbits(np.moveaxis(bits, 1, -1), axis=-1)
    missing = -packed.shape[-1] % (WORD_BITS // 8)
    packed = np.pad(packed, ((0, 0), (0, 0), (0, 0), (0, missing)))
    words: Array = np.ascontiguousarray(packed).view(np.uint64)
    return words


def popcount(words: Array) -> Array:
    """Count the 1 bits of every uint64 (int64, same shape), by adding neighbours in parallel."""
    x = words - ((words >> np.uint64(1)) & _M1)
    x = (x & _M2) + ((x >> np.uint64(2)) & _M2)
    x = (x + (x >> np.uint64(4))) & _M4
    return ((x * _ONES) >> _TOP).astype(np.int64)  # type: ignore[no-any-return]


def output_size(
    image: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int], pads: tuple[int, int, int, int]
) -> tuple[int, int]:
    """Return rows and columns of a convolution's output; pads are top, left, bottom, right.

    Raises:
        QuantError: the kernel does not fit into the padded image, or a stride or pad has no meaning.
    """
    top, left, bottom, right = pads
    padded = image[0] + top + bottom, image[1] + left + right
    if min(strides) < 1 or min(pads) < 0 or padded[0] < kernel[0] or padded[1] < kernel[1]:
        raise QuantError(
            f"no convolution with kernel {kernel}, strides {strides} and pads {pads} on an image {image}: strides are "
            "at least 1, pads at least 0, and the kernel fits into the padded image."
        )
    return (padded[0] - kernel[0]) // strides[0] + 1, (padded[1] - kernel[1]) // strides[1] + 1


def binary_conv(
    bits: Array,
    weight: BinaryWeight,
    strides: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    pad_value: int = 0,
) -> Array:
    """Convolve signs with binary weights.

    Args:
        bits: bool [N, in, H, W], True for +1.
        weight: signs [out, in, rows, columns].
        strides: rows, columns.
        pads: top, left, bottom, right.
        pad_value: what surrounds the image: 0, +1 or -1.

    Returns:
        The exact sums, int32 [N, out, H', W'].

    Raises:
        QuantError: shapes that do not belong together, or another pad value.
    """
    out, channels, rows, columns = weight.shape
    if bits.dtype != np.bool_ or bits.ndim != 4 or bits.shape[1] != channels:
        raise QuantError(
            f"binary weights {weight.shape} need bool [N, {channels}, H, W], not {bits.dtype} {bits.shape}."
        )
    if pad_value not in PAD_VALUES:
        raise QuantError(f"pad value {pad_value} is no sign; allowed are {', '.join(map(str, PAD_VALUES))}.")
    height, width = output_size((bits.shape[2], bits.shape[3]), (rows, columns), strides, pads)
    around = ((pads[0], pads[2]), (pads[1], pads[3]))
    image = to_words(np.pad(bits, ((0, 0), (0, 0), *around), constant_values=pad_value > 0))
    counts = np.pad(np.ones(bits.shape[2:], np.int64), around, constant_values=abs(pad_value))
    kernel = to_words(signs(weight) > 0)
    terms = np.zeros((height, width), np.int64)
    differ = np.zeros((len(bits), height, width, out), np.int64)
    for row in range(rows):
        for column in range(columns):
            seen = (_every(row, strides[0], height), _every(column, strides[1], width))
            unlike = popcount(image[:, *seen, None, :] ^ kernel[:, row, column]).sum(axis=-1)
            differ += unlike * counts[*seen, None]
            terms += channels * counts[seen]
    sums: Array = np.moveaxis(terms[..., None] - 2 * differ, -1, 1).astype(np.int32)
    return sums


def _every(first: int, stride: int, count: int) -> slice:
    return slice(first, first + stride * (count - 1) + 1, stride)
