"""Bench instruments that speak SCPI, through pyvisa: power is the voltage times the current that they measure."""

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
TIMEOUT_MS = 2000
#: Orders of magnitude for a bench supply with read-back: 1 mV, 0.1 mA steps and 0.1 %.
LSB_W = 5e-4
GAIN = 1e-3
#: The backend that talks to no instrument.
_SIMULATED = "@sim"
_NOTE = "voltage and current are asked one after the other; what falls between is not seen"

#: Returns what pyvisa calls `ResourceManager` for a backend.
OpenManager = Callable[[str], Any]


def open_manager(backend: str) -> Any:
    """Open pyvisa with a backend such as `@py`.

    Raises:
        DeviceError: pyvisa or the backend is not installed.
    """
    try:
        library = importlib.import_module("pyvisa")
        return library.ResourceManager(backend)
    except (ImportError, ValueError, OSError) as error:
        raise DeviceError(
            f"pyvisa with '{backend}' does not start: {error} (pip install 'edgemill[meters]')"
        ) from error


def scpi(address: str = "", open_manager: OpenManager = open_manager, timing: Timing = REAL) -> Meter:
    """Return the meter at a VISA address such as `TCPIP0::192.0.2.5::inst0::INSTR`, or `ADDRESS@BACKEND`."""
    return Polled("scpi", lambda: _opened(address, open_manager), timing)


@contextmanager
def _opened(address: str, open_manager: OpenManager) -> Iterator[Source]:
    name, _, backend = address.partition("@")
    if not name:
        raise DeviceError("the instrument's address is not named: scpi:TCPIP0::192.0.2.5::inst0::INSTR")
    manager = open_manager(f"@{backend}" if "@" not in backend else backend) if backend else open_manager("@py")
    try:
        instrument = _instrument(manager, name)
        try:
            yield _source(instrument, name, simulated=f"@{backend}".endswith(_SIMULATED))
        finally:
            instrument.close()
    finally:
        manager.close()


def _instrument(manager: Any, name: str) -> Any:
    try:
        found = manager.open_resource(name, read_termination="\n", write_termination="\n")
    except _errors() as error:
        raise DeviceError(f"{name} cannot be opened: {error}") from error
    found.timeout = TIMEOUT_MS
    return found


def _errors() -> tuple[type[BaseException], ...]:
    """Return what pyvisa and the backends raise for an instrument that is not there or does not answer."""
    try:
        return (OSError, ValueError, importlib.import_module("pyvisa").errors.Error)
    except ImportError:
        return (OSError, ValueError)


def _source(instrument: Any, name: str, *, simulated: bool) -> Source:
    said = _query(instrument, "*IDN?")

    def read_all() -> tuple[float, ...]:
        return (_number(instrument, "MEAS:VOLT?") * _number(instrument, "MEAS:CURR?"),)

    read_all()
    return Source(
        channels=(name,),
        read=read_all,
        totals=(name,),
        period_s=PERIOD_S,
        lsb_w=LSB_W,
        gain=GAIN,
        notes=(said, _NOTE),
        method="simulated" if simulated else "measured",
    )


def _number(instrument: Any, question: str) -> float:
    text = _query(instrument, question)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or abs(value) >= 9.9e37:  # SCPI-99: 9.91E37 is not a number, 9.9E37 infinity
        raise DeviceError(f"the instrument answers '{text[:40]}' to {question}, which is no number")
    return value


def _query(instrument: Any, question: str) -> str:
    try:
        return str(instrument.query(question)).strip()
    except _errors() as error:
        raise DeviceError(f"the instrument does not answer {question}: {error}") from error
