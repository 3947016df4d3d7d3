"""The processors: what QEMU calls them, and the files in which Linux says what they are.

Runtimes read /proc and /sys to choose their kernels. Without files of its own the emulated system would show those of
this machine, on which some runtimes crash.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

CORES_IN_SYSTEM = 4
_ARM = "0x41"


@dataclass(frozen=True, slots=True)
class Core:
    """A processor: board's name, QEMU's name, how /proc/cpuinfo identifies it, and its fastest clock in kHz."""

    name: str
    cpu: str
    part: str
    variant: str
    revision: int
    features: str
    clock_khz: int


PI4 = Core("pi4", "cortex-a72", "0xd08", "0x0", 3, "fp asimd evtstrm crc32 cpuid", 1_500_000)
PI5 = Core(
    "pi5",
    "cortex-a76",
    "0xd0b",
    "0x4",
    1,
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp",
    2_400_000,
)
CORES = (PI4, PI5)


def system_files(core: Core) -> dict[str, str]:
    """Return the files of a core by path: /proc/cpuinfo and what /sys says about four such cores."""
    cpus = "sys/devices/system/cpu"
    spans = {f"{cpus}/{name}": f"0-{CORES_IN_SYSTEM - 1}" for name in ("possible", "present", "online")}
    blocks = "\n".join(_block(core, number) for number in range(CORES_IN_SYSTEM))
    files = {"proc/cpuinfo": blocks, f"{cpus}/kernel_max": "255", **spans}
    for number in range(CORES_IN_SYSTEM):
        files |= {f"{cpus}/cpu{number}/{path}": text for path, text in _cpu(core, number)}
    return {path: f"{text}\n" for path, text in files.items()}


def _block(core: Core, number: int) -> str:
    lines = {
        "processor": number,
        "BogoMIPS": "108.00",
        "Features": core.features,
        "CPU implementer": _ARM,
        "CPU architecture": 8,
        "CPU variant": core.variant,
        "CPU part": core.part,
        "CPU revision": core.revision,
    }
    return "".join(f"{key}\t: {value}\n" for key, value in lines.items())


def _cpu(core: Core, number: int) -> Iterator[tuple[str, str]]:
    yield "cpufreq/cpuinfo_max_freq", str(core.clock_khz)
    yield "cpufreq/cpuinfo_min_freq", "600000"
    together = f"0-{CORES_IN_SYSTEM - 1}"
    yield "topology/physical_package_id", "0"
    yield "topology/core_id", str(number)
    yield "topology/core_siblings", f"{(1 << CORES_IN_SYSTEM) - 1:x}"
    yield "topology/core_siblings_list", together
    yield "topology/cluster_cpus_list", together
    yield "topology/thread_siblings_list", str(number)
