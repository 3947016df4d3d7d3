"""From integer steps to a design: one unit a step, links between them, and the order in which codes travel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from export.errors import ExportError
from export.rtl.lanes.lanes import Lanes
from export.rtl.stream.check import check_fold, check_request, check_results
from export.rtl.stream.device import XILINX, Device
from export.rtl.stream.folds import Fold
from export.rtl.stream.output import Output
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

    The unit indices behind the last unit are the core's outputs, in their order. Beats of `from_lanes` codes become
    beats of `to_lanes`; a queue of 2^`queue_bits` beats holds back what the source makes ahead (0: none). Of an output
    of labels `labels_of` is how many codes a frame has: they become one beat (0: codes leave as they are).
    """

    tensor: str
    source: int
    target: int
    port: int
    from_lanes: int
    to_lanes: int
    queue_bits: int = 0
    labels_of: int = 0


@dataclass(frozen=True, eq=False)
class Design:
    """A streaming core: units in the order of their steps, links, and for each tensor the order of its codes.

    `results` are the streams out of it; the first one is that of the program's output. `orders[tensor][i]` is the
    index, in C order of the tensor, of the code that travels at position i.
    `device` decides how products are made; `fifo_bits[u]` is log2 of the depth of the output FIFO of unit u; with
    `status` the core has registers that count.
    """

    program: Program
    units: tuple[Unit, ...]
    links: tuple[Link, ...]
    orders: dict[str, IntArray]
    input_lanes: int
    results: tuple[Output, ...]
    device: Device = XILINX
    fifo_bits: tuple[int, ...] = ()
    status: bool = False

    def format_bits(self, tensor: str) -> int:
        """Bits of a code of a tensor."""
        return self.program.quant(tensor).format.bits

    def inputs(self, unit: int) -> tuple[Link, ...]:
        """Return the links into a unit (or into one of the core's outputs), by port."""
        return tuple(sorted((link for link in self.links if link.target == unit), key=lambda link: link.port))

    def outputs(self, unit: int) -> tuple[Link, ...]:
        """Return the links out of a unit, or out of the core's input (-1)."""
        return tuple(link for link in self.links if link.source == unit)

    def codes(self, tensor: str) -> int:
        """Return how many codes a frame of a tensor has."""
        return prod(self.program.tensors[tensor].shape[1:])

    def beats(self, link: Link) -> int:
        """Return how many beats of a frame leave a link."""
        return self.codes(link.tensor) // (link.labels_of or link.to_lanes)

    def ends(self) -> tuple[Link, ...]:
        """Return the links into the core's outputs, in their order."""
        return tuple(link for index in range(len(self.results)) for link in self.inputs(len(self.units) + index))


def design(
    program: Program,
    folds: Mapping[str, Fold],
    input_lanes: int = 1,
    device: Device = XILINX,
    results: tuple[Output, ...] = (),
) -> Design:
    """Build the units and links of a program.

    Steps without an entry in `folds` (by step name) work on one code at a time. A step that no output depends on gets
    no unit. `results` are the core's outputs, () for the codes of the program's output alone.

    Raises:
        ExportError: a folding does not divide its layer, is of no step, or of a style its formats cannot have on the
            device; the lanes do not divide the input's channels; an output is none of the network's activations, or
            has no labels; or a step cannot stream.
    """
    check_request(program, folds, input_lanes)
    results = results or (Output(program.output),)
    check_results(program, results)
    program = _needed(program, {result.tensor for result in results})
    builder = _Builder(program, folds, _orders(program, results), results)
    for step in program.steps:
        builder.add(step)
    plan = builder.finish(input_lanes, device)
    for unit in plan.units:
        _check_style(plan, unit)
    return plan


def _needed(program: Program, wanted: set[str]) -> Program:
    """Return a program with the steps that its outputs depend on."""
    kept = []
    for step in reversed(program.steps):
        if step.y in wanted:
            wanted = wanted | set(reads(step))
            kept.append(step)
    return replace(program, steps=tuple(reversed(kept)))


def canonical(program: Program, tensor: str) -> IntArray:
    """Return the order in which an image travels: rows, columns, channels."""
    channels, height, width = image(program, tensor)
    order: IntArray = (
        np.arange(channels * height * width).reshape(channels, height, width).transpose(1, 2, 0).reshape(-1)
    )
    return order


def _orders(program: Program, results: tuple[Output, ...]) -> dict[str, IntArray]:
    """Return every tensor's order: that of images, but for vectors that only fully connected layers read."""
    seen = {result.tensor for result in results}
    orders = {program.input: canonical(program, program.input)}
    for step in program.steps:
        orders[step.y] = canonical(program, step.y)
        flat = isinstance(step, MoveStep) and isinstance(step.op, ops.Reshape)
        if flat and step.y not in seen and _only_dense(program, step.y):
            orders[step.y] = orders[reads(step)[0]]
    return orders


def _only_dense(program: Program, tensor: str) -> bool:
    """Whether all readers of a tensor are fully connected, so that the order of its codes is the weights' business."""
    readers = [step for step in program.steps if tensor in reads(step)]
    return all(
        isinstance(step, ConvStep) and image(program, tensor)[1:] == (1, 1) and step.op.groups == 1 for step in readers
    )


class _Builder:
    """Collects units and, for every tensor, where its codes come from."""

    def __init__(
        self,
        program: Program,
        folds: Mapping[str, Fold],
        orders: dict[str, IntArray],
        results: tuple[Output, ...],
    ):
        self.program, self.folds, self.orders, self.results = program, folds, orders, results
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
        check_fold(self.program, step, fold)
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
        links = [self._link(*wanted, input_lanes) for wanted in self.wanted]
        busiest = max((unit.cycles for unit in self.units), default=0)
        for index, result in enumerate(self.results):
            links.append(self._end(result, index, busiest, input_lanes))
        return Design(self.program, tuple(self.units), tuple(links), self.orders, input_lanes, self.results, device)

    def _link(self, tensor: str, unit: int, port: int, lanes: int, input_lanes: int) -> Link:
        source = self.sources[tensor]
        return Link(tensor, source, unit, port, self._lanes(source, input_lanes), lanes)

    def _end(self, result: Output, index: int, busiest: int, input_lanes: int) -> Link:
        """Link an output: the first one is a code a beat, further ones as wide as the slowest unit needs them.

        Where there are several, each keeps a frame, so that none waits for another one: a label needs no more than its
        own register, codes have a queue.
        """
        link = self._link(result.tensor, len(self.units) + index, 0, 1, input_lanes)
        codes = prod(self.program.tensors[result.tensor].shape[1:])
        if result.labels:
            return replace(link, labels_of=codes)
        if len(self.results) > 1:
            link = replace(link, queue_bits=max(1, (codes // link.from_lanes - 1).bit_length()))
        if index == 0:
            return link
        enough = (n for n in divisors(link.from_lanes) if codes // n <= busiest)
        return replace(link, to_lanes=next(enough, link.from_lanes))

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


def with_depths(plan: Design, fifo_bits: tuple[int, ...], queue_bits: Mapping[tuple[int, int], int]) -> Design:
    """Return a design with the depths of its FIFOs, and of queues by (target unit, port); others stay."""
    links = tuple(
        replace(link, queue_bits=queue_bits.get((link.target, link.port), link.queue_bits)) for link in plan.links
    )
    return replace(plan, links=links, fifo_bits=fifo_bits)
