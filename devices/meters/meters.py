"""The meters: one function each that makes one, and the visible tuple of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from devices.errors import DeviceError
from devices.meters import ina, nvml, rapl, scpi, supply
from devices.meters.joulescope import Joulescope
from devices.meters.lpm01a import Lpm01a
from devices.meters.meter import ROOT, Meter, Probe
from devices.meters.ppk2 import Ppk2
from devices.meters.replay import Replay
from devices.meters.tegrastats import Tegrastats
from quant.names import find


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of meter.

    Attributes:
        name: what a person types.
        summary: one line for lists.
        argument: what may follow the name and a colon, in words.
        make: makes one, from the root of the file system and the argument.
        alone: whether it sees what this machine draws, and is used when nobody names a meter.
    """

    name: str
    summary: str
    argument: str
    make: Callable[[Path, str], Meter]
    alone: bool = False


METERS = (
    Kind("ina3221", "rails of a Jetson", "rails to add up", ina.ina3221, alone=True),
    Kind("ina2xx", "INA219, INA226 and the like", "rails to add up", ina.ina2xx, alone=True),
    Kind("rapl", "counters of the processor", "zones to add up", rapl.rapl, alone=True),
    Kind("tegrastats", "rails of a Jetson as NVIDIA prints them", "rails to add up", lambda _, text: Tegrastats(text)),
    Kind("power-supply", "USB-C supply or battery", "its name", supply.supply),
    Kind("nvml", "an NVIDIA GPU", "its number", lambda _, text: nvml.nvml(text)),
    Kind("scpi", "bench instrument", "VISA address[@backend]", lambda _, text: scpi.scpi(text)),
    Kind("lpm01a", "ST LPM01A", "port,voltage[,rate]", lambda _, text: Lpm01a(text)),
    Kind("joulescope", "Joulescope JS110 or JS220", "", lambda _, __: Joulescope()),
    Kind("ppk2", "Nordic PPK2", "port,millivolts", lambda _, text: Ppk2(text)),
    Kind("replay", "a recorded trace", "file", lambda _, text: Replay(text)),
)


def find_meter(text: str, root: Path = ROOT) -> Meter:
    """Return the meter that `NAME[:ARGUMENT]` says.

    Raises:
        DeviceError: the name is unknown; the message has the nearest known one.
    """
    name, _, argument = text.partition(":")
    return find(name, METERS, "meter", DeviceError).make(root, argument)


def probe(root: Path = ROOT) -> tuple[Probe, ...]:
    """Look for every kind of meter; those that need an argument say what it is."""
    return tuple(kind.make(root, "").probe() for kind in METERS)


def own_meter(root: Path = ROOT) -> Meter | None:
    """Return the first meter that sees what this machine draws and answers, or None."""
    made = (kind.make(root, "") for kind in METERS if kind.alone)
    return next((meter for meter in made if meter.probe().available), None)


def energy_reason(root: Path = ROOT) -> str:
    """Say why a measurement on this machine holds no energy where nobody named a meter."""
    probes = [kind.make(root, "").probe() for kind in METERS if kind.alone]
    found = [p for p in probes if p.available]
    if found:
        return f"{found[0].name} is there ({found[0].detail}), but was not read during this run"
    return "no meter on this machine: " + "; ".join(f"{p.name}: {p.detail}" for p in probes)
