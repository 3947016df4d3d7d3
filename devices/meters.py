"""Where energy could come from on this machine. This version looks for meters and says what it found; it reads none.

An energy figure that is not there is None with the reason from here, never 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path("/")


@dataclass(frozen=True, slots=True)
class Probe:
    """One kind of meter: whether it is there, and what was seen where."""

    name: str
    available: bool
    detail: str


def probe(root: Path = ROOT) -> tuple[Probe, ...]:
    """Look for every kind of meter under a root directory."""
    return (_rapl(root), _hwmon(root))


def energy_reason(root: Path = ROOT) -> str:
    """Say why a measurement on this machine holds no energy."""
    probes = probe(root)
    found = [p for p in probes if p.available]
    if found:
        return f"{found[0].detail}, but this version does not read meters during a run"
    return "no meter on this machine: " + "; ".join(p.detail for p in probes)


def _rapl(root: Path) -> Probe:
    folder = root / "sys/class/powercap"
    counters = sorted(folder.glob("intel-rapl:*/energy_uj"))
    if not counters:
        return Probe("rapl", False, f"/{folder.relative_to(root)} has no energy counter")
    readable = [counter for counter in counters if _reads_number(counter)]
    if not readable:
        return Probe("rapl", False, f"/{counters[0].relative_to(root)} cannot be read (it needs root)")
    return Probe("rapl", True, f"/{readable[0].relative_to(root)} counts energy")


def _hwmon(root: Path) -> Probe:
    folder = root / "sys/class/hwmon"
    patterns = ("*/power*_input", "*/energy*_input", "*/curr*_input")
    rails = sorted(path for pattern in patterns for path in folder.glob(pattern))
    readable = [rail for rail in rails if _reads_number(rail)]
    if not readable:
        return Probe("hwmon", False, f"/{folder.relative_to(root)} has no power sensor")
    return Probe("hwmon", True, f"/{readable[0].relative_to(root)} senses power")


def _reads_number(path: Path) -> bool:
    try:
        int(path.read_text().strip())
    except (OSError, ValueError):
        return False
    return True
