"""How much of a layer works at once: the values a user may choose."""

from __future__ import annotations

from dataclasses import dataclass

#: How products are made: of look-up tables, one DSP block each, or two in one DSP block.
STYLES = ("lut", "dsp", "dsp_pair")


@dataclass(frozen=True, slots=True)
class Fold:
    """How much of a layer works at once: `pe` outputs and `simd` products of each, with multipliers of a `style`.

    Layers that treat channels apart use `pe` channels at once and `simd` 1.
    """

    pe: int = 1
    simd: int = 1
    style: str = "lut"
