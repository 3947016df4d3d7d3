"""What is read from the machine, under a root that the test builds."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices import conditions, snapshot
from devices.errors import DeviceError
from devices.state import STATES, Clock, Temperature


def _write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_conditions_of_a_recorded_machine(tmp_path: Path) -> None:
    _write(tmp_path, "proc/loadavg", "1.25 0.50 0.25 1/100 999\n")
    _write(tmp_path, "proc/cpuinfo", "processor : 0\nmodel name : Fast CPU\n\nprocessor : 1\nmodel name : Other\n")
    _write(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "performance\n")
    found = conditions.after(conditions.before(tmp_path), tmp_path)
    assert (found.cpu_model, found.load_before, found.load_after) == ("Fast CPU", 1.25, 1.25)
    assert (found.governor, found.governor_reason) == ("performance", None)
    assert found.cores >= 1


def test_what_is_not_there_has_a_reason(tmp_path: Path) -> None:
    found = conditions.after(conditions.before(tmp_path), tmp_path)
    assert found.cpu_model == "unknown"
    assert found.governor is None
    assert found.governor_reason is not None
    assert "scaling_governor does not exist" in found.governor_reason


CPU = "sys/devices/system/cpu"


def _orin(root: Path, gpu_hz: int = 306_000_000, oc: int = 27_390, hot: int = 48_500) -> None:
    """A tree like that of an Orin, for what is read here."""
    _write(root, "proc/sys/kernel/random/boot_id", "b0\n")
    _write(root, "proc/loadavg", "0.50 0.50 0.25 1/100 999\n")
    _write(root, "proc/sys/kernel/ostype", "Linux\n")
    _write(root, "proc/sys/kernel/osrelease", "5.15.148-tegra\n")
    _write(root, f"{CPU}/online", "0-3,6\n")
    _write(root, "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    for policy, name in (("policy0", "schedutil"), ("policy4", "performance")):
        for file, text in (("governor", name), ("min_freq", "115200"), ("max_freq", "1510400"), ("cur_freq", "729600")):
            _write(root, f"{CPU}/cpufreq/{policy}/scaling_{file}", f"{text}\n")
    for file, number in (("min_freq", 306_000_000), ("max_freq", 1_020_000_000), ("cur_freq", gpu_hz)):
        _write(root, f"sys/class/devfreq/17000000.gpu/{file}", f"{number}\n")
    _write(root, "sys/class/devfreq/17000000.gpu/governor", "nvhost_podgov\n")
    for zone, kind, temp in ((0, "cpu-thermal", hot), (1, "gpu-thermal", 47_000), (2, "cv0-thermal", -256_000)):
        _write(root, f"sys/class/thermal/thermal_zone{zone}/type", f"{kind}\n")
        _write(root, f"sys/class/thermal/thermal_zone{zone}/temp", f"{temp}\n")
    _write(root, "sys/class/hwmon/hwmon3/name", "soctherm_oc\n")
    _write(root, "sys/class/hwmon/hwmon3/oc3_event_cnt", f"{oc}\n")


def test_clocks_temperatures_and_throttling_before_and_after(tmp_path: Path) -> None:
    """A domain for each policy and the GPU; a sensor that is off is left out; the counter rose."""
    _orin(tmp_path)
    earlier = conditions.before(tmp_path)
    _orin(tmp_path, gpu_hz=1_020_000_000, oc=27_397, hot=61_250)
    found = conditions.after(earlier, tmp_path)
    assert [clock.name for clock in found.clocks] == ["policy0", "policy4", "17000000.gpu"]
    assert found.clocks[1] == Clock("policy4", "performance", 115_200_000, 1_510_400_000, 729_600_000, 729_600_000)
    assert found.clocks[2] == Clock(
        "17000000.gpu", "nvhost_podgov", 306_000_000, 1_020_000_000, 306_000_000, 1_020_000_000
    )
    assert found.temperatures == (Temperature("cpu-thermal", 48.5, 61.25), Temperature("gpu-thermal", 47.0, 47.0))
    assert [(counter.name, counter.rise) for counter in found.throttled] == [("soctherm_oc oc3", 7)]
    assert (found.boot_id, found.governor, found.cores) == ("b0", "schedutil", 5)
    assert (found.system, found.cpu_model) == ("Linux 5.15.148-tegra", "NVIDIA Jetson Orin Nano Developer Kit")
    assert dict(found.absent) == {"power_mode": conditions.NO_MODE}


def test_an_intel_machine_counts_throttling_by_core(tmp_path: Path) -> None:
    for core, count in ((0, 3), (10, 5), (2, 4)):
        _write(tmp_path, f"{CPU}/cpu{core}/thermal_throttle/core_throttle_count", f"{count}\n")
        _write(tmp_path, f"{CPU}/cpu{core}/cpufreq/scaling_cur_freq", "800000\n")
    found = conditions.after(conditions.before(tmp_path), tmp_path)
    assert [(counter.name, counter.after) for counter in found.throttling] == [
        ("cpu0 core", 3),
        ("cpu2 core", 4),
        ("cpu10 core", 5),
    ]
    assert [(clock.name, clock.governor, clock.after_hz) for clock in found.clocks] == [
        ("cpu0", None, 800_000_000),
        ("cpu2", None, 800_000_000),
        ("cpu10", None, 800_000_000),
    ]


def test_every_state_that_is_not_there_has_a_reason(tmp_path: Path) -> None:
    found = conditions.after(conditions.before(tmp_path), tmp_path)
    assert (found.load_before, found.load_after, found.boot_id) == (None, None, None)
    assert set(dict(found.absent)) == set(STATES)
    assert all(len(reason) > 15 for _, reason in found.absent)


def test_unreadable_and_senseless_files_are_absent_not_zero(tmp_path: Path) -> None:
    _write(tmp_path, f"{CPU}/cpufreq/policy0/scaling_cur_freq", "<unknown>\n")
    _write(tmp_path, "sys/class/thermal/thermal_zone0/temp", "\n")
    (tmp_path / "sys/class/hwmon/hwmon0/oc1_event_cnt").mkdir(parents=True)
    found = conditions.after(conditions.before(tmp_path), tmp_path)
    assert (found.clocks, found.temperatures, found.throttling) == ((), (), ())
    assert {"clocks", "temperatures", "throttling"} <= set(dict(found.absent))


def test_a_restart_in_between_is_an_error(tmp_path: Path) -> None:
    _orin(tmp_path)
    earlier = conditions.before(tmp_path)
    _write(tmp_path, "proc/sys/kernel/random/boot_id", "b1\n")
    with pytest.raises(DeviceError, match="the device was restarted during the run: boot b0, then b1"):
        conditions.after(earlier, tmp_path)


def test_the_power_mode_takes_the_place_of_its_reason(tmp_path: Path) -> None:
    state = conditions.after(conditions.before(tmp_path), tmp_path)
    found = conditions.with_power_mode(state, "MAXN (0)", "")
    assert found.power_mode == "MAXN (0)"
    assert "power_mode" not in dict(found.absent)
    assert dict(conditions.with_power_mode(found, None, "no nvpmodel").absent)["power_mode"] == "no nvpmodel"


def test_the_globs_cover_what_is_read(tmp_path: Path) -> None:
    """A tree fetched by them gives the same as the device's own."""
    device, copy = tmp_path / "device", tmp_path / "copy"
    _orin(device)
    _write(device, "proc/cpuinfo", "model name : Fast CPU\n")
    _write(device, f"{CPU}/cpu3/thermal_throttle/package_throttle_count", "9\n")
    _write(device, "sys/class/thermal/cooling_device1/type", "cpufreq-cpu0\n")
    _write(device, "sys/class/thermal/cooling_device1/stats/total_trans", "4\n")
    files = {path for pattern in conditions.GLOBS for path in device.glob(pattern) if path.is_file()}
    answer = b"".join(
        f"file /{path.relative_to(device)}\n".encode()
        + b"".join(b"=" + line + b"\n" for line in path.read_bytes().replace(b"\0", b"").splitlines())
        for path in sorted(files)
    )
    assert snapshot.unpack(answer + b"denied /proc/secret\n", copy) == ("/proc/secret",)
    assert conditions.after(conditions.before(copy), copy) == conditions.after(conditions.before(device), device)


@pytest.mark.parametrize("line", ["file ../x", "file /a/../../x", "what", "file relative", "=lost", "file /"])
def test_an_answer_that_leads_elsewhere_is_refused(line: str, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="the device answered"):
        snapshot.unpack(f"{line}\n=x\n".encode(), tmp_path)
    assert list(tmp_path.iterdir()) == []
