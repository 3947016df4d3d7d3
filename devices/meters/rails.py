"""Rails with a current sensor, as the kernel shows them, and which of them make up a board's power.

Paths are relative to the root of the tree, so that rails found on a copy of a board's files name the board's own.
Units: hwmon gives mV, mA and uW, iio mV, mA and mW (Linux documentation of both; NVIDIA's driver for JetPack 4).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from devices.errors import DeviceError
from devices.meters import sysfs
from devices.meters.meter import ROOT, ReadText, read_text

#: INA3221: 13 bits, 40 uV of shunt voltage and 8 mV of bus voltage a step.
_INA3221_STEPS = (40e-6, 8e-3)
#: INA2xx by the driver's name: steps of shunt and bus voltage.
_INA2XX_STEPS = {
    "ina219": (10e-6, 4e-3),
    "ina220": (10e-6, 4e-3),
    "ina226": (2.5e-6, 1.25e-3),
    "ina230": (2.5e-6, 1.25e-3),
    "ina231": (2.5e-6, 1.25e-3),
    "ina260": (2.5e-6, 1.25e-3),
}
INA2XX = tuple(_INA2XX_STEPS)
#: Taken where the tree does not say.
_USUAL_SHUNT_OHM = 5e-3

#: Rails that already hold everything the board draws.
WHOLE = ("VDD_IN", "POM_5V_IN")
#: A channel that nothing is connected to.
UNCONNECTED = "NC"

_FILES = (
    "sys/bus/i2c/drivers/ina3221*/*/hwmon/hwmon*/{in,curr,shunt,samples,update_interval,name}*",
    "sys/bus/i2c/drivers/ina3221x/*/iio:device*/{rail_name,in_voltage,in_current,in_power}*",
    "sys/class/hwmon/hwmon*/{name,in,curr,power,shunt,update_interval}*",
)


@dataclass(frozen=True, slots=True)
class Rail:
    """One rail: the files that say its voltage, current or power, and what one step of each is in SI units.

    `power_path` is None where power is voltage times current. `shunt_ohm` is None where the tree does not say.
    `shunt_step_v` and `bus_step_v` are the converter's resolution.
    """

    name: str
    chip: str
    volt_path: str | None
    curr_path: str | None
    power_path: str | None
    volt_unit: float
    curr_unit: float
    power_unit: float
    shunt_ohm: float | None
    shunt_step_v: float
    bus_step_v: float
    update_s: float | None

    @property
    def paths(self) -> tuple[str, ...]:
        """The files that one sample reads."""
        if self.power_path is not None:
            return (self.power_path,)
        return tuple(path for path in (self.volt_path, self.curr_path) if path is not None)

    def power_w(self, values: tuple[float, ...]) -> float:
        """Return W from the numbers in `paths`, in their order."""
        if self.power_path is not None:
            return values[0] * self.power_unit
        return values[0] * self.volt_unit * values[1] * self.curr_unit

    def lsb_w(self, volts: float, amperes: float) -> float:
        """Return one step of power at a working point: sqrt((dI V)^2 + (dV I)^2), with dI = shunt step / shunt."""
        step_a = self.shunt_step_v / (self.shunt_ohm or _USUAL_SHUNT_OHM)
        return math.hypot(step_a * volts, self.bus_step_v * amperes)


def sysfs_files() -> tuple[str, ...]:
    """Return shell patterns of the files that `rails` looks at, relative to the root, for a copy of a board's tree."""
    found: list[str] = []
    for pattern in _FILES:
        head, _, rest = pattern.partition("{")
        names, _, tail = rest.partition("}")
        found += [f"{head}{name}{tail}" for name in names.split(",")]
    return tuple(found)


def rails(root: Path = ROOT, read: ReadText = read_text) -> tuple[Rail, ...]:
    """Return the rails of every INA3221 below a root, in either form; where there is none, those of INA2xx chips."""
    return ina3221_rails(root, read) or ina2xx_rails(root, read)


def ina3221_rails(root: Path, read: ReadText = read_text) -> tuple[Rail, ...]:
    """Return the connected rails of every INA3221, hwmon (JetPack 5 and later) before iio (JetPack 4)."""
    found = [
        rail
        for folder in sysfs.folders(root, "sys/bus/i2c/drivers/ina3221*/*/hwmon/hwmon*")
        for rail in _hwmon3(root, folder, read)
    ]
    found += [
        rail
        for folder in sysfs.folders(root, "sys/bus/i2c/drivers/ina3221*/*/iio:device*")
        for rail in _iio(root, folder, read)
    ]
    return _distinct(rail for rail in found if rail.name != UNCONNECTED)


def ina2xx_rails(root: Path, read: ReadText = read_text) -> tuple[Rail, ...]:
    """Return one rail for each INA219, INA226 and the like, called by its label or its hwmon folder."""
    found = (_hwmon2(root, folder, read) for folder in sysfs.folders(root, "sys/class/hwmon/hwmon*"))
    return _distinct(rail for rail in found if rail is not None)


def total_names(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return which rails make up the board's power: the one that holds everything where there is one, else all."""
    whole = tuple(name for name in names if name in WHOLE)
    return whole[:1] or tuple(name for name in names if name != UNCONNECTED)


def chosen_names(names: tuple[str, ...], wanted: str) -> tuple[str, ...]:
    """Return the rails that a person asked for, separated by commas; those of `total_names` where nothing was asked.

    Raises:
        DeviceError: one of them is not there.
    """
    if not wanted:
        return total_names(names)
    asked = tuple(dict.fromkeys(part.strip() for part in wanted.split(",") if part.strip()))
    lost = [name for name in asked if name not in names]
    if lost:
        raise DeviceError(f"there is no rail {', '.join(lost)}; there are {', '.join(names) or 'none'}.")
    return asked


def reader(root: Path, found: tuple[Rail, ...], read: ReadText) -> Callable[[], tuple[float, ...]]:
    """Return a function that reads the power of rails in W, in their order."""

    def read_all() -> tuple[float, ...]:
        return tuple(rail.power_w(tuple(sysfs.number(root, path, read) for path in rail.paths)) for rail in found)

    return read_all


def step_w(root: Path, found: tuple[Rail, ...], read: ReadText) -> float:
    """Return the resolution of the sum of rails at their present load: the root of the squares of their steps."""
    return math.sqrt(math.fsum(_step_w(root, rail, read) ** 2 for rail in found))


def _step_w(root: Path, rail: Rail, read: ReadText) -> float:
    if rail.volt_path is None or rail.curr_path is None:
        return rail.power_unit
    volts = sysfs.number(root, rail.volt_path, read) * rail.volt_unit
    return rail.lsb_w(volts, sysfs.number(root, rail.curr_path, read) * rail.curr_unit)


def _distinct(found: Iterable[Rail]) -> tuple[Rail, ...]:
    """Give rails of equal names the chip as a prefix."""
    every = tuple(found)
    names = [rail.name for rail in every]
    return tuple(replace(r, name=f"{r.chip}/{r.name}") if names.count(r.name) > 1 else r for r in every)


def _hwmon3(root: Path, folder: str, read: ReadText) -> tuple[Rail, ...]:
    update_ms = sysfs.optional_number(root, f"{folder}/update_interval", read)
    found = []
    for n in (1, 2, 3):  # in4 to in6 are shunt voltages, in7 is their sum
        name = sysfs.optional_line(root, f"{folder}/in{n}_label", read)
        if not sysfs.exists(root, f"{folder}/curr{n}_input") or name == UNCONNECTED:
            continue
        shunt = sysfs.optional_number(root, f"{folder}/shunt{n}_resistor", read)
        found.append(
            Rail(
                name=name or f"channel{n}",
                chip=folder.split("/")[5],
                volt_path=f"{folder}/in{n}_input",
                curr_path=f"{folder}/curr{n}_input",
                power_path=None,
                volt_unit=1e-3,
                curr_unit=1e-3,
                power_unit=0.0,
                shunt_ohm=shunt * 1e-6 if shunt else None,
                shunt_step_v=_INA3221_STEPS[0],
                bus_step_v=_INA3221_STEPS[1],
                update_s=update_ms / 1e3 if update_ms else None,
            )
        )
    return tuple(found)


def _iio(root: Path, folder: str, read: ReadText) -> tuple[Rail, ...]:
    found = []
    for n in (0, 1, 2):
        name = sysfs.optional_line(root, f"{folder}/rail_name_{n}", read)
        if name is None or name == UNCONNECTED:
            continue
        power = f"{folder}/in_power{n}_input"
        found.append(
            Rail(
                name=name,
                chip=folder.split("/")[5],
                volt_path=f"{folder}/in_voltage{n}_input",
                curr_path=f"{folder}/in_current{n}_input",
                power_path=power if sysfs.exists(root, power) else None,
                volt_unit=1e-3,
                curr_unit=1e-3,
                power_unit=1e-3,
                shunt_ohm=None,
                shunt_step_v=_INA3221_STEPS[0],
                bus_step_v=_INA3221_STEPS[1],
                update_s=None,
            )
        )
    return tuple(found)


def _hwmon2(root: Path, folder: str, read: ReadText) -> Rail | None:
    chip = sysfs.optional_line(root, f"{folder}/name", read)
    if chip not in _INA2XX_STEPS:
        return None
    power, volt, curr = (f"{folder}/{stem}1_input" for stem in ("power", "in", "curr"))
    shunt = sysfs.optional_number(root, f"{folder}/shunt_resistor", read)
    update_ms = sysfs.optional_number(root, f"{folder}/update_interval", read)
    both = sysfs.exists(root, volt) and sysfs.exists(root, curr)
    return Rail(
        name=sysfs.optional_line(root, f"{folder}/in1_label", read) or Path(folder).name,
        chip=chip,
        volt_path=volt if both else None,
        curr_path=curr if both else None,
        power_path=power if sysfs.exists(root, power) or not both else None,
        volt_unit=1e-3,
        curr_unit=1e-3,
        power_unit=1e-6,
        shunt_ohm=shunt * 1e-6 if shunt else None,
        shunt_step_v=_INA2XX_STEPS[chip][0],
        bus_step_v=_INA2XX_STEPS[chip][1],
        update_s=update_ms / 1e3 if update_ms else None,
    )
