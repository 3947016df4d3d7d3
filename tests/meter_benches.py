"""Every kind of meter on a bench where it can be made to fail: the same five faults for each."""

from __future__ import annotations

import math
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from devices.meters import ina, nvml, rapl, scpi, supply, tegrastats
from devices.meters.meter import Meter
from devices.meters.replay import Replay
from devices.meters.tegrastats import Tegrastats
from tests import meter_instruments
from tests import meter_trees as trees
from tests.meter_bench import BROKEN, DENIED, MISSING, SAMPLES, Bench, Reading
from tests.meter_time import PATIENCE_S, FakeTime
from tests.meter_trees import LivingTree


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
    "lpm01a": meter_instruments.lpm01a,
    "joulescope": meter_instruments.joulescope,
    "ppk2": meter_instruments.ppk2,
    "replay": _replay,
}
