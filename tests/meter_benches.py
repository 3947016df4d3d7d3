"""Every kind of meter on a bench where it can be made to fail: the same five faults for each."""

from __future__ import annotations

import errno
import math
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from devices.meters import ina, nvml, rapl, scpi, supply, tegrastats
from devices.meters.joulescope import Joulescope
from devices.meters.lpm01a import Lpm01a
from devices.meters.meter import Meter
from devices.meters.ppk2 import Ppk2
from devices.meters.replay import Replay
from devices.meters.tegrastats import Tegrastats
from tests import meter_trees as trees
from tests.meter_time import PATIENCE_S, FakeTime
from tests.meter_trees import LivingTree

SAMPLES = 300
DENIED = PermissionError(errno.EACCES, "Permission denied")
MISSING = FileNotFoundError(errno.ENOENT, "No such file or directory")
BROKEN = OSError(errno.EIO, "Input/output error")


@dataclass
class Bench:
    """A meter, what happens while it records, and the clock of its trace; None: the file's own."""

    meter: Meter
    work: Callable[[], None]
    clock: Callable[[], int] | None


@dataclass
class Reading:
    """A value that moves, and after `good` readings does what the fault says."""

    fault: str | None
    good: int
    failure: Mapping[str, Exception] = field(default_factory=dict)
    count: int = 0
    last: float = 0.0

    def next(self, base: float, rises: float = 0.0) -> float:
        """Return the next value, or raise what the fault raises."""
        self.count += 1
        broken = self.fault is not None and self.count > self.good
        if broken and self.fault in self.failure:
            raise self.failure[str(self.fault)]
        if broken and self.fault == "nan":
            return math.nan
        if not (broken and self.fault == "stale" and self.last):
            self.last = base * (1 + self.count % 7 / 100) + rises * self.count
        return self.last


def _tree(
    make: Callable[..., Meter], files: Mapping[str, object], moving: tuple[str, ...], *, rises: bool = False
) -> Callable[[str | None, int, Path], Bench]:
    def bench(fault: str | None, good: int, folder: Path) -> Bench:
        at_once_absent = fault == "absent" and good == 0
        root = folder if at_once_absent else trees.write(folder, files)
        time, tree = FakeTime(SAMPLES), LivingTree(moving, rises, fault, good)
        return Bench(make(root, "", tree.read, time.timing), time.wait, time.clock)

    return bench


def _tegrastats(fault: str | None, good: int, folder: Path) -> Bench:
    time, script = FakeTime(SAMPLES), folder / "tegrastats"
    if good == 0 and fault in ("absent", "denied"):
        if fault == "denied":
            script.write_text("#!/bin/sh\n")
            script.chmod(0o600)
        return Bench(Tegrastats(start=lambda argv: tegrastats.start((str(script), *argv[1:]))), time.wait, time.clock)
    starts: list[int] = []

    def spoilt(value: float) -> str:
        rail = f"{round(value)}mW" if math.isfinite(value) else "nan"
        return "tegrastats: error" if fault == "unreadable" else f"RAM 1/2MB VDD_IN {rail}/4700mW VDD_SOC {rail}/1mW"

    def lines(ended: threading.Event) -> Iterator[str]:
        reading = Reading(fault, good)
        for _ in range(SAMPLES):
            time.now_ns += 100_000_000
            value = reading.next(4700)
            if ended.is_set():
                return
            if not starts[1:]:  # the probe: one line, and no more until it ends
                yield f"VDD_IN {round(value)}mW/1mW VDD_SOC 9mW/1mW" if good or not fault else spoilt(value)
                ended.wait(PATIENCE_S)
                return
            if fault in ("absent", "denied") and reading.count > good:
                continue  # it was killed: time passes without a line
            yield spoilt(value) if reading.count > good else f"VDD_IN {round(value)}mW/1mW VDD_SOC 9mW/1mW"
        time.full.set()

    @contextmanager
    def start(_: tuple[str, ...]) -> Iterator[Iterator[str]]:
        ended = threading.Event()
        starts.append(1)
        yield lines(ended)
        ended.set()

    return Bench(Tegrastats(start=start, clock=time.clock), time.wait, time.clock)


def _nvml(fault: str | None, good: int, _: Path) -> Bench:
    class NVMLError(Exception):
        pass

    time = FakeTime(SAMPLES)
    failure = {
        "absent": NVMLError("GPU is lost"),
        "unreadable": NVMLError("Unknown Error"),
        "denied": NVMLError("Insufficient Permissions"),
    }
    reading = Reading(fault, good, failure)

    def init() -> None:
        if fault == "absent" and good == 0:
            raise NVMLError("Driver Not Loaded")

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=init,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda _: "GPU",
        nvmlDeviceGetPowerUsage=lambda _: reading.next(70_000),
        nvmlDeviceGetTotalEnergyConsumption=lambda _: reading.next(100, rises=3500),
    )
    return Bench(nvml.nvml("0", lambda: library, time.timing), time.wait, time.clock)


def _scpi(fault: str | None, good: int, _: Path) -> Bench:
    from pyvisa.errors import VisaIOError

    time = FakeTime(SAMPLES)
    timeout = VisaIOError(-1073807339)
    reading = Reading(fault, good, {"unreadable": timeout, "absent": timeout, "denied": DENIED})

    def query(question: str) -> str:
        return "Some maker, model 1" if question == "*IDN?" else f"{reading.next(1.0):.6f}"

    def open_resource(*_: Any, **__: Any) -> Any:
        if good == 0 and fault in ("absent", "denied"):
            raise MISSING if fault == "absent" else DENIED
        return SimpleNamespace(query=query, close=lambda: None, timeout=0)

    manager = SimpleNamespace(open_resource=open_resource, close=lambda: None)
    return Bench(scpi.scpi("TCPIP0::192.0.2.5::inst0::INSTR", lambda _: manager, time.timing), time.wait, time.clock)


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


def _lpm01a(fault: str | None, good: int, _: Path) -> Bench:
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


def _joulescope(fault: str | None, good: int, _: Path) -> Bench:
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


def _ppk2(fault: str | None, good: int, _: Path) -> Bench:
    time = FakeTime(SAMPLES)
    reading = Reading(fault, good, {"absent": BROKEN, "unreadable": BROKEN, "denied": DENIED})

    def get_samples(_: bytes) -> tuple[list[float], list[int]]:
        return [reading.next(9000.0)] * 1000, []

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

    def work() -> None:
        if fault in ("absent", "denied", "unreadable"):
            time.now_ns += SAMPLES * 10_000_000  # the thread has ended; time passes
        else:
            time.wait()

    return Bench(Ppk2("/dev/ttyACM0,3300", open_api, time.clock, time.pause), work, time.clock)


def _replay(fault: str | None, good: int, folder: Path) -> Bench:
    path, reading = folder / "t-energy.bin", Reading(fault, good)
    values = [reading.next(40.0) for _ in range(SAMPLES)]
    path.write_bytes(b"\xf1" + struct.pack(f"<{SAMPLES + 1}f", 1000.0, *values))

    def read(file: Path) -> bytes:
        if fault in ("absent", "unreadable", "denied"):
            raise {"absent": MISSING, "unreadable": BROKEN, "denied": DENIED}[fault]
        return file.read_bytes()

    return Bench(Replay(str(path), read), lambda: None, None)


#: One bench for each of METERS: the fault or None, after how many good readings, and an empty folder.
BENCHES: Mapping[str, Callable[[str | None, int, Path], Bench]] = {
    "ina3221": _tree(ina.ina3221, trees.AGX_ORIN, ("_input",)),
    "ina2xx": _tree(ina.ina2xx, trees.INA226, ("_input",)),
    "rapl": _tree(rapl.rapl, trees.RAPL, ("energy_uj",), rises=True),
    "power-supply": _tree(supply.supply, trees.SUPPLY, ("_now",)),
    "tegrastats": _tegrastats,
    "nvml": _nvml,
    "scpi": _scpi,
    "lpm01a": _lpm01a,
    "joulescope": _joulescope,
    "ppk2": _ppk2,
    "replay": _replay,
}
