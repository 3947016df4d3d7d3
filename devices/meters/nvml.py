"""NVML: the energy counter of an NVIDIA GPU, or its power where it has no counter."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from devices.errors import DeviceError
from devices.meters.meter import Meter
from devices.meters.polled import Polled
from devices.meters.sampler import REAL, Source, Timing

PERIOD_S = 0.05
#: NVML counts mJ and says mW; over one period.
LSB_W = 1e-3 / PERIOD_S
#: NVIDIA's documentation of nvmlDeviceGetPowerUsage: +-5 % on the generations that it names.
GAIN = 0.05
_POWER_NOTE = "this GPU counts no energy; its power is a moving average, so that short windows are blurred"

#: Returns the module `pynvml`, or one that answers like it.
Load = Callable[[], Any]


def load() -> Any:
    """Import pynvml.

    Raises:
        DeviceError: it is not installed.
    """
    try:
        return importlib.import_module("pynvml")
    except ImportError as error:
        raise DeviceError("pynvml is not installed (pip install 'edgemill[meters]')") from error


def nvml(index: str = "", load: Load = load, timing: Timing = REAL) -> Meter:
    """Return the meter of one GPU, by its number."""
    return Polled("nvml", lambda: _opened(index, load), timing)


@contextmanager
def _opened(index: str, load: Load) -> Iterator[Source]:
    if not (index or "0").isdigit():
        raise DeviceError(f"nvml:{index} is no number of a GPU; nvml:0 is the first")
    library = load()
    try:
        library.nvmlInit()
    except library.NVMLError as error:
        raise DeviceError(f"NVML does not start: {error}") from error
    try:
        yield _source(library, int(index or 0))
    except library.NVMLError as error:
        raise DeviceError(f"NVML: {error}") from error
    finally:
        library.nvmlShutdown()


def _source(library: Any, index: int) -> Source:
    handle = library.nvmlDeviceGetHandleByIndex(index)
    name = library.nvmlDeviceGetName(handle)
    channel = name.decode() if isinstance(name, bytes) else str(name)
    counted = _counts(library, handle)
    ask = library.nvmlDeviceGetTotalEnergyConsumption if counted else library.nvmlDeviceGetPowerUsage

    def read_all() -> tuple[float, ...]:
        try:
            value = float(ask(handle)) * 1e-3
        except library.NVMLError as error:
            raise DeviceError(f"NVML: {error}") from error
        if not math.isfinite(value):
            raise DeviceError("NVML gave no number")
        return (value,)

    notes = () if counted else (_POWER_NOTE,)
    known = "NVML's documentation"
    return Source(
        (channel,), read_all, (channel,), PERIOD_S, counted=counted, lsb_w=LSB_W, gain=GAIN, known=known, notes=notes
    )


def _counts(library: Any, handle: Any) -> bool:
    try:
        library.nvmlDeviceGetTotalEnergyConsumption(handle)
    except library.NVMLError:
        return False
    return True
