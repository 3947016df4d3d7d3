"""What is read from the machine, under a root that the test builds."""

from __future__ import annotations

from pathlib import Path

from devices import conditions, meters


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


def test_no_meter_has_a_reason(tmp_path: Path) -> None:
    assert [probe.available for probe in meters.probe(tmp_path)] == [False, False]
    reason = meters.energy_reason(tmp_path)
    assert reason.startswith("no meter on this machine")
    assert "/sys/class/powercap" in reason
    assert "/sys/class/hwmon" in reason


def test_a_meter_that_is_there_is_named(tmp_path: Path) -> None:
    _write(tmp_path, "sys/class/powercap/intel-rapl:0/energy_uj", "12345\n")
    _write(tmp_path, "sys/class/hwmon/hwmon1/power1_input", "900000\n")
    assert [probe.available for probe in meters.probe(tmp_path)] == [True, True]
    assert "/sys/class/powercap/intel-rapl:0/energy_uj" in meters.energy_reason(tmp_path)
    assert "does not read meters" in meters.energy_reason(tmp_path)


def test_a_counter_that_cannot_be_read_is_no_meter(tmp_path: Path) -> None:
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").mkdir(parents=True)
    _write(tmp_path, "sys/class/hwmon/hwmon0/temp1_input", "41000\n")
    rapl, hwmon = meters.probe(tmp_path)
    assert not rapl.available
    assert "cannot be read" in rapl.detail
    assert not hwmon.available
