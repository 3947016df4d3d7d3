"""The hardware units of a streaming core as plain data: what each step of a program becomes, and how it is folded."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from export.rtl.stream.folds import Fold
from export.rtl.stream.walk import Walk
from quant.program import Program
from quant.steps import (
    AddStep,
    AveragePoolStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    MinimumStep,
    MoveStep,
    MulStep,
    RequantizeStep,
    Step,
    TableStep,
    WideAddStep,
)

#: Steps that make one code of each code or pair of codes: those that become an `Elementwise`.
Elementary = AddStep | WideAddStep | MulStep | TableStep | RequantizeStep | MinimumStep
#: Steps that have windows: those that become a `Layer`.
Windowed = ConvStep | MaxPoolStep | AveragePoolStep | MeanStep


@dataclass(frozen=True, slots=True)
class Layer:
    """A unit with windows: convolution, fully connected, pool or mean. `apart`: each output sees its own channel."""

    step: Windowed
    walk: Walk
    fold: Fold
    apart: bool
    rows: int

    @property
    def in_lanes(self) -> int:
        """Codes in a word of the line buffer."""
        return self.fold.pe if self.apart else self.fold.simd

    @property
    def out_lanes(self) -> int:
        """Codes that leave in one clock: `pe` of them over the clocks of a group."""
        if isinstance(self.step, MaxPoolStep):
            return self.fold.pe
        return next(q for q in divisors(self.fold.pe) if self.fold.pe // q <= self.walk.terms)

    @property
    def beats_per_group(self) -> int:
        """Beats that one group of outputs makes."""
        return self.fold.pe // self.out_lanes

    @property
    def cycles(self) -> int:
        """Clocks of one frame when the unit never waits: its steps, or the words of its input if those are more."""
        return max(self.walk.steps, self.walk.height * self.walk.row_words)


@dataclass(frozen=True, slots=True)
class Elementwise:
    """A unit that makes one beat of each beat (or pair of beats) of `lanes` codes; `repeat` beats use one second beat.

    `vector` is how many beats the second input has when it is used again for every pixel, else 0.
    """

    step: Elementary
    lanes: int
    beats: int
    vector: int = 0

    @property
    def cycles(self) -> int:
        """Clocks of one frame when the unit never waits."""
        return self.beats


@dataclass(frozen=True, slots=True)
class Rearrange:
    """A unit that keeps whole frames and sends their codes in another order, one at a time, with `fill` in between.

    `order` says for each output code which code of the inputs, one behind the other, it is, or -1 for `fill`.
    """

    step: MoveStep
    order: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def cycles(self) -> int:
        """Clocks of one frame when the unit never waits."""
        return max(len(self.order), *self.sizes)


Unit = Layer | Elementwise | Rearrange


def divisors(number: int) -> tuple[int, ...]:
    """Return the divisors of a positive number, ascending."""
    return tuple(d for d in range(1, number + 1) if number % d == 0)


def image(program: Program, tensor: str) -> tuple[int, int, int]:
    """Return channels, height and width of an activation; vectors are images of one pixel, rows have height 1.

    Of more than three axes all between the first and the last one are the height, so that codes travel channels
    innermost, and the axes behind in their own order.
    """
    channels, *rest = program.tensors[tensor].shape[1:]
    height, width = (prod(rest[:-1]), rest[-1]) if rest else (1, 1)
    return channels, height, width


def is_apart(step: Step, channels: int) -> bool:
    """Whether a step treats every channel on its own: pools, means, and depthwise convolutions."""
    if isinstance(step, ConvStep):
        return step.op.groups == channels and step.weight.shape[0] == channels
    return isinstance(step, MaxPoolStep | AveragePoolStep | MeanStep)


def fold_choices(program: Program, step: Windowed) -> list[Fold]:
    """Return every folding a layer can have, with the multipliers left at LUTs."""
    channels, _, _ = image(program, step.x)
    if is_apart(step, channels):
        return [Fold(pe=pe) for pe in divisors(channels)]
    assert isinstance(step, ConvStep)
    out, depth = step.weight.shape[:2]
    return [Fold(pe, simd) for pe in divisors(out // step.op.groups) for simd in divisors(depth)]


def walk_of(program: Program, step: Windowed, fold: Fold) -> Walk:
    """Return the window walk of a layer with a folding.

    Raises:
        ExportError: the folding does not divide the layer.
    """
    channels, height, width = image(program, step.x)
    if is_apart(step, channels):
        groups = channels // fold.pe
        parts = {"words": groups, "groups": groups, "groups_per_part": 1, "depth": 1}
    else:
        assert isinstance(step, ConvStep)
        out, depth = step.weight.shape[0], step.weight.shape[1] // fold.simd
        parts = {
            "words": channels // fold.simd,
            "groups": out // fold.pe,
            "groups_per_part": out // step.op.groups // fold.pe,
            "depth": depth,
        }
    kernel, strides, pads, dilations = _window(step, height, width)
    return Walk(height=height, width=width, kernel=kernel, strides=strides, pads=pads, dilations=dilations, **parts)


def _window(
    step: Windowed, height: int, width: int
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int, int, int], tuple[int, int]]:
    match step:
        case ConvStep():
            kernel = (step.weight.shape[2], step.weight.shape[3])
            return kernel, step.op.strides, step.op.pads, step.op.dilations
        case MeanStep():
            return (height, width), (height, width), (0, 0, 0, 0), (1, 1)
        case _:
            return step.op.kernel, step.op.strides, step.op.pads, (1, 1)
