"""One line of NVIDIA's tegrastats, in the forms from the Jetson Nano to JetPack 7."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: `VDD_IN 1871/1902`, `VDD_IN 4790mW/4790mW`, `VDD_GPU_SOC 5100mW/5120mW/5140mW`: now, average, and since JetPack 7
#: a third. What follows keeps `RAM 1900/7620MB` out.
_RAIL = re.compile(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/(\d+)(?:mW)?(?:/\d+mW)?(?= |$)")
_TEMPERATURE = re.compile(r"\b([A-Za-z]\w*)@(-?[\d.]+)C\b")
_GPU = re.compile(r"\bGR3D_FREQ (?:(\d+)%)?@?(?:\[([\d,]+)\]|(\d+))?")
#: A sensor that is switched off says -256.
_OFF_C = -200.0


@dataclass(frozen=True, slots=True)
class Stats:
    """What one line says.

    Attributes:
        power_w: pairs of rail and power now, in the line's order, without unconnected ones.
        temperature_c: pairs of sensor and temperature, without those that are off.
        gpu_load: 0 to 1; None where the line has none, which is not 0.
        gpu_hz: of each part of the GPU; empty where the line has none.
    """

    power_w: tuple[tuple[str, float], ...]
    temperature_c: tuple[tuple[str, float], ...]
    gpu_load: float | None
    gpu_hz: tuple[float, ...]


def parse(line: str) -> Stats:
    """Return what a line says; a line of another program says nothing.

    >>> parse("RAM 1900/7620MB CPU [3%@729,off] GR3D_FREQ 0%@76 VDD_IN 4790mW/4780mW NC 0mW/0mW").power_w
    (('VDD_IN', 4.79),)
    """
    text = line.strip()
    gpu = _GPU.search(text)
    clocks = (gpu[2] or gpu[3] or "") if gpu else ""
    temperatures = ((found[1], float(found[2])) for found in _TEMPERATURE.finditer(text))
    return Stats(
        power_w=tuple((found[1], int(found[2]) / 1e3) for found in _RAIL.finditer(text) if found[1] != "NC"),
        temperature_c=tuple(pair for pair in temperatures if pair[1] > _OFF_C),
        gpu_load=int(gpu[1]) / 100 if gpu and gpu[1] else None,
        gpu_hz=tuple(int(part) * 1e6 for part in clocks.split(",") if part),
    )
