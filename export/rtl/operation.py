"""What the engine executes: one affine loop nest per operation, with the constants of its arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

from quant.fixedpoint import Multiplier
from quant.formats import Array, Format

#: The loops of an operation, outermost first: channel group, channel in it, row, column, then the terms of one output.
LEVELS = ("g", "o", "y", "x", "c", "h", "w")


@dataclass(frozen=True, slots=True)
class Loops:
    """Trip counts and read-address strides by level (`LEVELS`), and the address of the first read.

    The read address is base + sum(stride * index). It may leave the tensor where the window hangs over its edge;
    such reads are ignored.
    """

    counts: tuple[int, int, int, int, int, int, int]
    strides: tuple[int, int, int, int, int, int, int]
    base: int

    def deltas(self) -> tuple[int, ...]:
        """Return what to add to the address when each level advances and all levels inside it start again."""
        back = [stride * (count - 1) for stride, count in zip(self.strides, self.counts, strict=True)]
        return tuple(stride - sum(back[level + 1 :]) for level, stride in enumerate(self.strides))

    @property
    def terms(self) -> int:
        """Terms of one output."""
        return self.counts[4] * self.counts[5] * self.counts[6]

    @property
    def outputs(self) -> int:
        """Outputs of the operation."""
        return self.counts[0] * self.counts[1] * self.counts[2] * self.counts[3]


@dataclass(frozen=True, slots=True)
class Axis:
    """Position along an axis of the input: origin + stride * outer index + dilation * inner index, inside [0, size)."""

    origin: int
    stride: int
    dilation: int
    size: int


@dataclass(frozen=True, slots=True)
class Window:
    """The axes that a window may hang over: channel (indexed by the group loop), row, column."""

    channel: Axis
    row: Axis
    column: Axis


@dataclass(frozen=True, slots=True)
class Destination:
    """Where outputs go: `first`, then the next address, with `jump` instead of 1 whenever the group loop advances."""

    first: int
    jump: int
    last: int


@dataclass(frozen=True, slots=True)
class TableEntry:
    """Constants of one output channel (or of one window count): the accumulator's start, mantissa and exponent."""

    bias: int
    mantissa: int
    exponent: int


@dataclass(frozen=True, slots=True)
class Output:
    """The last stage: `rule` is q31, wide, divide or pick; ordinals get `zero` added and are clamped to [low, high]."""

    rule: str
    format: Format
    zero: int
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Addends:
    """TFLite's ADD: both terms shifted left, then scaled by their own Q31 multiplier."""

    left_shift: int
    scales: tuple[Multiplier, Multiplier]


@dataclass(frozen=True, eq=False, kw_only=True)
class Operation:
    """One run of the engine. Terms of an odd channel-loop index are *second* terms (only sums have them).

    `weights` are codes in reading order with `weight_format`, or None: then each term is multiplied by the first or
    second `factors`, or the second term of a `product` by the first one. `table` is indexed by channel when
    `per_channel`, by the count of terms inside when `by_count`, by the pattern of the input code when `by_code`; else
    it has one entry. `fill` is the ordinal of a `pick` without any term inside; what a `limited` one gives is at most
    the bias of its table entry. A `draft` writes what a later operation of its step reads and writes over. `acc_max`
    bounds the accumulator.
    """

    step: int
    loops: Loops
    destination: Destination
    output: Output
    formats: tuple[Format, Format]
    zeros: tuple[int, int] = (0, 0)
    window: Window | None = None
    weights: Array | None = None
    weight_format: Format | None = None
    factors: tuple[int, int] = (1, 1)
    table: tuple[TableEntry, ...] = ()
    per_channel: bool = False
    by_count: bool = False
    addends: Addends | None = None
    fill: int = 0
    limited: bool = False
    product: bool = False
    by_code: bool = False
    draft: bool = False
    acc_max: int = 0
