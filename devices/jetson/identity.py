"""Which Jetson a device is, and which JetPack it has: read from its files, under a root."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from devices import sysfs
from devices.errors import DeviceError
from export.jetson_profiles import PROFILES, Profile

_RELEASE = "etc/nv_tegra_release"
_COMPATIBLE = "proc/device-tree/compatible"
_MODEL = "proc/device-tree/model"
#: Files that `identify` reads, for whoever fetches them from a device.
GLOBS = (_RELEASE, _COMPATIBLE, _MODEL)

#: L4T releases by JetPack, the exact release first; then those known by their first two numbers only.
JETPACKS = (
    ("32.6.1", "4.6"),
    *((f"32.7.{patch}", f"4.6.{patch}") for patch in range(1, 7)),
    ("35.1.0", "5.0.2"),
    ("35.2.1", "5.1"),
    ("35.3.1", "5.1.1"),
    ("35.4.1", "5.1.2"),
    ("35.5.0", "5.1.3"),
    ("35.6.0", "5.1.4"),
    ("35.6.1", "5.1.5"),
    ("35.6.2", "5.1.5"),
    ("35.6.3", "5.1.5"),
    ("35.6.4", "5.1.6"),
    ("36.3.0", "6.0"),
    ("36.4.0", "6.1"),
    ("36.4.3", "6.2"),
    ("36.4.4", "6.2.1"),
    ("36.4.7", "6.2.1"),
    ("36.5.0", "6.2.2"),
    ("38.2", "7.0"),
    ("38.4.0", "7.1"),
    ("39.2.0", "7.2"),
)
#: Chips by the name in the device tree: family and compute capability of the GPU.
CHIPS = (
    ("tegra210", "Nano", "5.3"),
    ("tegra186", "TX2", "6.2"),
    ("tegra194", "Xavier", "7.2"),
    ("tegra234", "Orin", "8.7"),
    ("tegra264", "Thor", "11.0"),
)
#: Modules by number in the device tree, the longer ones first.
MODULES = (
    ("p3767-0000", "Orin NX 16 GB"),
    ("p3767-0001", "Orin NX 8 GB"),
    ("p3767-0003", "Orin Nano 8 GB"),
    ("p3767-0004", "Orin Nano 4 GB"),
    ("p3767-0005", "Orin Nano 8 GB developer kit"),
    ("p3448", "Nano"),
    ("p2888", "AGX Xavier"),
    ("p3668", "Xavier NX"),
    ("p3701", "AGX Orin"),
    ("p3834", "AGX Thor"),
)


@dataclass(frozen=True, slots=True)
class Identity:
    """A device: release of L4T and JetPack, chip and compute capability, module and model; None where unknown."""

    l4t: str | None
    jetpack: str | None
    chip: str | None
    compute: str | None
    module: str | None
    model: str | None


def identify(root: Path) -> Identity:
    """Return what a device's files say; everything None on a machine that is no Jetson."""
    l4t = _l4t(sysfs.text(root / _RELEASE) or "")
    words = (sysfs.raw(root / _COMPATIBLE) or "").replace("\0", " ")
    chip = next(((name, compute) for name, _, compute in CHIPS if name in words), (None, None))
    return Identity(
        l4t=l4t,
        jetpack=jetpack_of(l4t) if l4t else None,
        chip=chip[0],
        compute=chip[1],
        module=next((name for number, name in MODULES if number in words), None),
        model=sysfs.text(root / _MODEL),
    )


def jetpack_of(l4t: str) -> str | None:
    """Return the JetPack of an L4T release; None for one that the table does not know."""
    exact = dict(JETPACKS).get(l4t)
    return exact or next((pack for release, pack in JETPACKS if l4t.startswith(f"{release}.")), None)


def _l4t(line: str) -> str | None:
    """Read `# R36 (release), REVISION: 4.3, GCID: ...`."""
    found = re.search(r"R(\d+) .*REVISION: ([\d.]+)", line)
    return f"{found[1]}.{found[2]}" if found else None


def require_fit(found: Identity, profile: Profile) -> None:
    """Refuse a part that was written for another board or another JetPack than the device has.

    A device that says neither (no Jetson at all, or a container without these files) is not refused here.

    Raises:
        DeviceError: with the target to export for.
    """
    wrong = []
    if found.compute is not None and found.compute != profile.compute:
        wrong.append(f"its chip is {found.chip} (compute {found.compute}), not compute {profile.compute}")
    if found.l4t is not None and not _of(found.l4t, profile):
        pack = f"JetPack {found.jetpack}" if found.jetpack else "a JetPack that is not known here"
        wrong.append(f"it has L4T {found.l4t} ({pack}), not {' or '.join(profile.l4t)}")
    if not wrong:
        return
    fitting = [p.target for p in PROFILES if p.compute == found.compute and found.l4t and _of(found.l4t, p)]
    advice = f"Export for target {' or '.join(fitting)}." if fitting else "No target of this version fits it."
    raise DeviceError(
        f"the part is for {profile.board} with JetPack {profile.jetpack} (target {profile.target}), but of the device "
        f"{' and '.join(wrong)}. {advice}"
    )


def _of(l4t: str, profile: Profile) -> bool:
    return any(l4t == first or l4t.startswith(f"{first}.") for first in profile.l4t)
