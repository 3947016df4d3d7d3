"""Traces and their integrals: what is summed, held, shared, and refused; and the files they lie in."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest

from devices.errors import DeviceError
from devices.meters.trace import Trace, integrate, total
from devices.meters.trace_file import read_marks, read_trace, windows_of, write_trace


def power(values: list[float], step: float = 0.1, **changes: object) -> Trace:
    array = np.array(values, np.float64)
    return Trace("power", "rail", np.arange(len(values)) * step, array, **changes)  # type: ignore[arg-type]


def energy(values: list[float], step: float = 0.1, **changes: object) -> Trace:
    array = np.array(values, np.float64)
    return Trace("energy", "rail", np.arange(1, len(values) + 1) * step, array, **changes)  # type: ignore[arg-type]


RAMP = [float(i) for i in range(11)]


def test_power_is_held_to_both_marks() -> None:
    """P = 10 t on the samples: 0.1 s of 1 W held, 0.8 s of trapezoids, 0.05 s of 9 W held."""
    found = integrate(power(RAMP), 0.05, 0.95)
    assert found == pytest.approx(0.05 * 1 + sum((i + i + 1) / 2 * 0.1 for i in range(1, 9)) + 0.05 * 9)


def test_a_step_of_power_at_a_mark_is_not_smeared() -> None:
    trace = power([1.0] * 5 + [9.0, 9.01] * 5 + [1.0] * 5)
    assert integrate(trace, 0.46, 1.44) == pytest.approx(0.98 * 9.005, rel=1e-3)


def test_energy_on_the_grid_is_the_sum_of_samples() -> None:
    trace = energy([float(i) for i in range(1, 101)])
    assert integrate(trace, 0.0, 10.0) == pytest.approx(5050)
    assert integrate(trace, 0.3, 0.6) == pytest.approx(4 + 5 + 6)  # 3 * 0.1 is not 0.3 in floating point
    assert integrate(trace, 0.7, 0.9) == pytest.approx(8 + 9)


def test_an_edge_inside_a_sample_takes_its_share() -> None:
    trace = energy([1.0, 2.0, 3.0, 4.0])
    assert integrate(trace, 0.05, 0.35) == pytest.approx(0.5 + 2 + 3 + 2)


@pytest.mark.parametrize(
    ("trace", "window", "said"),
    [
        (power(RAMP), (0.5, 0.5), "ends before it begins"),
        (power(RAMP), (0.0, 3.0), "only covers"),
        (power(RAMP), (-1.0, 0.5), "only covers"),
        (power(RAMP), (0.21, 0.34), "1 samples are too few"),
        (power([1.0, 2.0, float("nan"), 1.0, 2.0], trouble="the rail fell silent"), (0.0, 0.4), "the rail fell silent"),
        (power(RAMP, damaged=(4,)), (0.0, 0.9), "1 samples came in damaged, the first is number 4"),
        (power([3.0] * 40), (0.0, 3.9), "stale"),
        (power([*RAMP, *([3.0] * 40)]), (0.0, 5.0), "40 of 51 samples in a row are equal"),
        (energy([0.0] * 40), (0.0, 4.0), "stale"),
    ],
)
def test_what_has_no_energy(trace: Trace, window: tuple[float, float], said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        integrate(trace, *window)


def test_the_first_period_begins_where_the_meter_was_first_read() -> None:
    """The second reading came late; its period is known all the same."""
    times = 0.5 + np.arange(1, 11) * 0.1
    trace = Trace("energy", "rail", times, np.arange(10.0), begin_s=0.0)
    assert trace.span_s == (0.0, times[-1])
    with pytest.raises(DeviceError, match="after its end"):
        Trace("energy", "rail", times, np.arange(10.0), begin_s=0.6)
    late = Trace("energy", "rail", times, np.arange(1.0, 11.0), begin_s=0.5)
    assert integrate(late, 0.5, 0.8) == pytest.approx(1 + 2 + 3)


def test_damage_outside_of_a_window_does_not_matter() -> None:
    assert integrate(power(RAMP, damaged=(9,)), 0.0, 0.5) > 0


def test_a_pause_of_the_meter_is_noticed() -> None:
    times = np.concatenate((np.arange(20) * 0.1, 5 + np.arange(20) * 0.1))
    trace = Trace("power", "rail", times, 1 + np.arange(40) % 3 * 0.1)
    with pytest.raises(DeviceError, match=r"no sample for 3\.1 s"):
        integrate(trace, 0.0, 6.5)
    assert integrate(trace, 5.0, 6.5) > 0


def test_a_rail_whose_unit_is_off_may_stand_still() -> None:
    assert integrate(power([0.0] * 40), 0.0, 3.9, may_stand_still=True) == 0.0


@pytest.mark.parametrize(
    ("times", "values", "said"),
    [
        ([0.0, 1.0, 1.0], [1.0, 2.0, 3.0], "time does not advance after sample 1"),
        ([0.0, 2.0, 1.0], [1.0, 2.0, 3.0], "stale"),
        ([0.0, float("nan"), 1.0], [1.0, 2.0, 3.0], "time does not advance"),
        ([0.0], [1.0], "holds 1 samples"),
        ([0.0, 1.0], [1.0], "both must be as long"),
    ],
)
def test_what_is_no_trace(times: list[float], values: list[float], said: str) -> None:
    with pytest.raises(DeviceError, match=said):
        Trace("power", "rail", np.array(times), np.array(values))


def test_rails_add_up_and_name_themselves() -> None:
    a, b = power(RAMP), Trace("power", "other", np.arange(11) * 0.1, np.ones(11), damaged=(2,))
    found = total((a, b))
    assert found.values.tolist() == [value + 1 for value in RAMP]
    assert (found.rails, found.damaged, found.channel) == (("rail", "other"), (2,), "total")
    with pytest.raises(DeviceError, match="not sampled together"):
        total((a, power(RAMP, 0.2)))
    with pytest.raises(DeviceError, match="no rail"):
        total(())


def test_windows_are_paired_from_the_last_mark() -> None:
    assert windows_of((1.0, 2.0, 3.0, 4.0), 7) == ((1.0, 2.0, 7), (3.0, 4.0, 7))
    assert windows_of((0.1, 1.0, 2.0), 7) == ((1.0, 2.0, 7),)
    with pytest.raises(DeviceError, match="enclose no window"):
        windows_of((1.0,), 7)


def test_a_trace_comes_back_from_its_file(tmp_path: Path) -> None:
    trace = energy(
        [1.0, float("nan"), -0.5, 4.0], marks_s=(0.1, 0.3), damaged=(1,), rails=("a", "b"), trouble="t", begin_s=-0.25
    )
    write_trace(tmp_path / "t.json", trace)
    found = read_trace(tmp_path / "t.json")
    assert found.values.tolist()[2:] == [-0.5, 4.0]
    assert np.isnan(found.values[1])
    assert np.array_equal(found.times_s, trace.times_s)
    for name in ("kind", "channel", "marks_s", "clock", "damaged", "rails", "trouble", "begin_s"):
        assert getattr(found, name) == getattr(trace, name)
    assert [path.name for path in tmp_path.iterdir()] == ["t.json"]


def test_an_mlperf_trace_with_its_marks(tmp_path: Path) -> None:
    path = tmp_path / "trace1-energy.bin"
    path.write_bytes(b"\xf1" + struct.pack("<4f", 500.0, 10.0, 20.0, 30.0))
    (tmp_path / "trace1-timestamps.json").write_text("[0.002, 0.006]")
    found = read_trace(path)
    assert found.values == pytest.approx([10e-6, 20e-6, 30e-6])
    assert found.times_s == pytest.approx([0.002, 0.004, 0.006])
    assert found.marks_s == (0.002, 0.006)
    assert integrate(found, 0.002, 0.006) == pytest.approx(50e-6)


JSON = {
    "schema": 1,
    "kind": "power",
    "channel": "c",
    "times_s": [0.0, 1.0],
    "values": [1.0, 2.0],
    "marks_s": [],
    "clock": "trace",
    "damaged": [],
    "rails": [],
    "trouble": "",
    "begin_s": None,
}


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("t.bin", b"", "does not begin with 0xF1"),
        ("t.bin", b"\x00" * 13, "does not begin with 0xF1"),
        ("t.bin", b"\xf1" + struct.pack("<2f", 1000.0, 1.0)[:-1], "cut off"),
        ("t.bin", b"\xf1" + struct.pack("<3f", 0.0, 1.0, 1.0), "a rate of 0"),
        ("t.bin", b"\xf1" + struct.pack("<3f", float("nan"), 1.0, 1.0), "a rate of nan"),
        ("t.csv", b"", "has a header"),
        ("t.csv", b"time_s,amperes\n0,1\n", "has a header"),
        ("t.csv", b"time_s,power_w\n0,1\n1,one\n", "line 3 holds 'one'"),
        ("t.csv", b"time_s,power_w\n0,1\n1\n", "line 3 holds 'None'"),
        ("t.csv", b"\xff\xfe", "no CSV"),
        ("t.json", b"[]", "t.json"),
        ("t.json", json.dumps({**JSON, "schema": 2}).encode(), "trace schema 2"),
        ("t.json", json.dumps({**JSON, "kind": "voltage"}).encode(), "kind 'voltage'"),
        ("t.json", json.dumps({**JSON, "more": 1}).encode(), "more"),
        ("t.json", json.dumps({**JSON, "values": [1.0, "2"]}).encode(), "values"),
        ("t.json", json.dumps({**JSON, "values": [1.0]}).encode(), "both must be as long"),
    ],
)
def test_files_that_are_no_traces_are_refused_by_name(name: str, data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DeviceError, match=said):
        read_trace(tmp_path / name)


@pytest.mark.parametrize(("text", "said"), [("{", "no JSON"), ("[1.0, 1.0]", "must rise"), ('["a"]', "marks")])
def test_marks_that_are_none(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text(text)
    with pytest.raises(DeviceError, match=said):
        read_marks(tmp_path / "m.json")
