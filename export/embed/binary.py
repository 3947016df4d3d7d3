"""Pre-processing of a binary network as C: raw bytes to float32 inputs by table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.c99.header import c_float
from export.c99.numbers import wrapped
from export.embed.preprocess import RAW_CODES
from export.embed.template import filled
from export.preprocess import Preprocess
from quant.formats import Array


def value_table(preprocess: Preprocess) -> Array:
    """Return the input of every raw byte, float32 [channels, 256], as `Preprocess.apply` gives it."""
    one = replace(preprocess, height=1, width=1, resize=None)
    raw = np.arange(RAW_CODES, dtype=np.uint8).view(preprocess.raw)
    images = np.broadcast_to(raw[:, None, None, None], (RAW_CODES, one.channels, 1, 1))
    return np.ascontiguousarray(one.apply(images)[:, :, 0, 0].T)


def binary_preprocess_files(preprocess: Preprocess, name: str) -> dict[str, str]:
    """Return NAME_preprocess.h and NAME_preprocess.c by name, or nothing where raw values are floats already."""
    if preprocess.raw == "float32":
        return {}
    table = value_table(preprocess)
    rows = np.unique(table, axis=0)
    shared = table if len(rows) > 1 else rows
    body = ",\n".join("    {\n" + wrapped(c_float(float(v)) for v in row) + "\n    }" for row in shared)
    words = {"RAW_T": f"{preprocess.raw}_t", "TABLES": len(shared), "VALUES": body, "SCALE": f"{preprocess.scale:.9g}"}
    return {f"{name}_preprocess.{end}": filled(f"binary_preprocess.{end}", name, words) for end in ("h", "c")}
