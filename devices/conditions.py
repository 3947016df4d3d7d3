"""The state of a machine, read from files under a root: this machine's, a test's, or a device's tree fetched here."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import dataclass, replace
from pathlib import Path

from devices import clocks, sysfs, thermal
from devices.errors import DeviceError
from devices.state import Conditions

ROOT = Path("/")
_GOVERNOR = "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"
_BOOT_ID = "proc/sys/kernel/random/boot_id"
_LOAD = "proc/loadavg"
_ONLINE = "sys/devices/system/cpu/online"
_KERNEL = ("proc/sys/kernel/ostype", "proc/sys/kernel/osrelease", "proc/sys/kernel/arch")
_MODEL = "proc/device-tree/model"
NO_MODE = "no power mode of a vendor was asked for; only Jetson boards have one here (nvpmodel)"

#: Every file that is read here, relative to the root, for whoever fetches them from a device (`devices.snapshot`).
GLOBS = (_LOAD, _BOOT_ID, _ONLINE, _MODEL, "proc/cpuinfo", *_KERNEL, *clocks.GLOBS, *thermal.GLOBS)


@dataclass(frozen=True, slots=True)
class Before:
    """What was read before a run."""

    load: float | None
    boot_id: str | None
    clocks: tuple[clocks.Domain, ...]
    temperatures: dict[str, float]
    counters: dict[str, int]


def before(root: Path = ROOT) -> Before:
    """Read what changes during a run."""
    return Before(
        load=_load(root),
        boot_id=sysfs.text(root / _BOOT_ID),
        clocks=clocks.read(root),
        temperatures=thermal.temperatures(root),
        counters=thermal.counters(root),
    )


def after(earlier: Before, root: Path = ROOT) -> Conditions:
    """Read the same after a run, and what the machine is.

    Args:
        earlier: what `before` returned.
        root: where to read now; for a fetched tree this may be another folder than before.

    Raises:
        DeviceError: the machine was restarted in between, so that nothing continues what was read before.
    """
    now, governor = before(root), clocks.governor(root)
    if now.boot_id != earlier.boot_id and None not in (now.boot_id, earlier.boot_id):
        raise DeviceError(
            f"the device was restarted during the run: boot {earlier.boot_id}, then {now.boot_id}. Run it again."
        )
    domains = clocks.joined(earlier.clocks, now.clocks)
    zones = thermal.joined_temperatures(earlier.temperatures, now.temperatures)
    events = thermal.joined_counters(earlier.counters, now.counters)
    reasons = {
        "boot_id": None if now.boot_id else f"/{_BOOT_ID} cannot be read",
        "clocks": None if domains else clocks.ABSENT,
        "load": f"/{_LOAD} cannot be read" if None in (earlier.load, now.load) else None,
        "power_mode": NO_MODE,
        "temperatures": None if zones else thermal.NO_TEMPERATURE,
        "throttling": None if events else thermal.NO_COUNTER,
    }
    return Conditions(
        cpu_model=cpu_model(root),
        cores=_cores(root),
        system=_system(root),
        load_before=earlier.load,
        load_after=now.load,
        governor=governor,
        governor_reason=None if governor else f"/{_GOVERNOR} does not exist (usual on virtual machines)",
        clocks=domains,
        temperatures=zones,
        throttling=events,
        boot_id=now.boot_id,
        absent=tuple((name, reason) for name, reason in sorted(reasons.items()) if reason),
    )


def with_power_mode(state: Conditions, mode: str | None, reason: str) -> Conditions:
    """Return the state with the vendor's power mode, or with the reason why it is unknown."""
    others = tuple(pair for pair in state.absent if pair[0] != "power_mode")
    absent = others if mode else tuple(sorted((*others, ("power_mode", reason))))
    return replace(state, power_mode=mode, absent=absent)


def cpu_model(root: Path = ROOT) -> str:
    """Return the processor's name as the system gives it, else the device tree's model, else `unknown`."""
    try:
        lines = (root / "proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    found = {key.strip(): value.strip() for key, value in reversed(list(pairs))}
    names = [found.get(key) for key in ("model name", "Model", "Hardware")]
    return next((name for name in (*names, sysfs.text(root / _MODEL), found.get("CPU part")) if name), "unknown")


def _load(root: Path) -> float | None:
    line = sysfs.text(root / _LOAD)
    try:
        return float(line.split()[0]) if line else None
    except ValueError:
        return None


def _cores(root: Path) -> int:
    """Count the cores: those this process may use, or those that are online in a tree from elsewhere."""
    ranges = sysfs.text(root / _ONLINE)
    if root == ROOT or not ranges or not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", ranges):
        return len(os.sched_getaffinity(0))
    ends = [[int(end) for end in part.split("-")] for part in ranges.split(",")]
    return sum(pair[-1] - pair[0] + 1 for pair in ends)


def _system(root: Path) -> str:
    """Return operating system, kernel and architecture; older kernels do not state the last one."""
    names = [sysfs.text(root / path) for path in _KERNEL]
    if root == ROOT or not names[0]:
        return f"{platform.system()} {platform.release()} {platform.machine()}"
    return " ".join(name for name in names if name)
