"""Temperatures and throttling counters of a device as Linux shows them."""

from __future__ import annotations

from pathlib import Path

from devices import sysfs
from devices.state import Counter, Temperature

_ZONES = "sys/class/thermal"
_HWMON = "sys/class/hwmon"
_CPU = "sys/devices/system/cpu"
#: Counters of events since boot, by driver: x86 heat, over-current of Jetson Orin and Thor (`soctherm_oc`).
_COUNTERS = (
    f"{_CPU}/cpu*/thermal_throttle/core_throttle_count",
    f"{_CPU}/cpu*/thermal_throttle/package_throttle_count",
    f"{_HWMON}/hwmon*/oc*_event_cnt",
)
#: How often the kernel made a cooling device slow something down, where its statistics are compiled in.
_COOLING = f"{_ZONES}/cooling_device*/stats/total_trans"

#: Files that are looked at here, for whoever fetches them from a device.
GLOBS = (
    f"{_ZONES}/thermal_zone*/type",
    f"{_ZONES}/thermal_zone*/temp",
    f"{_ZONES}/cooling_device*/type",
    _COOLING,
    *_COUNTERS,
    f"{_HWMON}/hwmon*/name",
)
NO_TEMPERATURE = f"/{_ZONES} has no zone that can be read"
NO_COUNTER = (
    "this system counts no throttling where it is looked for (thermal_throttle, oc*_event_cnt, cooling devices)"
)
#: A Tegra sensor that is off reads -256 degrees.
_OFF_BELOW_C = -200.0


def temperatures(root: Path) -> dict[str, float]:
    """Return degrees Celsius by thermal zone; a second zone of the same type gets its number behind the name."""
    found: dict[str, float] = {}
    for zone in sorted((root / _ZONES).glob("thermal_zone*"), key=sysfs.in_order):
        millidegrees = sysfs.integer(zone / "temp")
        kind = sysfs.text(zone / "type") or zone.name
        name = f"{kind} {zone.name.removeprefix('thermal_zone')}" if kind in found else kind
        if millidegrees is not None and millidegrees / 1000 > _OFF_BELOW_C:
            found[name] = millidegrees / 1000
    return found


def counters(root: Path) -> dict[str, int]:
    """Return every throttling counter by name."""
    paths = [path for pattern in (*_COUNTERS, _COOLING) for path in sorted(root.glob(pattern), key=sysfs.in_order)]
    values = {_name(path): sysfs.integer(path) for path in paths}
    return {name: value for name, value in values.items() if value is not None}


def _name(path: Path) -> str:
    folder = path.parent
    if folder.name == "thermal_throttle":
        return f"{folder.parent.name} {path.name.removesuffix('_throttle_count')}"
    if folder.name == "stats":
        return f"{folder.parent.name} {sysfs.text(folder.parent / 'type') or 'cooling'}"
    return f"{sysfs.text(folder / 'name') or folder.name} {path.name.removesuffix('_event_cnt')}"


def joined_temperatures(before: dict[str, float], after: dict[str, float]) -> tuple[Temperature, ...]:
    """Put two readings side by side, zones of either."""
    return tuple(Temperature(name, before.get(name), after.get(name)) for name in dict.fromkeys((*before, *after)))


def joined_counters(before: dict[str, int], after: dict[str, int]) -> tuple[Counter, ...]:
    """Put two readings side by side, counters of either."""
    return tuple(Counter(name, before.get(name), after.get(name)) for name in dict.fromkeys((*before, *after)))
