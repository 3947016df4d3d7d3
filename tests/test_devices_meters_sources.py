"""Single kinds of meters: RAPL's counters, NVML, SCPI through a simulated instrument, LPM01A's lines, all by name."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from devices.errors import DeviceError
from devices.meters import lpm01a_lines, nvml, rapl
from devices.meters.joulescope import Joulescope
from devices.meters.lpm01a import Lpm01a
from devices.meters.meters import METERS, energy_reason, find_meter, own_meter, probe
from devices.meters.ppk2 import Ppk2
from devices.meters.sampler import Timing, unwrapped
from devices.meters.scpi import scpi
from tests import meter_trees as trees
from tests.meter_time import FakeTime


def test_a_counter_that_starts_over() -> None:
    found = unwrapped(np.array([98.0, 99.5, 0.5, 2.0]), 100.0)
    assert found.tolist() == [1.5, 1.0, 1.5]
    lost = unwrapped(np.array([98.0, 99.5, 0.5]), None)
    assert lost[0] == 1.5
    assert math.isnan(lost[1])


def test_rapl_counts_on_over_the_wrap(tmp_path: Path) -> None:
    """Package 0 stands 328,850 uJ before its end, so that it starts over within the first readings."""
    root, fake = trees.write(tmp_path, trees.RAPL), FakeTime(60)
    tree = trees.LivingTree(("energy_uj",), rises=True)
    with rapl.rapl(root, "", tree.read, fake.timing).record() as recording:
        fake.wait()
    trace = recording.trace()
    assert trace.rails == ("package-0", "package-0/dram")  # the core is in the package, psys holds all
    assert {rail.channel for rail in recording.rails()} == {"package-0", "package-0/core", "package-0/dram", "psys"}
    package = next(rail for rail in recording.rails() if rail.channel == "package-0")
    assert np.all(package.values > 0.03)
    assert np.all(package.values < 0.2)
    assert float(np.sum(package.values)) == pytest.approx(0.1 * len(package.values), rel=0.02)


def test_rapl_without_packages_takes_what_there_is(tmp_path: Path) -> None:
    tree = {"sys/class/powercap/intel-rapl:0/name": "psys", "sys/class/powercap/intel-rapl:0/energy_uj": 1}
    assert rapl.rapl(trees.write(tmp_path, tree)).probe().detail == "counts the energy of psys"


def test_a_gpu_without_a_counter_gives_power_with_a_note() -> None:
    class NVMLError(Exception):
        pass

    def refuse(_: int) -> int:
        raise NVMLError("Not Supported")

    library = SimpleNamespace(
        NVMLError=NVMLError,
        nvmlInit=lambda: None,
        nvmlShutdown=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda _: b"Old GPU",
        nvmlDeviceGetPowerUsage=lambda _: 70_000,
        nvmlDeviceGetTotalEnergyConsumption=refuse,
    )
    meter = nvml.nvml("1", lambda: library)
    assert "Old GPU 70 W" in meter.probe().detail
    with meter.record() as recording:
        pass
    assert recording.trace().kind == "power"
    assert "moving average" in " ".join(recording.notes)
    assert "is no number of a GPU" in nvml.nvml("first", lambda: library).probe().detail


INSTRUMENT = """
spec: "1.0"
devices:
  supply:
    eom:
      TCPIP INSTR: {q: "\\n", r: "\\n"}
    error: ERROR
    dialogues:
      - {q: "*IDN?", r: "Some maker, supply, 1, 2"}
    properties:
      voltage: {default: 5.0, getter: {q: "MEAS:VOLT?", r: "{:.4f}"}, setter: {q: "VOLT {:.4f}"}, specs: {type: float}}
      current: {default: 0.5, getter: {q: "MEAS:CURR?", r: "{:.4f}"}, setter: {q: "CURR {:.4f}"}, specs: {type: float}}
  lamp:
    eom:
      TCPIP INSTR: {q: "\\n", r: "\\n"}
    error: ERROR
    dialogues:
      - {q: "*IDN?", r: "No supply"}
resources:
  TCPIP0::localhost::inst0::INSTR: {device: supply}
  TCPIP0::localhost::inst1::INSTR: {device: lamp}
"""


def test_an_instrument_that_speaks_scpi(tmp_path: Path) -> None:
    """Through pyvisa and its simulator; the current moves while the meter reads."""
    pyvisa = pytest.importorskip("pyvisa", reason="pyvisa is not installed")
    pytest.importorskip("pyvisa_sim", reason="pyvisa-sim is not installed")
    file, fake = tmp_path / "bench.yaml", FakeTime(100)
    file.write_text(INSTRUMENT)
    open_managers = []

    def open_manager(backend: str) -> object:
        open_managers.append(pyvisa.ResourceManager(backend))
        return open_managers[-1]

    def pause(stop, seconds):  # type: ignore[no-untyped-def]
        other.write(f"CURR {0.5 + fake.taken % 5 / 100:.4f}")
        return fake.pause(stop, seconds)

    address = f"TCPIP0::localhost::inst0::INSTR@{file}@sim"
    meter = scpi(address, open_manager)
    assert "2.5 W" in meter.probe().detail
    manager = pyvisa.ResourceManager(f"{file}@sim")
    other = manager.open_resource("TCPIP0::localhost::inst0::INSTR", read_termination="\n", write_termination="\n")
    with scpi(address, open_manager, Timing(fake.clock, pause)).record() as recording:
        fake.wait()
    trace = recording.trace()
    assert recording.method == "simulated"
    assert "Some maker, supply, 1, 2" in recording.notes
    assert len(trace.values) >= 100
    assert float(np.mean(trace.values)) == pytest.approx(5 * 0.52, rel=0.01)
    lamp = scpi(f"TCPIP0::localhost::inst1::INSTR@{file}@sim", open_manager).probe()
    assert not lamp.available
    assert "answers 'ERROR' to MEAS:VOLT?" in lamp.detail


@pytest.mark.parametrize(
    ("raw", "kind", "value"),
    [
        (b"6409-07\r", "sample", 6409e-7),
        (b"0000-00", "sample", 0.0),
        (b"TimeStamp: 001s 020ms, buff 00%\r", "time", 1.02),
        (b"event 3 ris", "event", None),
        (b"PowerShield > ack volt 1800m", "answer", None),
        (b"PowerShield > error volt 9000m", "error", None),
        (b"PowerShield > Acquisition completed", "completed", None),
        (b"end", "end", None),
        (b"", "empty", None),
        (b"TimeSta6409-07", "garbled", 6409e-7),
        (b"64\xff9-07", "garbled", None),
        (b"640-07", "garbled", None),
    ],
)
def test_lines_of_the_lpm01a(raw: bytes, kind: str, value: float | None) -> None:
    found = lpm01a_lines.parse(raw)
    assert (found.kind, found.value) == (kind, value)


@pytest.mark.parametrize("joules", [1e-9, 3.21e-7, 42.19e-6, 0.99996e-3, 1.0, 0.0])
def test_samples_come_back_from_their_text(joules: float) -> None:
    found = lpm01a_lines.parse(lpm01a_lines.sample_text(joules).encode())
    assert found.kind == "sample"
    assert found.value == pytest.approx(joules, rel=1e-3)


@pytest.mark.parametrize(
    ("meter", "said"),
    [
        (Lpm01a(""), "port is not named"),
        (Lpm01a("/dev/x,5000m"), "1800m to 3300m"),
        (Lpm01a("/dev/x,1800m,3k"), "not '3k'"),
        (Ppk2("/dev/x,100"), "800 to 5000 mV"),
        (Ppk2(""), "port is not named"),
    ],
)
def test_arguments_that_make_no_sense(meter: Lpm01a | Ppk2, said: str) -> None:
    assert said in meter.probe().detail


@pytest.mark.parametrize("meter", [Lpm01a("/dev/x", lambda _: None), Ppk2("/dev/x")])  # type: ignore[arg-type]
def test_nothing_is_fed_without_a_voltage(meter: Lpm01a | Ppk2) -> None:
    with pytest.raises(DeviceError, match="name its supply voltage"), meter.record():
        pass


def test_the_joulescope_is_closed_again_and_time_that_stands_still_is_noticed() -> None:
    calls: list[str] = []
    message = {"time": {"range": {"value": [0.0, 0.01]}}, "accumulators": {"energy": {"value": 1.0}}}
    device = SimpleNamespace(
        open=lambda: calls.append("open"),
        close=lambda: calls.append("close"),
        parameter_set=lambda name, value: calls.append(f"{name}={value}"),
        statistics_callback_register=lambda callback, _: (callback(message), callback(message)),
        statistics_callback_unregister=lambda *_: calls.append("unregister"),
    )
    with Joulescope(lambda: device).record() as recording:
        pass
    assert calls == ["open", "i_range=auto", "reduction_frequency=100 Hz", "unregister", "close"]
    with pytest.raises(DeviceError, match="time stands still"):
        recording.trace()


def test_every_meter_is_probed_and_none_here_is_no_success(tmp_path: Path) -> None:
    found = probe(tmp_path)
    assert [item.name for item in found] == [kind.name for kind in METERS]
    assert all(len(item.detail) > 10 for item in found)
    assert not any(item.available for item in found if item.name in ("ina3221", "ina2xx", "rapl", "power-supply"))
    assert own_meter(tmp_path) is None
    reason = energy_reason(tmp_path)
    assert reason.startswith("no meter on this machine: ina3221: ")
    assert "/sys/class/powercap" in reason
    assert "/sys/class/hwmon" in reason


def test_the_machines_own_meter(tmp_path: Path) -> None:
    root = trees.write(tmp_path, trees.RAPL)
    meter = own_meter(root)
    assert meter is not None
    assert meter.name == "rapl"
    assert "was not read" in energy_reason(root)
    trees.write(tmp_path, trees.ORIN_NANO)
    better = own_meter(root)
    assert better is not None
    assert better.name == "ina3221"


def test_a_meter_by_name(tmp_path: Path) -> None:
    assert find_meter("ina3221:VDD_SOC", trees.write(tmp_path, trees.ORIN_NANO)).probe().detail.endswith("VDD_SOC")
    with pytest.raises(DeviceError, match="Did you mean 'tegrastats'"):
        find_meter("tegrastat")
