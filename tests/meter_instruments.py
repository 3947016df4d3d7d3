"""Benches of instruments that feed the device: LPM01A, Joulescope, PPK2, each with a driver object made up here."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from devices.meters.joulescope import Joulescope
from devices.meters.lpm01a import Lpm01a
from devices.meters.ppk2 import Ppk2
from tests.meter_bench import BROKEN, DENIED, MISSING, SAMPLES, Bench, Reading
from tests.meter_time import FakeTime


@dataclass
class FakePort:
    """A serial port with an LPM01A behind it."""

    reading: Reading
    time: FakeTime
    waiting: bytes = b""
    running: bool = False
    sent: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def in_waiting(self) -> int:
        return len(self.waiting)

    def write(self, data: bytes) -> int:
        command = data.decode().strip()
        garbage = self.reading.fault == "unreadable" and self.reading.good == 0
        with self.lock:
            self.running = command == "start" or (self.running and command != "stop")
            self.waiting += b"\x00\xff\r\n" if garbage else f"PowerShield > ack {command}\r\n".encode()
            if command == "stop":
                self.waiting += b"PowerShield > Acquisition completed\r\n"
        return len(data)

    def read(self, size: int) -> bytes:
        with self.lock:
            if self.running and not self.waiting:
                self.waiting = self._sample()
            elif not self.waiting:
                self.time.now_ns += 1_000_000_000  # a time-out without a byte
            found, self.waiting = self.waiting[:size], self.waiting[size:]
        return found

    def _sample(self) -> bytes:
        if self.sent >= SAMPLES:
            self.time.full.set()
            return b""
        self.sent += 1
        self.time.now_ns += 1_000_000
        value = self.reading.next(4000)
        garbage = self.reading.fault == "unreadable" and self.reading.count > self.reading.good
        return f"{round(value):04d}-08\r\n".encode() if math.isfinite(value) and not garbage else b"4?00-\r\n"

    def close(self) -> None:
        """Nothing is held."""


def lpm01a(fault: str | None, good: int, _: Path) -> Bench:
    time = FakeTime(SAMPLES)
    reading = Reading(fault, good, {"absent": BROKEN, "denied": DENIED})

    def open_port(_: str) -> FakePort:
        if good == 0 and fault in ("absent", "denied"):
            raise MISSING if fault == "absent" else DENIED
        return FakePort(reading, time)

    def work() -> None:
        if fault not in ("absent", "denied") or good == 0:
            time.wait()

    return Bench(Lpm01a("/dev/ttyACM0,1800m", open_port, time.clock), work, time.clock)


def joulescope(fault: str | None, good: int, _: Path) -> Bench:
    time, reading, callbacks = FakeTime(SAMPLES), Reading(fault, good), []

    def scan() -> Any:
        if good == 0 and fault in ("absent", "denied", "unreadable"):
            raise {"absent": RuntimeError("no devices found"), "denied": DENIED, "unreadable": BROKEN}[fault]
        return SimpleNamespace(
            open=lambda: None,
            close=lambda: None,
            parameter_set=lambda *_: None,
            statistics_callback_register=lambda callback, _: callbacks.append(callback),
            statistics_callback_unregister=lambda callback, _: callbacks.remove(callback),
        )

    def work() -> None:
        for index in range(SAMPLES):
            time.now_ns += 10_000_000
            broken = reading.count >= good
            if broken and fault in ("absent", "denied"):
                continue  # it was unplugged: no more messages
            sum_j = reading.next(0.001, rises=0.005)
            message = {"time": {"range": {"value": [index / 100, (index + 1) / 100]}}, "accumulators": {}}
            if not (broken and fault == "unreadable"):
                message["accumulators"] = {"energy": {"value": sum_j}}
            callbacks[0](message)

    return Bench(Joulescope(scan, time.clock), work, time.clock)


def ppk2(fault: str | None, good: int, _: Path) -> Bench:
    time = FakeTime(SAMPLES)
    reading = Reading(fault, good, {"absent": BROKEN, "unreadable": BROKEN, "denied": DENIED})

    def get_samples(_: bytes) -> tuple[list[float], list[int]]:
        try:
            return [reading.next(9000.0)] * 1000, []
        except OSError:
            time.full.set()  # the thread ends here
            raise

    def open_api(_: str) -> Any:
        if good == 0 and fault in ("absent", "denied"):
            raise MISSING if fault == "absent" else DENIED
        nothing: Callable[..., None] = lambda *_: None  # noqa: E731
        return SimpleNamespace(
            get_modifiers=lambda: not (fault == "unreadable" and good == 0),
            get_data=lambda: b"data" if time.taken <= SAMPLES else b"",
            get_samples=get_samples,
            set_source_voltage=nothing,
            use_source_meter=nothing,
            toggle_DUT_power=nothing,
            start_measuring=nothing,
            stop_measuring=nothing,
        )

    return Bench(Ppk2("/dev/ttyACM0,3300", open_api, time.clock, time.pause), time.wait, time.clock)
