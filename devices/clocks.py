"""Clock domains of a device as Linux shows them: CPUs (cpufreq), GPU and other engines (devfreq), memory of a Tegra.

cpufreq counts in kHz, devfreq in Hz. The memory clock of Jetson boards is in debugfs, which only root reads.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from devices import sysfs
from devices.state import Clock

_CPU = "sys/devices/system/cpu"
_DEVFREQ = "sys/class/devfreq"
_EMC = "sys/kernel/debug/bpmp/debug/clk/emc"
_CPU_FILES = ("scaling_governor", "scaling_min_freq", "scaling_max_freq", "scaling_cur_freq")
_DEVFREQ_FILES = ("governor", "min_freq", "max_freq", "cur_freq")
_EMC_FILES = ("min_rate", "max_rate", "rate")

#: Files that `read` looks at, for whoever fetches them from a device.
GLOBS = (
    *(f"{_CPU}/cpufreq/policy*/{name}" for name in _CPU_FILES),
    *(f"{_CPU}/cpu*/cpufreq/{name}" for name in _CPU_FILES),
    *(f"{_DEVFREQ}/*/{name}" for name in _DEVFREQ_FILES),
    *(f"{_EMC}/{name}" for name in _EMC_FILES),
)
ABSENT = f"neither /{_CPU}/cpufreq nor /{_DEVFREQ} shows a clock (usual on virtual machines)"


@dataclass(frozen=True, slots=True)
class Domain:
    """One clock domain as it is now; None where a file is missing or unreadable."""

    name: str
    governor: str | None
    least_hz: int | None
    most_hz: int | None
    now_hz: int | None


def read(root: Path) -> tuple[Domain, ...]:
    """Return every clock domain under a root, one per policy of the CPUs where there are policies."""
    found = (*(_cpu_domains(root)), *_devfreq_domains(root), *_memory(root))
    return tuple(domain for domain in found if domain.now_hz is not None or domain.most_hz is not None)


def governor(root: Path) -> str | None:
    """Return the frequency governor of the first CPU."""
    files = ("cpu0/cpufreq/scaling_governor", "cpufreq/policy0/scaling_governor")
    return next((name for name in (sysfs.text(root / _CPU / file) for file in files) if name), None)


def joined(before: tuple[Domain, ...], after: tuple[Domain, ...]) -> tuple[Clock, ...]:
    """Put two readings side by side; limits and governor are those of the second."""
    earlier = {domain.name: domain.now_hz for domain in before}
    return tuple(Clock(d.name, d.governor, d.least_hz, d.most_hz, earlier.get(d.name), d.now_hz) for d in after)


def _cpu_domains(root: Path) -> Iterator[Domain]:
    folders = sorted((root / _CPU / "cpufreq").glob("policy*"), key=sysfs.in_order)
    for folder in folders or sorted((root / _CPU).glob("cpu*/cpufreq"), key=sysfs.in_order):
        name = folder.name if folder.name.startswith("policy") else folder.parent.name
        khz = [sysfs.integer(folder / file) for file in _CPU_FILES[1:]]
        yield Domain(name, sysfs.text(folder / _CPU_FILES[0]), *(None if f is None else 1000 * f for f in khz))


def _devfreq_domains(root: Path) -> Iterator[Domain]:
    for folder in sorted((root / _DEVFREQ).glob("*"), key=sysfs.in_order):
        hz = [sysfs.integer(folder / file) for file in _DEVFREQ_FILES[1:]]
        yield Domain(folder.name, sysfs.text(folder / _DEVFREQ_FILES[0]), *hz)


def _memory(root: Path) -> Iterator[Domain]:
    yield Domain("emc", None, *(sysfs.integer(root / _EMC / file) for file in _EMC_FILES))
