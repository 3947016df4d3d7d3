"""Between graph layout (NCHW, codes of the graph's format) and file layout (NHWC, int8 or int16)."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant.formats import Array, Format
from quant.graph import Quant

#: Axis order that turns NCHW into NHWC, and back.
TO_FILE = (0, 2, 3, 1)
TO_GRAPH = (0, 3, 1, 2)
#: An unsigned code minus this is the int8 code of the same value.
UNSIGNED_OFFSET = 128


def offset(fmt: Format) -> int:
    """Return what is subtracted from codes and zero points of `fmt` in the file: 128 for uint8, else 0."""
    return 0 if fmt.signed else UNSIGNED_OFFSET


def is_wide(fmt: Format) -> bool:
    """Whether codes of `fmt` are int16 in the file."""
    return fmt.bits > 8


def file_type(fmt: Format) -> str:
    """Return the name of the type that stores codes of `fmt` in the file."""
    return "INT16" if is_wide(fmt) else "INT8"


def file_dtype(fmt: Format) -> np.dtype[Any]:
    """Return the numpy dtype that stores codes of `fmt` in the file."""
    return np.dtype(np.int16 if is_wide(fmt) else np.int8)


def file_zero(quant: Quant) -> int:
    """Return the zero point of a tensor in the file."""
    return quant.zero - offset(quant.format)


def file_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape in the file: [1,C,H,W] becomes [1,H,W,C], other ranks stay."""
    return tuple(shape[axis] for axis in TO_FILE) if len(shape) == 4 else shape


def file_axis(axis: int, rank: int) -> int:
    """Return where a graph axis is in the file."""
    return TO_FILE.index(axis % rank) if rank == 4 else axis % rank


def file_order(values: tuple[int, ...]) -> tuple[int, ...]:
    """Reorder one value per graph axis to one per file axis."""
    return file_shape(values)


def to_file(codes: Array, fmt: Format) -> Array:
    """Turn codes [N, ...] in graph layout into the file's type and layout (contiguous)."""
    wide = codes.astype(np.int16) - offset(fmt)
    ordered = wide.transpose(TO_FILE) if codes.ndim == 4 else wide
    return np.ascontiguousarray(ordered, dtype=file_dtype(fmt))


def to_graph(values: Array, fmt: Format) -> Array:
    """Turn values [N, ...] in file layout into codes of `fmt` in graph layout (contiguous)."""
    wide = values.astype(np.int16) + offset(fmt)
    ordered = wide.transpose(TO_GRAPH) if values.ndim == 4 else wide
    return np.ascontiguousarray(ordered, dtype=fmt.dtype)
