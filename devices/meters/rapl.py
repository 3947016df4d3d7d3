"""RAPL: the processor's own energy counters under /sys/class/powercap, of Intel and AMD."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devices.errors import DeviceError
from devices.meters import rails, sysfs
from devices.meters.meter import ROOT, Meter, ReadText, read_text
from devices.meters.polled import Polled, open_forever
from devices.meters.sampler import REAL, Source, Timing

PERIOD_S = 0.01
#: One step of the counter is 15.3 to 61 uJ; over one period that is a power.
LSB_W = 61e-6 / PERIOD_S
#: Makers specify none; comparisons with external meters found some per cent.
GAIN = 0.05
_NEEDS = "root since CVE-2020-8694, or chmod a+r by root"
_NOTE = "RAPL holds the processor package and its memory, not the board, and everything else that runs on it"


@dataclass(frozen=True, slots=True)
class Zone:
    """One counter: its name (`package-0`, `package-0/dram`), its folder, and where it starts over, in J."""

    name: str
    folder: str
    wrap_j: float | None


def rapl(root: Path = ROOT, wanted: str = "", read: ReadText = read_text, timing: Timing = REAL) -> Meter:
    """Return the meter for the processor; `wanted` names zones to add up, separated by commas."""
    return Polled("rapl", lambda: open_forever(_source(root, wanted, read)), timing)


def zones(root: Path, read: ReadText) -> tuple[Zone, ...]:
    """Return every counter; those of a package's parts have the package's name before theirs."""
    found: dict[str, Zone] = {}
    for folder in sysfs.folders(root, "sys/class/powercap/intel-rapl:*"):
        if not sysfs.exists(root, f"{folder}/energy_uj"):
            continue
        name = sysfs.optional_line(root, f"{folder}/name", read) or Path(folder).name
        parent = found.get(folder.rpartition(":")[0])
        wrap_uj = sysfs.optional_number(root, f"{folder}/max_energy_range_uj", read)
        label = f"{parent.name}/{name}" if parent else name
        found[folder] = Zone(label, folder, wrap_uj * 1e-6 if wrap_uj else None)
    return tuple(found.values())


def total_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the zones that do not hold each other: packages and memory; cores are in a package, psys holds all."""
    packages = tuple(name for name in names if "/" not in name and not name.startswith("psys"))
    memory = tuple(name for name in names if name.endswith("/dram"))
    return (*packages, *memory) or names[:1]


def _source(root: Path, wanted: str, read: ReadText) -> Source:
    found = zones(root, read)
    if not found:
        raise DeviceError("/sys/class/powercap has no energy counter")
    names = tuple(zone.name for zone in found)
    totals = rails.chosen_names(names, wanted) if wanted else total_names(names)

    def read_all() -> tuple[float, ...]:
        return tuple(sysfs.number(root, f"{zone.folder}/energy_uj", read, needs=_NEEDS) * 1e-6 for zone in found)

    read_all()
    return Source(
        channels=names,
        read=read_all,
        totals=totals,
        period_s=PERIOD_S,
        counted=True,
        wraps_j=tuple(zone.wrap_j for zone in found),
        lsb_w=LSB_W,
        gain=GAIN,
        notes=(_NOTE,),
    )
