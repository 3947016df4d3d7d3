"""Random foldings of a network for streaming cores: any that divides each layer, in any style its formats allow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from export.errors import ExportError
from export.rtl.decode import stream_bits
from export.rtl.lanes.lanes import Lanes
from export.rtl.stream.device import Device
from export.rtl.stream.folds import STYLES, Fold
from export.rtl.stream.units import divisors, fold_choices, image, is_apart
from quant.program import Program
from quant.steps import ConvStep, MoveStep, Step, reads

#: Products at once in one layer, at most, so that a simulation builds in seconds.
MAX_PRODUCTS = 24
#: Bits of a beat of the input, at most.
MAX_BEAT = 64


def random_folds(program: Program, device: Device, seed: int) -> tuple[dict[str, Fold], int]:
    """Return a fold for every step by name, and the lanes of the input."""
    rng = np.random.default_rng(seed)
    folds = {step.name: _fold(program, step, device, rng) for step in program.steps if not isinstance(step, MoveStep)}
    bits = stream_bits(program.quant(program.input).format)
    lanes = [n for n in divisors(image(program, program.input)[0]) if n * bits <= MAX_BEAT]
    return folds, int(rng.choice(lanes))


def _fold(program: Program, step: Step, device: Device, rng: np.random.Generator) -> Fold:
    channels = image(program, reads(step)[0])[0]
    if not isinstance(step, ConvStep) and not is_apart(step, channels):
        return Fold(int(rng.choice(divisors(channels))))
    small = [fold for fold in fold_choices(program, step) if fold.pe * fold.simd <= MAX_PRODUCTS]  # type: ignore[arg-type]
    fold = small[int(rng.integers(len(small)))]
    if not isinstance(step, ConvStep):
        return fold
    styles = [style for style in STYLES if _possible(program, step, fold.simd, style, device)]
    return replace(fold, style=str(rng.choice(styles)))


def _possible(program: Program, step: ConvStep, simd: int, style: str, device: Device) -> bool:
    try:
        Lanes(step.weight_format, program.quant(step.x).format, simd, style, device.family)
    except ExportError:
        return False
    return True
