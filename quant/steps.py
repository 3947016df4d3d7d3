"""Integer steps as plain data: what `quant.program.lower` makes, the reference executes and exporters print.

Steps that hold numpy arrays compare by identity.
"""

from __future__ import annotations

from dataclasses import dataclass

from quant import operators as ops
from quant.fixedpoint import Multiplier
from quant.formats import Array, Format, IntArray


@dataclass(frozen=True, slots=True)
class Requant:
    """Accumulator to codes: multiply, round on the grid of `format`, add `zero`, clamp ordinals to [low, high].

    `multipliers` has one entry, or one per output channel. Integer formats use the Q31 rule, minifloats the wide
    rule of `quant.fixedpoint`.
    """

    format: Format
    multipliers: tuple[Multiplier, ...]
    zero: int
    low: int
    high: int


@dataclass(frozen=True, slots=True, eq=False)
class ConvStep:
    """Convolution or (as a 1x1 convolution of a 1x1 image) a fully connected layer.

    acc[o] = bias[o] + sum((x - x_zero) * weight[o]) in units; padding adds nothing. `acc_max` bounds |acc|
    from the actual weights. `codes` are the weights as stored, in `weight_format`; `weight` is decoded to units.
    """

    name: str
    x: str
    y: str
    op: ops.Conv
    codes: Array
    weight: IntArray
    weight_format: Format
    bias: IntArray
    x_zero: int
    requant: Requant
    acc_max: int


@dataclass(frozen=True, slots=True)
class AddStep:
    """TFLite's quantised ADD: both addends shifted left by `left_shift`, scaled by `scales`, summed, requantised."""

    name: str
    xs: tuple[str, str]
    y: str
    zeros: tuple[int, int]
    left_shift: int
    scales: tuple[Multiplier, Multiplier]
    requant: Requant


@dataclass(frozen=True, slots=True)
class WideAddStep:
    """Sum towards a minifloat: acc = (x1 - z1) * weights[0] + (x2 - z2) * weights[1], then the wide rule."""

    name: str
    xs: tuple[str, str]
    y: str
    zeros: tuple[int, int]
    weights: tuple[int, int]
    requant: Requant


@dataclass(frozen=True, slots=True)
class MulStep:
    """Product: acc = (x1 - z1) * (x2 - z2), requantised. Where shapes differ the second holds one value per channel."""

    name: str
    xs: tuple[str, str]
    y: str
    zeros: tuple[int, int]
    requant: Requant


@dataclass(frozen=True, slots=True)
class TableStep:
    """A function of every code: the ordinal of y is `entries[pattern]`, the pattern being the code's low bits.

    `off` is how many steps an entry differs at most from the real function rounded once (TFLite's own arithmetic).
    """

    name: str
    x: str
    y: str
    entries: tuple[int, ...]
    off: int


@dataclass(frozen=True, slots=True)
class MeanStep:
    """Mean over height and width: the sum of (x - x_zero), requantised with 1/(H*W) inside the multiplier."""

    name: str
    x: str
    y: str
    x_zero: int
    requant: Requant


@dataclass(frozen=True, slots=True)
class RequantizeStep:
    """(x - x_zero) requantised: another scale, zero point or format, or a clamp on its own."""

    name: str
    x: str
    y: str
    x_zero: int
    requant: Requant


@dataclass(frozen=True, slots=True)
class MaxPoolStep:
    """Largest ordinal of each window; padding never wins."""

    name: str
    x: str
    y: str
    op: ops.MaxPool


@dataclass(frozen=True, slots=True)
class AveragePoolStep:
    """Mean of each window over the positions inside the image.

    Integers: sum of codes / count, halves away from zero. Minifloats: the sum in units through the wide rule with
    the multiplier of that count, `multipliers[count - 1]`; empty for integers.
    """

    name: str
    x: str
    y: str
    op: ops.AveragePool
    multipliers: tuple[Multiplier, ...]


@dataclass(frozen=True, slots=True)
class MoveStep:
    """Pad (with `fill`, the code of zero), Slice, Concat or Reshape of codes."""

    name: str
    xs: tuple[str, ...]
    y: str
    op: ops.Pad | ops.Slice | ops.Concat | ops.Reshape
    fill: int


@dataclass(frozen=True, slots=True)
class MinimumStep:
    """The smaller of each ordinal and its channel's (axis 1) entry of `limits`."""

    name: str
    x: str
    y: str
    limits: tuple[int, ...]


Step = (
    ConvStep
    | AddStep
    | WideAddStep
    | MulStep
    | TableStep
    | MeanStep
    | RequantizeStep
    | MaxPoolStep
    | AveragePoolStep
    | MinimumStep
    | MoveStep
)


def reads(step: Step) -> tuple[str, ...]:
    """Return the activations a step reads."""
    return step.xs if isinstance(step, AddStep | WideAddStep | MulStep | MoveStep) else (step.x,)
