"""When every beat of a streaming core moves, without simulating it.

All waiting in the core is for a beat that is not there yet or for room that is not free yet, so each event's clock is
the latest of some other events' clocks plus constants: equations of a timed event graph in the (max, +) algebra
(F. Baccelli et al., "Synchronization and Linearity", 1992). Their least solution is found by passing over all equations
until nothing moves. It is what the simulation counts, clock for clock, when neither side of the core waits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.errors import ExportError
from export.rtl.stream.emit import conversions
from export.rtl.stream.plan import Design, Link
from export.rtl.stream.units import Elementwise, Layer, Rearrange
from quant.formats import IntArray

#: Before everything.
_NEVER = -(1 << 40)
_MAX_PASSES = 4000


@dataclass(frozen=True, eq=False)
class Schedule:
    """Clocks of a core fed without gaps, whose outputs never wait; clock 0 takes the first beat.

    `latency` is from the first beat in to the last beat of the first output of the first frame, both included;
    `interval` is between the ends of frames, the larger of the last two: some cores alternate between two that differ
    by a clock. `latencies` are those of every output. `waiting[(target, port)]` is how many beats a queue before that
    port holds at most.
    """

    latency: int
    interval: int
    latencies: tuple[int, ...]
    waiting: dict[tuple[int, int], int]


def _scan(lower: IntArray, gap: int = 1) -> IntArray:
    """Return the least x with x[i] >= lower[i] and x[i] >= x[i-1] + gap."""
    steps = np.arange(len(lower)) * gap
    result: IntArray = np.maximum.accumulate(lower - steps) + steps
    return result


def _after(times: IntArray, index: IntArray, plus: int) -> IntArray:
    """Return times[index] + plus, and nothing to wait for where the index is negative."""
    result: IntArray = np.where(index >= 0, times[np.clip(index, 0, len(times) - 1)] + plus, _NEVER)
    return result


@dataclass(eq=False)
class _Stage:
    """A converter or queue: when beats enter and leave, and when the next could enter or leave at the earliest."""

    kind: str
    ratio: int
    taken: IntArray
    given: IntArray
    read: IntArray

    def ready(self) -> IntArray:
        """Earliest clock at which each beat may enter."""
        i = np.arange(len(self.taken))
        match self.kind:
            case "queue":
                return _after(self.read, i - self.ratio, 1)
            case "narrow":
                return _after(self.given, i * self.ratio - 1, 0)
            case _:  # "widen", and "label", which makes one beat of many, too
                return np.where(i % self.ratio == 0, _after(self.given, i // self.ratio - 1, 0), _NEVER)

    def offered(self) -> IntArray:
        """Earliest clock at which each beat may leave."""
        j = np.arange(len(self.given))
        offered: IntArray
        match self.kind:
            case "queue":
                before = np.concatenate(([_NEVER], self.given[:-1]))
                self.read = _scan(np.maximum(self.taken + 1, before))
                offered = self.read + 1
            case "narrow":
                offered = self.taken[j // self.ratio] + 1
            case _:
                offered = self.taken[j * self.ratio + self.ratio - 1] + 1
        return offered


class _Model:
    """The equations of one design for some frames."""

    def __init__(self, plan: Design, latencies: tuple[int, ...], frames: int, unlimited: bool):
        self.plan, self.latencies, self.frames, self.unlimited = plan, latencies, frames, unlimited
        self.pushed = {-1: np.arange(self._beats(plan.program.input, plan.input_lanes))}
        self.popped = {-1: np.zeros_like(self.pushed[-1])}
        for index, unit in enumerate(plan.units):
            lanes = plan.outputs(index)[0].from_lanes
            count = self._beats(unit.step.y, lanes)
            self.pushed[index] = self.popped[index] = np.full(count, _NEVER)
        self.stages = {(link.target, link.port): self._stages(link) for link in plan.links}
        self.ends = {key: self._empty(link) for link in plan.links for key in [(link.target, link.port)]}
        self.starts: dict[int, IntArray] = {}

    def _beats(self, tensor: str, lanes: int) -> int:
        return self.plan.codes(tensor) // lanes * self.frames

    def _empty(self, link: Link) -> IntArray:
        return np.full(self.plan.beats(link) * self.frames, _NEVER)

    def _stages(self, link: Link) -> list[_Stage]:
        lanes, stages = link.from_lanes, []
        if link.queue_bits or (self.unlimited and has_queue(self.plan, link)):
            depth = 1 << (40 if self.unlimited else link.queue_bits)
            stages.append(("queue", depth, lanes, lanes))
        for kind, ratio, after in conversions(link):
            stages.append((kind, ratio, lanes, after))
            lanes = after
        return [_Stage(kind, ratio, *self._times(link, before, after)) for kind, ratio, before, after in stages]

    def _times(self, link: Link, before: int, after: int) -> tuple[IntArray, IntArray, IntArray]:
        """Return clocks for the beats in, out, and out of the memory of a stage."""
        taken, given = (np.full(self._beats(link.tensor, lanes), _NEVER) for lanes in (before, after))
        return taken, given, taken

    def solve(self) -> None:
        """Pass over all units until no clock changes."""
        for _ in range(_MAX_PASSES):
            before = self._snapshot()
            self._leave(-1)
            for index in range(len(self.plan.units)):
                self._work(index)
                self._leave(index)
            if all(np.array_equal(a, b) for a, b in zip(before, self._snapshot(), strict=True)):
                return
        raise ExportError(f"fpga: the schedule of '{self.plan.program.name}' does not settle; its FIFOs deadlock.")

    def _snapshot(self) -> list[IntArray]:
        return [*self.popped.values(), *self.ends.values(), *self.starts.values()]

    def _leave(self, source: int) -> None:
        """Move the beats of a unit through its fork and the stages behind it."""
        links = self.plan.outputs(source)
        offered = self.pushed[source] + (0 if source < 0 else 1)
        ready = [self._ready(link) for link in links]
        self.popped[source] = _scan(np.maximum.reduce([offered, *ready]))
        for link in links:
            self._through(link, self.popped[source])

    def _ready(self, link: Link) -> IntArray:
        stages = self.stages[link.target, link.port]
        return stages[0].ready() if stages else self._accepts(link)

    def _through(self, link: Link, times: IntArray) -> None:
        key = (link.target, link.port)
        stages = self.stages[key]
        for number, stage in enumerate(stages):
            stage.taken = times
            after = stages[number + 1].ready() if number + 1 < len(stages) else self._accepts(link)
            times = stage.given = _scan(np.maximum(stage.offered(), after))
        self.ends[key] = times

    def _offer(self, link: Link) -> IntArray:
        """Earliest clocks at which a link's beats are valid at the unit that reads it."""
        stages = self.stages[link.target, link.port]
        return stages[-1].offered() if stages else self.pushed[link.source] + (0 if link.source < 0 else 1)

    def _accepts(self, link: Link) -> IntArray:
        """Earliest clocks at which the reader of a link takes each beat."""
        if link.target >= len(self.plan.units):
            return self._sink(link)
        unit = self.plan.units[link.target]
        match unit:
            case Layer():
                return self._rows_free(link.target, unit)
            case Elementwise():
                return self._pair(link, unit)
            case Rearrange():
                return self._half_free(link, unit)

    def _sink(self, link: Link) -> IntArray:
        """The last beat of a frame waits until the whole frame came in."""
        count, beats = self.plan.beats(link), len(self.popped[-1]) // self.frames
        accepts = np.full(count * self.frames, _NEVER)
        accepts[count - 1 :: count] = self.popped[-1][beats - 1 :: beats] + 1
        return accepts

    def _rows_free(self, index: int, unit: Layer) -> IntArray:
        walk = unit.walk
        words = np.arange(walk.height * walk.row_words * self.frames)
        row = words // walk.row_words - unit.rows
        if index not in self.starts:
            return np.full(len(words), _NEVER)
        frame_freed = np.repeat(np.arange(walk.out[0]), walk.freed())
        per_row = walk.out[1] * walk.groups
        last = (row // walk.height * walk.out[0] + frame_freed[row % walk.height] + 1) * per_row - 1
        return _after(self.starts[index], np.where(row >= 0, last, -1), walk.terms - 1 + 2)

    def _credit(self, index: int, cost: int) -> IntArray:
        groups = np.arange(len(self.popped[index]) // cost)
        depth = 1 << self.plan.fifo_bits[index]
        return _after(self.popped[index], (groups + 1) * cost - depth - 1, 1)

    def _pair(self, link: Link, unit: Elementwise) -> IntArray:
        if not unit.vector or link.port == 0:
            return np.maximum(self._credit(link.target, 1), self._partner(link, unit))
        beats = np.arange(self._beats(link.tensor, link.to_lanes))
        return _after(self.ends[link.target, 0], beats // unit.vector * unit.beats - 1, 1)

    def _partner(self, link: Link, unit: Elementwise) -> IntArray:
        """Earliest clocks at which what goes with each beat is there: the other input's beat, or its whole vector."""
        if unit.vector:
            beats = np.arange(self._beats(link.tensor, link.to_lanes))
            return _after(self.ends[link.target, 1], (beats // unit.beats + 1) * unit.vector - 1, 1)
        others = [other for other in self.plan.inputs(link.target) if other.port != link.port]
        never = np.full(len(self.ends[link.target, link.port]), _NEVER)
        times: IntArray = np.maximum.reduce([never, *map(self._offer, others)])
        return times

    def _half_free(self, link: Link, unit: Rearrange) -> IntArray:
        beats = np.arange(self._beats(link.tensor, 1))
        frame = beats // unit.sizes[link.port] - 2
        if link.target not in self.starts:
            return np.full(len(beats), _NEVER)
        return _after(self.starts[link.target], np.where(frame >= 0, (frame + 1) * len(unit.order) - 1, -1), 4)

    def _work(self, index: int) -> None:
        """Start the groups of a unit, and push what they make."""
        unit, latency = self.plan.units[index], self.latencies[index]
        match unit:
            case Layer():
                self._windows(index, unit, latency)
            case Elementwise():
                self.pushed[index] = self.ends[index, 0] + latency
            case Rearrange():
                whole = [
                    np.repeat(self.ends[index, port][size - 1 :: size] + 1, len(unit.order))
                    for port, size in enumerate(unit.sizes)
                ]
                self.starts[index] = _scan(np.maximum.reduce([self._credit(index, 1), *whole]))
                self.pushed[index] = self.starts[index] + latency

    def _windows(self, index: int, unit: Layer, latency: int) -> None:
        walk = unit.walk
        there = self.ends[index, 0][walk.row_words - 1 :: walk.row_words] + 1
        last = np.array(walk.bases()[:-1]) + np.array(walk.needed()) - 1
        rows = np.concatenate([there[np.clip(last + frame * walk.height, 0, None)] for frame in range(self.frames)])
        rows = np.where(np.tile(np.array(walk.needed()) > 0, self.frames), rows, _NEVER)
        lower = np.maximum(np.repeat(rows, walk.out[1] * walk.groups), self._credit(index, unit.beats_per_group))
        self.starts[index] = _scan(np.maximum(lower, 0), walk.terms)
        beats = np.arange(unit.beats_per_group)
        self.pushed[index] = (self.starts[index][:, None] + (walk.terms - 1 + latency) + beats).reshape(-1)

    def is_queued(self, link: Link) -> bool:
        """Whether a link begins with a queue."""
        stages = self.stages[link.target, link.port]
        return bool(stages) and stages[0].kind == "queue"

    def waiting(self, link: Link) -> int:
        """Return the most beats at a port that wait for their partners."""
        unit = self.plan.units[link.target]
        assert isinstance(unit, Elementwise)
        taken = self.stages[link.target, link.port][0].taken
        if unit.vector and link.port == 1:
            return 1
        ratio = len(taken) // len(self.ends[link.target, link.port]) or 1
        partner = np.repeat(self._partner(link, unit), ratio)[: len(taken)]
        return int(np.max(np.arange(1, len(taken) + 1) - np.searchsorted(partner, taken, side="left")))


def has_queue(plan: Design, link: Link) -> bool:
    """Whether a link needs a queue: beats of one input of a unit that takes pairs wait for those of the other."""
    return isinstance(plan.units[link.target] if link.target < len(plan.units) else None, Elementwise) and (
        len(plan.inputs(link.target)) > 1
    )


def schedule(plan: Design, latencies: tuple[int, ...], frames: int = 3, *, unlimited: bool = False) -> Schedule:
    """Return the clocks of a core, from the latencies of its units (`UnitFiles.latency`).

    With `unlimited` the queues have no end, so that `waiting` tells how deep they must be.

    Raises:
        ExportError: the design waits for itself for ever.
    """
    model = _Model(plan, latencies, frames, unlimited)
    model.solve()
    ends = [model.ends[link.target, 0][plan.beats(link) - 1 :: plan.beats(link)] for link in plan.ends()]
    queues = [link for link in plan.links if has_queue(plan, link)]
    waiting = {(link.target, link.port): model.waiting(link) for link in queues if model.is_queued(link)}
    interval = int(np.diff(ends[0])[-2:].max()) if frames > 1 else 0
    latencies = tuple(int(end[0]) + 1 for end in ends)
    return Schedule(latencies[0], interval, latencies, waiting)


def bottleneck(plan: Design) -> int:
    """Return the clocks a frame takes in the slowest place: a unit, or a stream that carries one beat a clock."""
    beats = [plan.codes(link.tensor) // min(link.from_lanes, link.to_lanes) for link in plan.links]
    return max(*(unit.cycles for unit in plan.units), *beats)
