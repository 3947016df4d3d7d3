"""Trees of /sys as boards have them, and readers that fail, lag or lie."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

FAULTS = ("absent", "unreadable", "denied", "nan", "stale")


def write(root: Path, files: Mapping[str, object]) -> Path:
    """Write small files below a root."""
    for path, value in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{value}\n")
    return root


def ina3221_hwmon(chip: str, rails: Mapping[int, tuple[str, float, float]], number: int = 1) -> dict[str, object]:
    """One INA3221 in the hwmon form: label, mV and mA by channel, with the sum of shunt voltages as in7."""
    folder = f"sys/bus/i2c/drivers/ina3221/{chip}/hwmon/hwmon{number}"
    files: dict[str, object] = {
        f"{folder}/name": "ina3221",
        f"{folder}/samples": 1,
        f"{folder}/update_interval": 10,
        f"{folder}/in7_label": "sum of shunt voltages",
        f"{folder}/in7_input": 99999,
        f"{folder}/curr4_input": 99999,
    }
    for channel, (label, millivolts, milliamperes) in rails.items():
        files |= {
            f"{folder}/in{channel}_label": label,
            f"{folder}/in{channel}_input": millivolts,
            f"{folder}/curr{channel}_input": milliamperes,
            f"{folder}/shunt{channel}_resistor": 5000,
            f"{folder}/in{channel + 3}_input": 1,
        }
    return files


def ina3221_iio(chip: str, rails: Mapping[int, tuple[str, float, float]]) -> dict[str, object]:
    """One INA3221 in the iio form of JetPack 4."""
    folder = f"sys/bus/i2c/drivers/ina3221x/{chip}/iio:device0"
    files: dict[str, object] = {}
    for channel, (label, millivolts, milliamperes) in rails.items():
        files |= {
            f"{folder}/rail_name_{channel}": label,
            f"{folder}/in_voltage{channel}_input": millivolts,
            f"{folder}/in_current{channel}_input": milliamperes,
            f"{folder}/in_power{channel}_input": round(millivolts * milliamperes / 1e3),
        }
    return files


AGX_ORIN = {
    **ina3221_hwmon(
        "1-0040", {1: ("VDD_GPU_SOC", 12000, 400), 2: ("VDD_CPU_CV", 12000, 100), 3: ("VIN_SYS_5V0", 5000, 900)}
    ),
    **ina3221_hwmon("1-0041", {1: ("NC", 0, 0), 2: ("VDDQ_VDD2_1V8AO", 1800, 300), 3: ("NC", 0, 0)}, 2),
}
ORIN_NANO = ina3221_hwmon(
    "1-0040", {1: ("VDD_IN", 5000, 1000), 2: ("VDD_CPU_GPU_CV", 5000, 300), 3: ("VDD_SOC", 5000, 250)}
)
NANO = ina3221_iio("6-0040", {0: ("POM_5V_IN", 5000, 500), 1: ("POM_5V_GPU", 5000, 40), 2: ("POM_5V_CPU", 5000, 200)})
INA226 = {
    "sys/class/hwmon/hwmon0/name": "cpu_thermal",
    "sys/class/hwmon/hwmon0/temp1_input": 41000,
    "sys/class/hwmon/hwmon3/name": "ina226",
    "sys/class/hwmon/hwmon3/in1_input": 5000,
    "sys/class/hwmon/hwmon3/curr1_input": 700,
    "sys/class/hwmon/hwmon3/power1_input": 3_500_000,
    "sys/class/hwmon/hwmon3/shunt_resistor": 10_000,
}
SUPPLY = {
    "sys/class/power_supply/ucsi-source/voltage_now": 15_000_000,
    "sys/class/power_supply/ucsi-source/current_now": 800_000,
    "sys/class/power_supply/AC/online": 1,
}
RAPL = {
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": 262_143_000_000,
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": 262_143_328_850,
    "sys/class/powercap/intel-rapl:0:0/name": "core",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": 1_000_000,
    "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj": 262_143_328_850,
    "sys/class/powercap/intel-rapl:0:1/name": "dram",
    "sys/class/powercap/intel-rapl:0:1/energy_uj": 2_000_000,
    "sys/class/powercap/intel-rapl:0:1/max_energy_range_uj": 65_712_999_613,
    "sys/class/powercap/intel-rapl:1/name": "psys",
    "sys/class/powercap/intel-rapl:1/energy_uj": 3_000_000,
}


@dataclass
class LivingTree:
    """Reads files of a tree whose values move: `moving` files change with each reading, by `step` or up and down.

    After `good` readings of moving files comes the fault, if there is one.
    """

    moving: tuple[str, ...]
    rises: bool = False
    fault: str | None = None
    good: int = 0
    step: int = 100_000
    readings: dict[str, int] = field(default_factory=dict)
    frozen: dict[str, str] = field(default_factory=dict)

    def read(self, path: Path) -> str:
        """Return the text of a file at this moment, or fail as the fault does."""
        text = path.read_text()
        if not path.name.endswith(self.moving):
            return text
        count = self.readings[str(path)] = self.readings.get(str(path), 0) + 1
        if self.fault is not None and sum(self.readings.values()) > self.good:
            return self._fault(path, self._value(path, text, count))
        return self._value(path, text, count)

    def _value(self, path: Path, text: str, count: int) -> str:
        value = int(text)
        if not self.rises:
            return str(value + count % 7 * max(1, value // 100))
        wrap = path.with_name("max_energy_range_uj")
        value += count * self.step + count % 7 * self.step // 10
        return str(value % int(wrap.read_text()) if wrap.exists() else value)

    def _fault(self, path: Path, text: str) -> str:
        match self.fault:
            case "absent":
                raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))
            case "unreadable":
                raise OSError(errno.EIO, "Input/output error", str(path))
            case "denied":
                raise PermissionError(errno.EACCES, "Permission denied", str(path))
            case "nan":
                return "nan"
            case _:
                return self.frozen.setdefault(str(path), text)
