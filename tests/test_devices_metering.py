"""A run with a meter beside it: its windows' energy, what is kept, and what is refused."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import runner
from devices.boards import find_board
from devices.errors import DeviceError
from devices.found import Found
from devices.measurement_record import from_json, to_json
from devices.metering import Metering, run_all_metered, run_metered
from devices.meters import rapl
from devices.meters.meter import Meter, raw_clock
from devices.meters.trace import integrate
from devices.meters.trace_file import read_trace, windows_of
from devices.runtimes import missing
from export import arm_m
from tests import meter_trees as trees
from tests.meter_time import FakeTime
from tests.parts import short_plan, write_part


def ten_watts(folder: Path) -> Meter:
    """RAPL counters that rise by 10 W of real time, with a ripple."""
    root, begin = trees.write(folder, trees.RAPL), raw_clock()

    def read(path: Path) -> str:
        if path.name != "energy_uj" or path.parent.name != "intel-rapl:0":
            return path.read_text()
        passed_s = (raw_clock() - begin) / 1e9
        return f"{round(1e6 * (10 * passed_s + 0.01 * math.sin(40 * passed_s)))}"

    return rapl.rapl(root, "package-0", read)


def test_a_run_on_this_machine_with_a_meter_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real worker, a real thread, a made-up counter: 10 W times the length of a window over its inferences."""
    reason = missing(find_board("host-c"))
    if reason:
        pytest.skip(reason)
    monkeypatch.setattr(Metering, "find", lambda *_: ten_watts(tmp_path / "root"))
    plan = short_plan(
        write_part(tmp_path / "part", arm_m.TARGET), "host-c", "arm-m", windows=5, window_s=1.2, warmup_s=0.3
    )
    plan = replace(plan, scenario="offline")  # its windows are filled; single queries end after some thousands
    found = runner.profile(plan, metering=Metering("rapl", keep=tmp_path / "kept"))
    if found.energy is None:  # a busy machine may starve the sampling thread, and then has to say so
        said = dict(found.absent)["energy"]
        assert "no sample for" in said or "are the least" in said
        pytest.skip(said)
    assert found.energy_j == found.energy.gross_j
    assert found.energy.method == "measured"
    assert found.energy.power_w == pytest.approx([10.0] * 5, rel=0.1)
    assert found.latency_s is not None
    assert found.energy.inferences == (found.samples_per_query,) * 5
    assert found.samples_per_query > 100
    seconds = np.array([sum(window) for window in found.latency_s])
    assert np.array(found.energy_j) * found.samples_per_query == pytest.approx(10 * seconds, rel=0.1)
    assert "energy" not in dict(found.absent)
    assert from_json(to_json(found)) == found
    kept = read_trace(tmp_path / "kept/toy-host-c.trace.json")
    windows = windows_of(kept.marks_s, 1)
    again = [integrate(kept, *window[:2]) / n for window, n in zip(windows, found.energy.inferences, strict=True)]
    assert again == pytest.approx(found.energy_j)


def test_parts_that_take_turns_have_energies_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 0.3 s, A B B A, and counters that rise by 10 W: both sides get their own windows' energy."""
    monkeypatch.setattr(Metering, "find", lambda *_: ten_watts(tmp_path))

    def run() -> tuple[Found, ...]:
        begin = raw_clock()
        time.sleep(2.4)
        windows = [(begin + k * 3 * 10**8, begin + (k + 1) * 3 * 10**8) for k in range(8)]
        sides = ([w for k, w in enumerate(windows) if (k % 4 in (0, 3)) == first] for first in (True, False))
        return tuple(
            Found("test", (), latency_s=((0.01,) * count,) * 4, windows_ns=tuple(side))
            for side, count in zip(sides, (10, 5), strict=True)
        )

    base, other = run_all_metered(find_board("host-c"), tmp_path, Metering("rapl"), run)
    for found, count in ((base, 10), (other, 5)):
        if found.energy is None:
            said = dict(found.absent)["energy"]
            assert "no sample for" in said or "are the least" in said
            pytest.skip(said)
        assert found.energy.inferences == (count,) * 4
        assert sum(found.energy.gross_j) == pytest.approx(4 * 10 * 0.3 / count, rel=0.2)


def test_the_idle_phase_is_recorded_before_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(Metering, "find", lambda *_: ten_watts(tmp_path))
    metering = Metering("rapl", 3.0, sleep=waited.append)
    found = run_metered(find_board("host-c"), tmp_path, metering, lambda: Found("test", ()))
    assert waited == [3.0]
    assert "does not say when its windows were" in dict(found.absent)["energy"]
    with pytest.raises(DeviceError, match="idle_s is -1"):
        Metering("", -1.0)


def test_a_recorded_trace_is_no_meter_of_this_run(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("time_s,power_w\n" + "\n".join(f"{i},{i % 3}" for i in range(50)))
    begin = raw_clock()
    run = Found("test", (), latency_s=((0.1,),), windows_ns=((begin, begin + 10**9),))
    found = run_metered(find_board("host-ort"), tmp_path, Metering(f"replay:{tmp_path / 't.csv'}"), lambda: run)
    assert found.energy is None
    assert dict(found.absent)["energy"].startswith("meter replay: ")


def test_a_meter_of_this_machine_says_nothing_of_another() -> None:
    for name in ("mps2-an386", "null"):
        with pytest.raises(DeviceError, match=f"board '{name}' is"):
            run_metered(find_board(name), Path("/"), Metering("rapl"), lambda: Found("test", ()))


def test_without_a_meter_the_run_is_as_ever(tmp_path: Path) -> None:
    run = Found("test", ())
    assert run_metered(find_board("host-ort"), tmp_path, Metering(), lambda: run) is run


@pytest.mark.parametrize("blocked", [False, True])
def test_a_trace_that_cannot_be_kept_is_a_note(blocked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake, root = FakeTime(), trees.write(tmp_path / "root", trees.RAPL)
    tree = trees.LivingTree(("energy_uj",), rises=True)
    monkeypatch.setattr(Metering, "find", lambda *_: rapl.rapl(root, "", tree.read, fake.timing))
    folder = tmp_path / "kept"
    if blocked:
        folder.write_text("a file stands in the way")

    def run() -> Found:
        begin = fake.clock()
        fake.wait()
        return Found("test", (), latency_s=((0.1,) * 5,), windows_ns=((begin, begin + 10**9),))

    found = run_metered(find_board("host-ort"), tmp_path, Metering("rapl", keep=folder), run, "part-host-ort")
    assert found.energy is not None
    assert blocked == any("the trace could not be kept" in note for note in found.energy.notes)
    assert blocked != (folder / "part-host-ort.trace.json").exists()
