"""Labels as C: their texts, the greatest output, and how clear the decision is."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from export.c99.header import c_float
from export.embed.template import c_string, filled
from export.target import Source
from quant.formats import Format
from quant.graph import Quant
from quant.reference import dequantise


def labels_files(source: Source) -> dict[str, str]:
    """Return NAME_labels.h and NAME_labels.c by name, or nothing for a part whose outputs have no labels."""
    if not source.labels:
        return {}
    name, quant = source.stem, source.graph.quant(source.graph.output)
    words = {
        "COUNT": len(source.labels),
        "SOFTMAX": int(source.postprocess == "softmax"),
        "LABELS": ",\n".join(f"    {c_string(label)}" for label in source.labels),
        "ORDINAL": _ordinal(quant, name),
        "VALUE": _value(quant, name),
    }
    return {f"{name}_labels.{end}": filled(f"labels.{end}", name, words) for end in ("h", "c")}


def _ordinal(quant: Quant, name: str) -> str:
    """A function from a code to a number that orders codes as `Format.to_ordinals` does."""
    if not quant.format.is_minifloat:
        return filled("ordinal_integer.c", name, {})
    words = {"SIGN_BIT": 1 << (quant.format.bits - 1), "VALUES": _wrapped(_values(quant))}
    return filled("ordinal_minifloat.c", name, words)


def _value(quant: Quant, name: str) -> str:
    if quant.format.is_minifloat:
        return f"values[code & {(1 << quant.format.bits) - 1}]"
    upper = name.upper()
    return f"(float)(code - {upper}_OUTPUT_ZERO) * {upper}_OUTPUT_SCALE"


def _values(quant: Quant) -> Iterable[float]:
    """The float32 value of every bit pattern of a minifloat; the reserved ones are no numbers and stand as 0."""
    return (_value_of(quant, quant.format, code) for code in range(1 << quant.format.bits))


def _value_of(quant: Quant, fmt: Format, code: int) -> float:
    if code & ((1 << (fmt.bits - 1)) - 1) > fmt.max_ordinal:
        return 0.0
    return float(dequantise(quant, np.array(code, fmt.dtype)))


def _wrapped(values: Iterable[float]) -> str:
    texts = [c_float(value) for value in values]
    return ",\n".join("    " + ", ".join(texts[at : at + 8]) for at in range(0, len(texts), 8))
