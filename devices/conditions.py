"""The state of this machine, read from files under a root that tests replace."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path

from devices.measurement import Conditions

ROOT = Path("/")
_GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"


@dataclass(frozen=True, slots=True)
class Before:
    """What was read before a run."""

    load: float


def before(root: Path = ROOT) -> Before:
    """Read the load before a run."""
    return Before(_load(root))


def after(earlier: Before, root: Path = ROOT) -> Conditions:
    """Read the rest after a run."""
    governor = _first_line(root / _GOVERNOR)
    return Conditions(
        cpu_model=cpu_model(root),
        cores=len(os.sched_getaffinity(0)),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        load_before=earlier.load,
        load_after=_load(root),
        governor=governor,
        governor_reason=None if governor else f"/{_GOVERNOR} does not exist (usual on virtual machines)",
    )


def cpu_model(root: Path = ROOT) -> str:
    """Return the processor's name as the system gives it, or `unknown`."""
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "unknown"
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    found = {key.strip(): value.strip() for key, value in reversed(list(pairs))}
    return next((found[key] for key in ("model name", "Model", "Hardware", "CPU part") if found.get(key)), "unknown")


def _load(root: Path) -> float:
    line = _first_line(root / "proc/loadavg")
    try:
        return float(line.split()[0]) if line else 0.0
    except ValueError:
        return 0.0


def _first_line(path: Path) -> str | None:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return None
    return lines[0].strip() if lines and lines[0].strip() else None
