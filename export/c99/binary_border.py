"""Windows of binary convolutions that meet zeros around an image: what their sums lack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.c99.binary_plan import Stage
from export.errors import ExportError
from quant.binary import signs
from quant.formats import Array

#: Corrections are stored in 16 bits.
MAX_TERMS = (1 << 15) - 1


@dataclass(frozen=True, eq=False)
class Border:
    """Kinds of output rows and columns by the taps that lie inside, 0 being all of them, and what sums lack.

    `added` is int16 [row kinds * column kinds - 1, out], all pairs of kinds but the first, which lacks nothing.
    """

    row_kind: list[int]
    column_kind: list[int]
    column_kinds: int
    added: Array


def border_of(stage: Stage) -> Border | None:
    """Return what to add to sums whose patches hold -1 in place of zeros, or None where no window meets zeros.

    A tap outside adds -w to such a sum, where it should add nothing: so w is added again.

    Raises:
        ExportError: a sum has more terms than 16 bits hold.
    """
    layer = stage.layer
    _, _, rows, columns = layer.weight.shape
    row_taps = _inside(stage.given[1], rows, layer.strides[0], layer.pads[0], stage.made[1])
    column_taps = _inside(stage.given[2], columns, layer.strides[1], layer.pads[1], stage.made[2])
    if layer.pad_value != 0 or (row_taps.all() and column_taps.all()):
        return None
    if layer.weight.terms > MAX_TERMS:
        raise ExportError(
            f"arm-m: binary layer '{layer.name}' has sums of {layer.weight.terms} terms; with zeros around the image "
            f"at most {MAX_TERMS} are possible. Pad with a sign, or use fewer channels."
        )
    row_kinds, row_kind = _kinds(row_taps)
    column_kinds, column_kind = _kinds(column_taps)
    taps = signs(layer.weight).astype(np.int64).sum(axis=1)
    outside = 1 - row_kinds[:, None, :, None] * column_kinds[None, :, None, :]
    added = np.einsum("rcyx,oyx->rco", outside, taps).reshape(-1, len(taps))[1:].astype(np.int16)
    return Border(row_kind, column_kind, len(column_kinds), added)


def _inside(size: int, kernel: int, stride: int, before: int, made: int) -> Array:
    """Return which taps of each output lie inside the image, int64 [made, kernel]."""
    places = np.arange(made)[:, None] * stride - before + np.arange(kernel)
    inside: Array = ((places >= 0) & (places < size)).astype(np.int64)
    return inside


def _kinds(taps: Array) -> tuple[Array, list[int]]:
    """Return the different rows of `taps`, all taps first even if no output has them, and which one each output has."""
    whole = (1,) * taps.shape[1]
    kinds = list(dict.fromkeys([whole, *map(tuple, taps.tolist())]))
    return np.array(kinds), [kinds.index(tuple(row)) for row in taps.tolist()]
