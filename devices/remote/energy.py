"""Energy on a remote board: its runner reads the rails' files while it measures, and the records become a recording."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from devices.conversation import Log
from devices.errors import DeviceError
from devices.found import Found
from devices.metering import energy_of_run
from devices.meters import ina, rails
from devices.meters.energy import Energy
from devices.meters.polled import Polled
from devices.meters.rails import Rail
from devices.meters.sampler import Sampled, Source
from devices.remote.pack import Channel

#: Marks around the phase in which the board rests.
IDLE = ("idle-begin", "idle-end")
#: Meters that are files on the board.
METERS = (("ina3221", ina.ina3221, rails.ina3221_rails), ("ina2xx", ina.ina2xx, rails.ina2xx_rails))


@dataclass(frozen=True, eq=False)
class Wired:
    """A meter on a board, found on a copy of the board's files.

    Attributes:
        meter: its name.
        source: what the meter says of itself.
        rails: its rails, in the order of the source's channels.
        root: where the board keeps /sys, without a slash at the end.
    """

    meter: str
    source: Source
    rails: tuple[Rail, ...]
    root: str

    @property
    def channels(self) -> tuple[Channel, ...]:
        """The files to read, rail by rail."""
        return tuple(
            Channel(_name(number, file), f"{self.root}/{path}")
            for number, rail in enumerate(self.rails)
            for file, path in enumerate(rail.paths)
        )


def wire(text: str, tree: Path, root: str) -> Wired:
    """Find a meter on a copy of a board's files.

    Args:
        text: `ina3221` or `ina2xx`, and after a colon the rails to add up.
        tree: the copy.
        root: where the board itself keeps these files.

    Raises:
        DeviceError: the meter is not there, or does not answer.
    """
    name, _, wanted = text.partition(":")
    for known, meter, list_rails in METERS:
        if known == name:
            made = meter(tree, wanted)
            if not isinstance(made, Polled):
                raise DeviceError(f"meter '{name}' has no files to read")
            with made.open() as source:
                source.read()
            return Wired(name, source, list_rails(tree), root)
    raise DeviceError(f"meter '{name}' cannot be read on a remote board; known: {', '.join(m[0] for m in METERS)}.")


def energy(wired: Wired, log: Log, found: Found) -> Energy:
    """Return the energy of a run's windows.

    Raises:
        DeviceError: the board gave no readings, or as `energy_of`.
    """
    recording = Sampled(wired.source)
    by_time: dict[int, dict[str, float]] = {}
    for record in log.of("sensor"):
        for t_ns, value in zip(record["t_ns"], record["values"], strict=True):
            by_time.setdefault(t_ns, {})[record["name"]] = value
    for t_ns in sorted(by_time):
        recording.times_ns.append(t_ns)
        recording.rows.append(tuple(_power_w(n, rail, by_time[t_ns]) for n, rail in enumerate(wired.rails)))
    if any(math.isnan(value) for row in recording.rows for value in row):
        recording.trouble = "a sensor could not be read at times"
    marks = {record["name"]: record["t_ns"] / 1e9 for record in log.of("mark")}
    idle = (marks[IDLE[0]], marks[IDLE[1]]) if set(IDLE) <= set(marks) else None
    return energy_of_run(recording, wired.meter, found, idle)


def _name(number: int, file: int) -> str:
    return f"rail{number}.{file}"


def _power_w(number: int, rail: Rail, values: dict[str, float]) -> float:
    read = [values.get(_name(number, file)) for file in range(len(rail.paths))]
    known = tuple(value for value in read if value is not None)
    return rail.power_w(known) if len(known) == len(read) else float("nan")
