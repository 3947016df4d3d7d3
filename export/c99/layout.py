"""How tensors lie in C memory: rows, columns, channels (NHWC) for images, C order for everything else."""

from __future__ import annotations

import math

import numpy as np

from quant.formats import Array, Format


def c_type(fmt: Format) -> str:
    """Return the C type that stores one code of a format."""
    return f"{fmt.dtype.name}_t"


def image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return height, width and channels of a tensor; tensors that are no images become one that keeps their order."""
    if len(shape) == 4:
        return shape[2], shape[3], shape[1]
    if len(shape) == 2:
        return 1, 1, shape[1]
    rows = shape[1] if len(shape) == 3 else 1
    return rows, math.prod(shape[1:]) // max(rows, 1), 1


def size(shape: tuple[int, ...]) -> int:
    """Return the number of elements of one sample."""
    return math.prod(shape[1:])


def same_order(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    """Whether a reshape between two shapes leaves every element where it is in C memory."""
    a, b = image(first), image(second)
    return a == b or all(channels == 1 or height * width == 1 for height, width, channels in (a, b))


def to_c(codes: Array) -> Array:
    """Turn codes in graph layout [N, ...] into C memory order (contiguous)."""
    ordered = codes.transpose(0, 2, 3, 1) if codes.ndim == 4 else codes
    return np.ascontiguousarray(ordered)


def from_c(flat: Array, shape: tuple[int, ...]) -> Array:
    """Turn codes in C memory order, [N, size], into graph layout [N, *shape[1:]]."""
    if len(shape) != 4:
        return flat.reshape(-1, *shape[1:])
    height, width, channels = image(shape)
    return np.ascontiguousarray(flat.reshape(-1, height, width, channels).transpose(0, 3, 1, 2))
