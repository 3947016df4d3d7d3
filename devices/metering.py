"""A meter beside a run on this machine: record while the worker works, then integrate its windows."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from devices.board import Board
from devices.errors import DeviceError
from devices.found import Found
from devices.meters.energy import Energy, EnergyWindow, energy_of
from devices.meters.meter import Clock, Meter, Recording, raw_clock
from devices.meters.meters import find_meter, own_meter
from devices.meters.trace_file import write_trace

#: What a meter that stands beside this machine can say of boards elsewhere: nothing.
METERED = ("local",)

Sleep = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Metering:
    """Which meter to read, and for how long to record the idle machine first.

    Attributes:
        meter: `NAME[:ARGUMENT]`; empty: the machine's own, if it has one.
        idle_s: seconds; 0: no idle phase, and no net energy.
        keep: folder for whole traces with the windows as marks; None: they are not kept.
        sleep, clock: how the idle phase passes; tests replace both.
    """

    meter: str = ""
    idle_s: float = 0.0
    keep: Path | None = None
    sleep: Sleep = time.sleep
    clock: Clock = raw_clock

    def __post_init__(self) -> None:
        """Refuse an idle phase of less than nothing, and a meter that nobody knows."""
        if not self.idle_s >= 0:
            raise DeviceError(f"idle_s is {self.idle_s}; it must be 0 or more.")
        if self.meter:
            find_meter(self.meter)

    def find(self, root: Path) -> Meter | None:
        """Return the meter, None where nobody named one and the machine has none of its own."""
        return find_meter(self.meter, root) if self.meter else own_meter(root)


#: The machine's own meter, and no idle phase.
OWN_METER = Metering()


def run_metered(board: Board, root: Path, metering: Metering, run: Callable[[], Found], name: str = "run") -> Found:
    """Run something on this machine with a meter beside it; without one where there is none.

    A meter that fails never spoils the run: its reason then stands in `absent`, where the energy would be.

    Args:
        board: what runs.
        root: where /sys is read.
        metering: which meter, and where its trace is kept.
        run: does the work.
        name: what a kept trace is called.

    Raises:
        DeviceError: the name of the meter is unknown, a meter was named for a board that is not this machine, or as
            `run`.
    """
    (found,) = run_all_metered(board, root, metering, lambda: (run(),), name)
    return found


def run_all_metered(
    board: Board, root: Path, metering: Metering, run: Callable[[], tuple[Found, ...]], name: str = "turns"
) -> tuple[Found, ...]:
    """Run parts that take turns on this machine, with one recording beside them; see `run_metered`."""
    refuse_elsewhere(board, metering)
    if board.transport not in METERED:
        return run()
    meter = metering.find(root)
    return run() if meter is None else _beside(meter, metering, run, name)


def refuse_elsewhere(board: Board, metering: Metering) -> None:
    """Raise DeviceError where a meter was named for a board whose windows it cannot see."""
    if metering.meter and board.transport not in METERED:
        raise DeviceError(
            f"meter '{metering.meter}' reads this machine beside a local board; board '{board.name}' is "
            f"{board.transport}. {dict(board.absent).get('energy', 'Leave --meter out')}."
        )


def _beside(meter: Meter, metering: Metering, run: Callable[[], tuple[Found, ...]], name: str) -> tuple[Found, ...]:
    recorder = meter.record()
    try:
        recording = recorder.__enter__()
    except DeviceError as error:
        reason = str(error)
        return tuple(_without(found, meter, reason) for found in run())
    try:
        idle = _idle_phase(metering)
        done = run()
    except BaseException:
        _leave(recorder)
        raise
    trouble = _leave(recorder)
    if trouble:
        return tuple(_without(found, meter, trouble) for found in done)
    with_energy = tuple(_with_energy(found, meter, recording, idle) for found in done)
    return with_energy if metering.keep is None else _kept(with_energy, recording, metering.keep / f"{name}.trace.json")


def _with_energy(found: Found, meter: Meter, recording: Recording, idle: tuple[float, float] | None) -> Found:
    try:
        return replace(found, energy=energy_of_run(recording, meter.name, found, idle))
    except DeviceError as error:
        return _without(found, meter, str(error))


def _kept(done: tuple[Found, ...], recording: Recording, path: Path) -> tuple[Found, ...]:
    """Write the trace with the edges of all windows as marks; a note says so when that fails."""
    if not any(found.energy for found in done):
        return done
    edges = sorted({edge / 1e9 for found in done for window in found.windows_ns for edge in window})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_trace(path, replace(recording.trace(), marks_s=tuple(edges)))
    except OSError as error:
        return tuple(
            _noted(found, f"the trace could not be kept as {path}: {error.strerror or error}") for found in done
        )
    return done


def _noted(found: Found, note: str) -> Found:
    energy = found.energy
    return found if energy is None else replace(found, energy=replace(energy, notes=(*energy.notes, note)))


def _without(found: Found, meter: Meter, reason: str) -> Found:
    return replace(found, absent=(*found.absent, ("energy", f"meter {meter.name}: {reason}")))


def _leave(recorder: AbstractContextManager[Recording]) -> str | None:
    """End a recording; return why it did not end well."""
    try:
        recorder.__exit__(None, None, None)
    except DeviceError as error:
        return str(error)
    return None


def _idle_phase(metering: Metering) -> tuple[float, float] | None:
    if metering.idle_s == 0:
        return None
    begin = metering.clock()
    metering.sleep(metering.idle_s)
    return begin / 1e9, metering.clock() / 1e9


def energy_of_run(recording: Recording, meter: str, found: Found, idle: tuple[float, float] | None) -> Energy:
    """Return the energy of every window of a run.

    Args:
        recording: a recording on the clock of the run's windows.
        meter: its name.
        found: what the run gave, with its windows.
        idle: when nothing ran, in seconds.

    Raises:
        DeviceError: the run has no windows, or as `energy_of`.
    """
    if not found.windows_ns or found.latency_s is None:
        raise DeviceError("the run does not say when its windows were")
    windows: list[EnergyWindow] = [
        (begin / 1e9, end / 1e9, len(queries) * found.samples_per_query)
        for (begin, end), queries in zip(found.windows_ns, found.latency_s, strict=True)
    ]
    return energy_of(
        recording.trace(),
        tuple(windows),
        idle,
        recording.spec(),
        meter=meter,
        method=recording.method,
        rails=recording.rails(),
        notes=recording.notes,
    )
