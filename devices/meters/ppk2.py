"""Nordic PPK2 through the package ppk2-api: a thin adapter, not executed on hardware here.

The instrument feeds the device and sends its current at 100 kHz; power is that current times the voltage that it was
set to. Samples that are lost on the way are not seen by the package, so that the number of samples is held against the
time that has passed.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from devices.errors import DeviceError
from devices.meters.meter import Clock, Probe, Recording, raw_clock
from devices.meters.sampler import Pause, pause
from devices.meters.stream import Stream

RATE_HZ = 100_000.0
#: As many samples make one period of the trace: 1 kHz.
BLOCK = 100
#: How often samples are fetched, in seconds.
FETCH_S = 0.01
#: An order of magnitude in the upper ranges, 1 uA times 3 V.
LSB_W = 3e-6
#: Nordic gives no worse than 15 % over its ranges, typically some per cent.
GAIN = 0.15
#: More samples missing than this part of the time that passed is a loss.
LOST_PART = 0.02
VOLTS_MV = (800, 5000)

#: Opens the instrument on a port; returns what ppk2-api calls `PPK2_API`.
OpenApi = Callable[[str], Any]


def open_api(port: str) -> Any:
    """Open the instrument.

    Raises:
        DeviceError: the package is not installed.
    """
    try:
        library = importlib.import_module("ppk2_api.ppk2_api")
    except ImportError as error:
        raise DeviceError("ppk2-api is not installed (pip install ppk2-api==0.9.2; its licence is GPL-2.0)") from error
    return library.PPK2_API(port, timeout=1, write_timeout=1, exclusive=True)


@dataclass(frozen=True, slots=True)
class Ppk2:
    """The meter on one port; `argument` is `PORT,MILLIVOLTS` as in `/dev/ttyACM0,3300`."""

    argument: str = ""
    open_api: OpenApi = open_api
    clock: Clock = raw_clock
    pause: Pause = pause
    name: str = "ppk2"

    def probe(self) -> Probe:
        """Open it and ask for its calibration."""
        try:
            port, _ = self._parts()
            self._open(port)
        except DeviceError as error:
            return Probe(self.name, False, str(error))
        return Probe(self.name, True, f"answers on {port}")

    @contextmanager
    def record(self) -> Iterator[Recording]:
        """Feed the device, record from entering to leaving, and switch it off."""
        port, millivolts = self._parts()
        if millivolts is None:
            raise DeviceError(f"the PPK2 feeds the device: name its supply voltage in mV, ppk2:{port},3300")
        api = self._open(port)
        stream = Stream("supply", LSB_W, GAIN, clock=self.clock)
        taker, stop = Taker(stream, millivolts / 1e3), threading.Event()
        thread = threading.Thread(target=taker.run, args=(api, stop, self.pause), name="ppk2", daemon=True)
        api.set_source_voltage(millivolts)
        api.use_source_meter()
        api.toggle_DUT_power("ON")
        try:
            api.start_measuring()
            thread.start()
            yield stream
        finally:
            stop.set()
            thread.join()
            api.stop_measuring()
            api.toggle_DUT_power("OFF")

    def _open(self, port: str) -> Any:
        try:
            api = self.open_api(port)
            if not api.get_modifiers():
                raise DeviceError(f"{port} does not answer like a PPK2")
        except OSError as error:
            raise DeviceError(f"{port} cannot be opened: {error.strerror or error}") from error
        return api

    def _parts(self) -> tuple[str, int | None]:
        port, _, volts = self.argument.partition(",")
        if not port:
            raise DeviceError("the PPK2's port is not named: ppk2:/dev/ttyACM0,3300")
        if volts and not (volts.isdigit() and VOLTS_MV[0] <= int(volts) <= VOLTS_MV[1]):
            raise DeviceError(f"the PPK2 makes {VOLTS_MV[0]} to {VOLTS_MV[1]} mV, not '{volts}'")
        return port, int(volts) if volts else None


@dataclass(slots=True)
class Taker:
    """Turns currents in uA into energies of blocks."""

    stream: Stream
    volts: float
    rest: list[float] = field(default_factory=list)
    began_ns: int | None = None

    def run(self, api: Any, stop: threading.Event, wait: Pause) -> None:
        """Fetch what has arrived until the end."""
        try:
            ended = False
            while not ended:
                ended = wait(stop, FETCH_S)
                data = api.get_data()
                if data:
                    found = api.get_samples(data)
                    self.take(found[0] if isinstance(found, tuple) else found)
        except OSError as error:
            self.stream.broken = f"the PPK2 was lost: {error.strerror or error}"

    def take(self, microamperes: Sequence[float]) -> None:
        """Take the samples of one fetch."""
        self.began_ns = self.stream.clock() if self.began_ns is None else self.began_ns
        self.rest.extend(microamperes)
        while len(self.rest) >= BLOCK:
            block, self.rest = self.rest[:BLOCK], self.rest[BLOCK:]
            joules = sum(block) * 1e-6 * self.volts / RATE_HZ
            self.stream.add((len(self.stream.joules) + 1) * BLOCK / RATE_HZ, joules)
        if self.stream.joules:
            self.stream.arrived()
            self._check_count()

    def _check_count(self) -> None:
        passed_s = (self.stream.clock() - (self.began_ns or 0)) / 1e9
        missing_s = passed_s - self.stream.ends_s[-1]
        if missing_s > max(10 * FETCH_S, LOST_PART * passed_s):
            self.stream.broken = f"the PPK2 sent {missing_s:.3f} s too few samples in {passed_s:.3f} s: it lost some"
