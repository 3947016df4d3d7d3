"""What inputs of a bundle with rules cost on a board: whole ones by the part after which they stop, and parts alone."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

import numpy as np

from devices.board import Board
from devices.boards import BOARDS, find_board
from devices.dynamic_record import METRICS, BoardCosts
from devices.emulators.joint import open_joint
from devices.emulators.machine import Machine, open_part
from devices.errors import DeviceError
from devices.measurement import Measurement
from devices.runtimes import find_machine, missing
from devices.stops import costs_by_stop
from export.bundle_read import Bundle, BundlePart
from export.dynamic import Answers, stops
from export.runtimes import c_host
from export.runtimes.c_joint import nanoseconds_on_host
from quant.formats import Array

#: Test vectors of each part whose cost alone is taken.
ALONE = 2
#: Times are the least of so many means of so many inferences of one input.
REPEATS, LOOPS = 5, 50


def boards() -> tuple[Board, ...]:
    """Return the boards on which the parts of a bundle run as one program."""
    return tuple(board for board in BOARDS if board.runtime == c_host.RUNTIME.name or find_machine(board) is not None)


def measure_costs(bundle: Bundle, name: str, codes: Array, answers: Answers) -> BoardCosts:
    """Run inputs through a bundle's parts as one program, and each part on its own.

    Args:
        bundle: with rules, for target arm-m.
        name: of the board: emulated ones count instructions, this machine takes time.
        codes: inputs, graph layout, [N, ...].
        answers: what the definition says of these very inputs.

    Raises:
        DeviceError: the board does not run such programs or not here, or the program answers otherwise.
        ExportError: the bundle has no such program.
    """
    board = find_board(name)
    if board not in boards():
        able = ", ".join(known.name for known in boards())
        raise DeviceError(
            f"board '{name}' does not run the parts of a bundle as one program; {able} do (target arm-m)."
        )
    reason = missing(board)
    if reason:
        raise DeviceError(f"board '{name}' cannot be used here: {reason}.")
    machine = find_machine(board)
    return _timed(bundle, board, codes, answers) if machine is None else _counted(bundle, machine, codes, answers)


def _counted(bundle: Bundle, machine: Machine, codes: Array, answers: Answers) -> BoardCosts:
    with open_joint(machine, bundle) as session:
        found = session.counted(codes)
    _check(bundle, machine.name, answers, found.part, found.label)
    source = f"instructions counted in {machine.emulator.name}; flags {' '.join(machine.flags)}"
    alone = [_alone_count(part, machine) for part in bundle.parts]
    return _costs(bundle, machine.name, "instructions", source, (alone, answers, found.instructions))


def _alone_count(part: BundlePart, machine: Machine) -> float:
    """Return the instructions of a part alone, mean over test vectors."""
    opened = open_part(machine, part.folder, part.stem, part.graph)
    try:
        return float(statistics.mean(opened.instructions(part.inputs[:ALONE])))
    finally:
        opened.close()


def _timed(bundle: Bundle, board: Board, codes: Array, answers: Answers) -> BoardCosts:
    told = c_host.RUNTIME.joint
    assert told is not None
    found = told(bundle, codes)
    _check(bundle, board.name, answers, found.part, found.label)
    seconds = [1e-9 * value for value in nanoseconds_on_host(bundle, codes, LOOPS, REPEATS)]
    alone = [_alone_s(part) for part in bundle.parts]
    source = f"wall clock of generated C on this machine, least of {REPEATS} means of {LOOPS} inferences"
    return _costs(bundle, board.name, "seconds", source, (alone, answers, np.array(seconds)))


def _alone_s(part: BundlePart) -> float:
    """Return the seconds of a part alone, mean over test vectors."""
    opened = c_host.CHostSession(part.folder, part.stem, part.graph)
    try:
        chosen = [part.inputs[i : i + 1] for i in range(ALONE)]
        least = (min(opened.nanoseconds(codes, LOOPS) for _ in range(REPEATS)) for codes in chosen)
        return 1e-9 * statistics.mean(least)
    finally:
        opened.close()


def _check(bundle: Bundle, board: str, answers: Answers, part: Array, label: Array) -> None:
    wrong = int(((answers.part != part) | (answers.label != label)).sum())
    if wrong:
        raise DeviceError(
            f"{board}: as one program the parts of {bundle.path} answer {wrong} of {len(part)} inputs otherwise than "
            "they are defined; their costs mean nothing. See edgemill verify."
        )


def _costs(
    bundle: Bundle, board: str, metric: str, source: str, found: tuple[Sequence[float], Answers, Array]
) -> BoardCosts:
    alone, answers, costs = found
    names = [part.name for part in bundle.parts]
    return BoardCosts(
        board=board,
        metric=metric,
        source=source,
        alone=tuple(float(value) for value in alone),
        stops=costs_by_stop(names, stops(answers), costs),
        ran=tuple(float(share) for share in answers.ran.mean(axis=1)),
    )


def kept_costs(bundle: Bundle, measurements: Sequence[Measurement]) -> tuple[BoardCosts, ...]:
    """Return costs of parts alone from measurements of this bundle: latency, instructions, energy, by board.

    Raises:
        DeviceError: none of them is of this bundle.
    """
    own = [item for item in measurements if item.bundle == bundle.digest]
    if not own:
        raise DeviceError(f"no measurement is of the bundle {bundle.path} ({bundle.digest[:12]}); profile it first.")
    names, found = [part.name for part in bundle.parts], []
    for board in dict.fromkeys(item.board for item in own):
        here = {item.part: item for item in own if item.board == board}
        for metric in METRICS:
            alone = tuple(_median(here[name], metric) if name in here else None for name in names)
            if any(value is not None for value in alone):
                source = next(iter(here.values())).source
                found.append(BoardCosts(board, metric, f"parts alone: {source}", alone, (), ()))
    return tuple(found)


def _median(item: Measurement, metric: str) -> float | None:
    """Return the median of one inference."""
    if metric == "seconds":
        return statistics.median(item.samples_s) / item.samples_per_query if item.samples_s else None
    samples = item.instructions if metric == "instructions" else item.energy_j
    return float(statistics.median(samples)) if samples else None
