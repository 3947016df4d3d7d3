"""Current sensors on the board: INA3221 (Jetson, hwmon and iio) and INA2xx (hwmon)."""

from __future__ import annotations

from pathlib import Path

from devices.errors import DeviceError
from devices.meters import rails
from devices.meters.meter import ROOT, Meter, ReadText, read_text
from devices.meters.polled import Polled, open_forever
from devices.meters.rails import Rail
from devices.meters.sampler import REAL, Source, Timing

#: Asking faster than this wakes the board for nothing: a conversion takes as long.
LEAST_PERIOD_S = 0.01
#: Shunt and converter together, an order of magnitude: makers of boards rarely specify it.
GAIN = 0.01

_TWICE = "VDDQ_VDD2_1V8AO may be fed by VIN_SYS_5V0 and then counts twice; see the rails"
_CARRIER = "sensors of the module do not see what the carrier board draws"


def ina3221(root: Path = ROOT, wanted: str = "", read: ReadText = read_text, timing: Timing = REAL) -> Meter:
    """Return the meter for every INA3221 of a board; `wanted` names rails to add up, separated by commas."""

    def source() -> Source:
        found = rails.ina3221_rails(root, read)
        if not found:
            raise DeviceError("there is no rail in /sys/bus/i2c/drivers/ina3221*")
        return _source(root, found, wanted, read)

    return Polled("ina3221", lambda: open_forever(source()), timing)


def ina2xx(root: Path = ROOT, wanted: str = "", read: ReadText = read_text, timing: Timing = REAL) -> Meter:
    """Return the meter for INA219, INA226 and the like; of several, the rails to add up have to be named."""

    def source() -> Source:
        found = rails.ina2xx_rails(root, read)
        if not found:
            raise DeviceError(f"/sys/class/hwmon has none of {', '.join(rails.INA2XX)}")
        if len(found) > 1 and not wanted:
            names = ", ".join(rail.name for rail in found)
            raise DeviceError(f"rails {names} may feed each other; name those to add up: ina2xx:{found[0].name}")
        return _source(root, found, wanted, read)

    return Polled("ina2xx", lambda: open_forever(source()), timing)


def _source(root: Path, found: tuple[Rail, ...], wanted: str, read: ReadText) -> Source:
    names = tuple(rail.name for rail in found)
    totals = rails.chosen_names(names, wanted)
    return Source(
        channels=names,
        read=rails.reader(root, found, read),
        totals=totals,
        period_s=max(LEAST_PERIOD_S, *(rail.update_s or 0.0 for rail in found)),
        lsb_w=rails.step_w(root, tuple(rail for rail in found if rail.name in totals), read),
        gain=GAIN,
        notes=_notes(names, totals),
    )


def _notes(names: tuple[str, ...], totals: tuple[str, ...]) -> tuple[str, ...]:
    twice = {"VIN_SYS_5V0", "VDDQ_VDD2_1V8AO"} <= set(totals)
    module = any(name.startswith(("VDD_", "VIN_", "POM_")) for name in names)
    return (*((_TWICE,) if twice else ()), *((_CARRIER,) if module else ()))
