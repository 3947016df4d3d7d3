"""How many blocks of multipliers the pipes of a unit take: those of the pipes that are generated, one lane of each.

They depend on a step and its constants alone, not on how it is folded, and are kept between the foldings of a search.
"""

from __future__ import annotations

from functools import lru_cache

from export.rtl.bounds import signed_bits
from export.rtl.stream.layer import acc_max, starts_of
from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.divide import divide
from export.rtl.stream.pipes.elementwise import elementwise
from export.rtl.stream.pipes.requant import requant
from export.rtl.stream.plan import Design
from export.rtl.stream.units import Elementary, Elementwise, Layer
from quant.formats import Format
from quant.steps import AveragePoolStep, ConvStep, MaxPoolStep, MeanStep, reads

_KEPT = 512


def multipliers(plan: Design, unit: Layer | Elementwise) -> int:
    """Return the multipliers of one lane of what finishes a layer, or of an elementwise step, on a design's device."""
    tile, step = plan.device.wide_bits, unit.step
    if isinstance(unit, Elementwise):
        names = (*reads(step), step.y)
        return _elementwise(unit.step, tuple((name, plan.program.quant(name).format) for name in names), tile)
    match unit.step:
        case ConvStep():
            return _layer(unit.step, tile)
        case MaxPoolStep():
            return 0
        case MeanStep():
            return _mean(unit.step, unit.walk.terms, acc_max(plan, unit), tile)
        case AveragePoolStep():
            fmt = plan.program.quant(step.y).format
            return _pool(unit.step, fmt, unit.walk.terms, acc_max(plan, unit), unit.walk.counts(), tile)


@lru_cache(_KEPT)
def _layer(step: ConvStep, tile: int) -> int:
    starts = starts_of(step)
    acc = signed_bits(-step.acc_max, step.acc_max)
    return requant("p", step.requant, starts, acc, 1, len(starts), step.acc_max, tile).multipliers


@lru_cache(_KEPT)
def _mean(step: MeanStep, terms: int, most: int, tile: int) -> int:
    start = -step.x_zero * terms
    return requant("p", step.requant, (start,), signed_bits(-most, most), 1, 1, most, tile).multipliers


@lru_cache(_KEPT)
def _pool(step: AveragePoolStep, fmt: Format, terms: int, most: int, counts: tuple[int, ...], tile: int) -> int:
    acc = signed_bits(-most, most)
    return divide("p", fmt, step.multipliers, terms, acc, 1, most, counts, tile).multipliers


@lru_cache(_KEPT)
def _elementwise(step: Elementary, formats: tuple[tuple[str, Format], ...], tile: int) -> int:
    made: Pipe = elementwise("p", step, dict(formats), 1, tile=tile)
    return made.multipliers
