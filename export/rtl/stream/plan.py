"""From integer steps to a design: one unit a step, links between them, and the order in which codes travel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from export.errors import ExportError
from export.rtl.lanes.lanes import Lanes
from export.rtl.stream.device import XILINX, Device
from export.rtl.stream.folds import STYLES, Fold
from export.rtl.stream.units import (
    Elementary,
    Elementwise,
    Layer,
    Rearrange,
    Unit,
    Windowed,
    divisors,
    image,
    is_apart,
    walk_of,
)
from quant import operators as ops
from quant.formats import IntArray
from quant.program import Program
from quant.steps import AveragePoolStep, ConvStep, MoveStep, MulStep, Step, reads


@dataclass(frozen=True, slots=True)
class Link:
    """A stream from the output of unit `source` (-1: the core's input) to input `port` of unit `target`.

    The unit index behind the last unit is the core's output. Beats of `from_lanes` codes become beats of `to_lanes`;
    a queue of 2^`queue_bits` beats holds back what the source makes ahead (0: none).
    """

    tensor: str
    source: int
    target: int
    port: int
    from_lanes: int
    to_lanes: int
    queue_bits: int = 0


@dataclass(frozen=True, eq=False)
class Design:
    """A streaming core: units in the order of their steps, links, and for each tensor the order of its codes.

    `orders[tensor][i]` is the index, in C order of the tensor, of the code that travels at position i.
    `device` decides how products are made; `fifo_bits[u]` is log2 of the depth of the output FIFO of unit u.
    """

    program: Program
    units: tuple[Unit, ...]
    links: tuple[Link, ...]
    orders: dict[str, IntArray]
    input_lanes: int
    device: Device = XILINX
    fifo_bits: tuple[int, ...] = ()

    def format_bits(self, tensor: str) -> int:
        """Bits of a code of a tensor."""
        return self.program.quant(tensor).format.bits

    def inputs(self, unit: int) -> tuple[Link, ...]:
        """Return the links into a unit (or into the core's output), by port."""
        return tuple(sorted((link for link in self.links if link.target == unit), key=lambda link: link.port))

    def outputs(self, unit: int) -> tuple[Link, ...]:
        """Return the links out of a unit, or out of the core's input (-1)."""
        return tuple(link for link in self.links if link.source == unit)

    def codes(self, tensor: str) -> int:
        """Return how many codes a frame of a tensor has."""
        return prod(self.program.tensors[tensor].shape[1:])


def design(program: Program, folds: Mapping[str, Fold], input_lanes: int = 1, device: Device = XILINX) -> Design:
    """Build the units and links of a program.

    Steps without an entry in `folds` (by step name) work on one code at a time. A step that the output does not depend
    on gets no unit.

    Raises:
        ExportError: a folding does not divide its layer, is of no step, or of a style its formats cannot have on the
            device; the lanes do not divide the input's channels; or a step cannot stream.
    """
    _check_request(program, folds, input_lanes)
    program = _needed(program)
    builder = _Builder(program, folds, _orders(program))
    for step in program.steps:
        builder.add(step)
    plan = builder.finish(input_lanes, device)
    for unit in plan.units:
        _check_style(plan, unit)
    return plan


def _needed(program: Program) -> Program:
    """Return a program with the steps that its output depends on."""
    wanted, kept = {program.output}, []
    for step in reversed(program.steps):
        if step.y in wanted:
            wanted |= set(reads(step))
            kept.append(step)
    return replace(program, steps=tuple(reversed(kept)))


def canonical(program: Program, tensor: str) -> IntArray:
    """Return the order in which an image travels: rows, columns, channels."""
    channels, height, width = image(program, tensor)
    order: IntArray = (
        np.arange(channels * height * width).reshape(channels, height, width).transpose(1, 2, 0).reshape(-1)
    )
    return order


def _orders(program: Program) -> dict[str, IntArray]:
    """Return every tensor's order: that of images, but for vectors that only fully connected layers read."""
    orders = {program.input: canonical(program, program.input)}
    for step in program.steps:
        orders[step.y] = canonical(program, step.y)
        if isinstance(step, MoveStep) and isinstance(step.op, ops.Reshape) and _only_dense(program, step.y):
            orders[step.y] = orders[step.xs[0]]
    return orders


def _only_dense(program: Program, tensor: str) -> bool:
    """Whether all readers of a tensor are fully connected, so that the order of its codes is the weights' business."""
    readers = [step for step in program.steps if tensor in reads(step)]
    return tensor != program.output and all(
        isinstance(step, ConvStep) and image(program, tensor)[1:] == (1, 1) and step.op.groups == 1 for step in readers
    )


class _Builder:
    """Collects units and, for every tensor, where its codes come from."""

    def __init__(self, program: Program, folds: Mapping[str, Fold], orders: dict[str, IntArray]):
        self.program, self.folds, self.orders = program, folds, orders
        self.units: list[Unit] = []
        self.sources: dict[str, int] = {program.input: -1}
        self.wanted: list[tuple[str, int, int, int]] = []

    def add(self, step: Step) -> None:
        """Add the unit of a step."""
        if isinstance(step, MoveStep):
            self._move(step)
        elif isinstance(step, Windowed):
            self._layer(step)
        else:
            self._elementwise(step)

    def _channels(self, step: Step) -> int:
        return image(self.program, reads(step)[0])[0]

    def _append(self, unit: Unit, inputs: tuple[tuple[str, int], ...]) -> None:
        index = len(self.units)
        self.units.append(unit)
        self.wanted += [(tensor, index, port, lanes) for port, (tensor, lanes) in enumerate(inputs)]
        self.sources[unit.step.y] = index

    def _layer(self, step: Windowed) -> None:
        fold = self.folds.get(step.name, Fold())
        _check_fold(self.program, step, fold)
        walk = walk_of(self.program, step, fold)
        if isinstance(step, AveragePoolStep) and walk.counts()[0] == 0:
            raise ExportError(f"fpga: step '{step.name}' has a window that lies wholly in the padding.")
        unit = Layer(step, walk, fold, is_apart(step, self._channels(step)), walk.rows())
        self._append(unit, ((step.x, unit.in_lanes),))

    def _elementwise(self, step: Elementary) -> None:
        tensors = reads(step)
        channels, height, width = image(self.program, tensors[0])
        lanes = self.folds.get(step.name, Fold()).pe
        if channels % lanes:
            raise ExportError(f"fpga: step '{step.name}' has {channels} channels, which {lanes} lanes do not divide.")
        beats = channels // lanes * height * width
        vector = 0
        if isinstance(step, MulStep) and image(self.program, tensors[1]) != (channels, height, width):
            vector = channels // lanes
        self._append(Elementwise(step, lanes, beats, vector), tuple((x, lanes) for x in tensors))

    def _move(self, step: MoveStep) -> None:
        if isinstance(step.op, ops.Reshape) and np.array_equal(self.orders[step.y], self.orders[step.xs[0]]):
            self.sources[step.y] = self.sources[step.xs[0]]
            return
        sizes = tuple(prod(self.program.tensors[x].shape[1:]) for x in step.xs)
        self._append(Rearrange(step, self._positions(step), sizes), tuple((x, 1) for x in step.xs))

    def _positions(self, step: MoveStep) -> tuple[int, ...]:
        """Return for each output code in stream order its position in the inputs' streams, -1 for the fill."""
        starts, first = [], 0
        for x in step.xs:
            place = np.empty(len(self.orders[x]), dtype=np.int64)
            place[self.orders[x]] = np.arange(len(place)) + first
            first += len(place)
            starts.append(place.reshape(1, *self.program.tensors[x].shape[1:]))
        moved = _moved(step, starts, self.program.tensors[step.y].shape)
        return tuple(int(v) for v in moved.reshape(-1)[self.orders[step.y]])

    def finish(self, input_lanes: int, device: Device) -> Design:
        """Link what reads a tensor to what makes it."""
        self.wanted.append((self.program.output, len(self.units), 0, 1))
        links = [
            Link(tensor, self.sources[tensor], unit, port, self._lanes(self.sources[tensor], input_lanes), lanes)
            for tensor, unit, port, lanes in self.wanted
        ]
        return Design(self.program, tuple(self.units), tuple(links), self.orders, input_lanes, device)

    def _lanes(self, source: int, input_lanes: int) -> int:
        if source < 0:
            return input_lanes
        unit = self.units[source]
        match unit:
            case Layer():
                return unit.out_lanes
            case Elementwise():
                return unit.lanes
            case Rearrange():
                return 1


def _moved(step: MoveStep, places: list[IntArray], shape: tuple[int, ...]) -> IntArray:
    match step.op:
        case ops.Pad():
            widths = list(zip(step.op.before, step.op.after, strict=True))
            return np.pad(places[0], widths, constant_values=-1)
        case ops.Slice():
            parts = zip(step.op.starts[1:], step.op.ends[1:], step.op.steps[1:], strict=True)
            return places[0][(slice(None), *(slice(a, b, c) for a, b, c in parts))]
        case ops.Concat():
            return np.concatenate(places, axis=step.op.axis)
        case ops.Reshape():
            return places[0].reshape(1, *shape[1:])


def _check_request(program: Program, folds: Mapping[str, Fold], input_lanes: int) -> None:
    names = [step.name for step in program.steps if not isinstance(step, MoveStep)]
    for name, fold in folds.items():
        if name not in names:
            raise ExportError(
                f"fpga: '{name}' has a fold, but no step to fold is called so. There are {_quoted(names)}."
            )
        if min(fold.pe, fold.simd) < 1 or fold.style not in STYLES:
            raise ExportError(
                f"fpga: step '{name}' cannot be folded with pe {fold.pe}, simd {fold.simd} and style '{fold.style}'. "
                f"Both numbers must be at least 1, and styles are {', '.join(STYLES)}."
            )
    channels = image(program, program.input)[0]
    if input_lanes not in divisors(channels):
        raise ExportError(
            f"fpga: {input_lanes} input lanes do not divide the {channels} channels of input '{program.input}'. "
            f"Allowed are {divisors(channels)}."
        )


def _quoted(names: list[str], most: int = 12) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(f"'{name}'" for name in names[:most]) + more


def _check_style(plan: Design, unit: Unit) -> None:
    """Check that a layer's products can be made as its fold says.

    Raises:
        ExportError: they cannot, with the step and what can be done.
    """
    if not isinstance(unit, Layer) or not isinstance(unit.step, ConvStep):
        return
    weight, activation = unit.step.weight_format, plan.program.quant(unit.step.x).format
    try:
        Lanes(weight, activation, unit.fold.simd, product_style(unit), plan.device.family)
    except ExportError as error:
        raise ExportError(f"fpga: step '{unit.step.name}': {error}") from error


def product_style(unit: Layer) -> str:
    """Return how products are made: two in a block need an even number of outputs that share what they read."""
    if unit.fold.style == "dsp_pair" and (unit.apart or unit.fold.pe % 2):
        return "dsp"
    return unit.fold.style


def _check_fold(program: Program, step: Step, fold: Fold) -> None:
    tensor = reads(step)[0]
    channels = image(program, tensor)[0]
    if is_apart(step, channels):
        possible = channels % fold.pe == 0 and fold.simd == 1
        allowed = f"pe: a divisor of {channels} {divisors(channels)}; simd: 1"
    else:
        assert isinstance(step, ConvStep)
        out, depth = step.weight.shape[0] // step.op.groups, step.weight.shape[1]
        possible = out % fold.pe == 0 and depth % fold.simd == 0
        allowed = f"pe: one of {divisors(out)}; simd: one of {divisors(depth)}"
    if not possible:
        raise ExportError(
            f"fpga: step '{step.name}' cannot be folded with pe {fold.pe} and simd {fold.simd}. Allowed are {allowed}."
        )


def with_depths(plan: Design, fifo_bits: tuple[int, ...], queue_bits: Mapping[tuple[int, int], int]) -> Design:
    """Return a design with the depths of its FIFOs, and of queues by (target unit, port)."""
    links = tuple(replace(link, queue_bits=queue_bits.get((link.target, link.port), 0)) for link in plan.links)
    return replace(plan, links=links, fifo_bits=fifo_bits)
