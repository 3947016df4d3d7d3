"""Pre-processing as C: raw values to input codes by table, and an integer resize where one is declared."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.c99.layout import c_type
from export.c99.numbers import wrapped
from export.embed.template import filled
from export.preprocess import Preprocess
from export.target import Source
from quant.formats import Array
from quant.graph import Quant
from quant.reference import quantise_input

#: Every bit pattern of a raw byte.
RAW_CODES = 256


def code_table(preprocess: Preprocess, quant: Quant) -> Array:
    """Return the input code of every raw value, [channels, 256], by the bit pattern of the raw byte.

    The codes are those that `Preprocess.apply` and `quantise_input` give, so that devices repeat them without floats.

    Raises:
        QuantError: a value is NaN.
    """
    one = replace(preprocess, height=1, width=1, resize=None)
    raw = np.arange(RAW_CODES, dtype=np.uint8).view(preprocess.raw)
    images = np.broadcast_to(raw[:, None, None, None], (RAW_CODES, one.channels, 1, 1))
    codes: Array = quantise_input(quant, one.apply(images))
    return np.ascontiguousarray(codes[:, :, 0, 0].T)


def has_table(source: Source) -> bool:
    """Whether raw input of this part is bytes in the order of its input, so that a table turns them into codes."""
    given, shape = source.preprocess, source.graph.shape(source.graph.input)
    if given is None or given.raw == "float32" or not given.fits(shape):
        return False
    return given.resize is None or len(shape) == 4


def preprocess_files(source: Source) -> dict[str, str]:
    """Return NAME_preprocess.h and NAME_preprocess.c by name, or nothing where `has_table` is false."""
    given, name = source.preprocess, source.stem
    if given is None or not has_table(source):
        return {}
    quant = source.graph.quant(source.graph.input)
    table = code_table(given, quant)
    rows = np.unique(table, axis=0)
    shared = table if len(rows) > 1 else rows
    body = ",\n".join("    {\n" + wrapped(row) + "\n    }" for row in shared.tolist())
    words = {
        "RAW_T": f"{given.raw}_t",
        "CODE_T": c_type(quant.format),
        "TABLES": len(shared),
        "VALUES": body,
        "FORMULA": f"(value * {given.scale:.9g} - mean) / std, then the nearest input code",
        "RESIZE_H": _resize_text(given, name, "h"),
        "RESIZE_C": _resize_text(given, name, "c"),
    }
    return {f"{name}_preprocess.{end}": filled(f"preprocess.{end}", name, words) for end in ("h", "c")}


def _resize_text(given: Preprocess, name: str, end: str) -> str:
    if given.resize is None:
        return ""
    words = {
        "METHOD": given.resize,
        "CROP": int(given.resize.startswith("crop-")),
        "SAMPLER": filled(f"{given.resize.removeprefix('crop-')}.c", name, {}),
    }
    return filled(f"resize.{end}", name, words)
