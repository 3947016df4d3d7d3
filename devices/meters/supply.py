"""What a USB-C supply or a battery says of itself: /sys/class/power_supply, in uV and uA."""

from __future__ import annotations

from pathlib import Path

from devices.errors import DeviceError
from devices.meters import sysfs
from devices.meters.meter import ROOT, Meter, ReadText, read_text
from devices.meters.polled import Polled, open_forever
from devices.meters.sampler import REAL, Source, Timing

PERIOD_S = 0.1
#: One step of current is seldom below a milliampere; times 5 V.
LSB_W = 5e-3
GAIN = 0.05
_NOTE = "a supply or a battery reports slowly and coarsely; it holds whatever hangs on it"


def supply(root: Path = ROOT, wanted: str = "", read: ReadText = read_text, timing: Timing = REAL) -> Meter:
    """Return the meter for one power supply; of several, the one called `wanted`."""
    return Polled("power-supply", lambda: open_forever(_source(root, wanted, read)), timing)


def _source(root: Path, wanted: str, read: ReadText) -> Source:
    folders = [
        folder
        for folder in sysfs.folders(root, "sys/class/power_supply/*")
        if sysfs.exists(root, f"{folder}/voltage_now") and sysfs.exists(root, f"{folder}/current_now")
    ]
    names = [Path(folder).name for folder in folders]
    if not names:
        raise DeviceError("/sys/class/power_supply has nothing with a voltage and a current")
    if wanted and wanted not in names:
        raise DeviceError(f"/sys/class/power_supply has no {wanted}; it has {', '.join(names)}")
    if len(names) > 1 and not wanted:
        raise DeviceError(f"there are {', '.join(names)}; name the one that feeds the board: power-supply:{names[0]}")
    name = wanted or names[0]
    folder = folders[names.index(name)]
    if sysfs.optional_line(root, f"{folder}/status", read) == "Charging":
        raise DeviceError(f"{name} is being charged, so that its current is not the board's")

    def read_all() -> tuple[float, ...]:
        volts, amperes = (
            sysfs.number(root, f"{folder}/{file}", read) * 1e-6 for file in ("voltage_now", "current_now")
        )
        return (abs(volts * amperes),)  # drivers disagree on the sign of a discharge

    return Source((name,), read_all, (name,), PERIOD_S, lsb_w=LSB_W, gain=GAIN, notes=(_NOTE,))
