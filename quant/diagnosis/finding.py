"""A cause that was found in a layer, and the numbers that say so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from quant.diagnosis.facts import Facts

#: Which part of a layer a cause spoils.
PARTS = ("weights", "activation", "layer", "input")


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause in one layer. `bits`: about how many bits of resolution it costs there, None where unknown."""

    layer: str
    cause: str
    part: str
    evidence: str
    numbers: Mapping[str, float]
    advice: str
    bits: float | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a cause's function returns when the cause is there."""

    text: str
    numbers: Mapping[str, float]
    bits: float | None = None


@dataclass(frozen=True, slots=True)
class Cause:
    """A reason for lost accuracy.

    `find` is a pure function of the facts of one layer, asked when the `part` of the layer matters for the logits.
    `always`: asked in any case, since the float network suffers too. `advice`: what a person can do.
    """

    name: str
    title: str
    part: str
    find: Callable[[Facts], Evidence | None]
    advice: str
    always: bool = False
