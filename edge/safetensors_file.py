"""Read a `.safetensors` file: eight bytes of header length, a JSON header, then the arrays, little-endian, in C order.

The format is the one of the safetensors project; reading it here keeps weights free of pickles and of a dependency.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeError

DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "?",
}


def read_safetensors(path: Path) -> dict[str, npt.NDArray[np.generic]]:
    """Read every array.

    Raises:
        EdgeError: no such file, damaged, or a type this reader does not know; names the file and the array.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EdgeError(f"cannot read {path}: {error.strerror}.") from error
    length = int.from_bytes(data[:8], "little")
    try:
        header = json.loads(data[8 : 8 + length])
        entries = {name: entry for name, entry in header.items() if name != "__metadata__"}
        return {name: _array(name, entry, data[8 + length :]) for name, entry in entries.items()}
    except EdgeError as error:
        raise EdgeError(f"{path}: {error}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise EdgeError(f"{path} is not a readable .safetensors file: {error}.") from error


def _array(name: str, entry: Any, body: bytes) -> npt.NDArray[np.generic]:
    if entry["dtype"] not in DTYPES:
        raise EdgeError(f"array '{name}' holds {entry['dtype']}; known are {', '.join(DTYPES)}. Save it as F32.")
    dtype, shape = np.dtype(DTYPES[entry["dtype"]]), tuple(int(size) for size in entry["shape"])
    first, last = (int(place) for place in entry["data_offsets"])
    if not 0 <= first <= last <= len(body) or last - first != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"array '{name}' does not lie inside the file")
    return np.frombuffer(body[first:last], dtype).reshape(shape).copy()
