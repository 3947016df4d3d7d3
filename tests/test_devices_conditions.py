"""What is read from the machine, under a root that the test builds."""

from __future__ import annotations

from pathlib import Path

from devices import conditions


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
