"""A meter that is absent, unreadable, forbidden, or gives NaN or stale values: a reason, never 0, never success."""

from __future__ import annotations

from pathlib import Path

import pytest

from devices.boards import find_board
from devices.errors import DeviceError
from devices.found import Found
from devices.metering import Metering, run_metered
from devices.meters.energy import Energy, energy_of
from devices.meters.meters import METERS
from tests.meter_bench import SAMPLES, Bench
from tests.meter_benches import BENCHES
from tests.meter_trees import FAULTS

#: What the reason must speak of; any of these words.
WORDS = {
    "absent": ("no ", "nothing", "none", "cannot", "not ", "lost", "few", "covers", "damaged", "samples"),
    "unreadable": ("cannot", "Input/output", "garbled", "damaged", "answer", "form", "rail", "Unknown"),
    "denied": ("denied", "Permission", "lost", "samples", "covers", "no numbers"),
    "nan": ("no number", "garbled", "damaged", "rail"),
    "stale": ("stale",),
}


def outcome(bench: Bench) -> Energy | str:
    """Energy of five windows, or the reason why there is none."""
    probe = bench.meter.probe()
    assert probe.detail
    if not probe.available:
        return probe.detail
    try:
        begin = bench.clock() / 1e9 if bench.clock else None
        with bench.meter.record() as recording:
            bench.work()
            end = bench.clock() / 1e9 if bench.clock else None
        low, high = (begin, end) if begin is not None and end is not None else recording.trace().span_s
        low, high = low + 0.05 * (high - low), high - 0.05 * (high - low)
        step = (high - low) / 5
        windows = tuple((low + i * step, low + (i + 1) * step, 7) for i in range(5))
        return energy_of(recording.trace(), windows, None, recording.spec(), meter=probe.name, method=recording.method)
    except DeviceError as error:
        return str(error)


def test_every_meter_has_a_bench() -> None:
    assert set(BENCHES) == {kind.name for kind in METERS}


@pytest.mark.parametrize("name", BENCHES)
def test_a_meter_in_order_gives_energy(name: str, tmp_path: Path) -> None:
    found = outcome(BENCHES[name](None, 0, tmp_path))
    assert isinstance(found, Energy), found
    assert min(found.gross_j) > 0
    assert len(set(found.gross_j)) > 1
    assert found.meter == name
    assert found.expanded_j is not None
    assert found.expanded_j > 0
    assert found.method == ("replayed" if name == "replay" else "measured")


@pytest.mark.parametrize("good", [0, SAMPLES // 2], ids=["from the start", "in the middle"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", BENCHES)
def test_a_faulty_meter_gives_a_reason(name: str, fault: str, good: int, tmp_path: Path) -> None:
    found = outcome(BENCHES[name](fault, good, tmp_path))
    assert isinstance(found, str), f"{name} {fault} gave {found}"
    assert len(found) > 10
    assert any(word in found for word in WORDS[fault]), found


@pytest.mark.parametrize("fault", [None, *FAULTS])
def test_the_reason_stands_in_the_result(fault: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run itself is never spoilt: what it gave is there, and energy or a reason."""
    bench = BENCHES["rapl"](fault, 0, tmp_path)
    monkeypatch.setattr(Metering, "find", lambda *_: bench.meter)

    def run() -> Found:
        assert bench.clock is not None
        begin = bench.clock()
        if fault in (None, "stale"):  # the others never begin to record
            bench.work()
        step = (bench.clock() - begin) // 6
        windows = tuple((begin + i * step, begin + (i + 1) * step) for i in range(5))
        return Found("test", (), latency_s=((0.1,) * 9,) * 5, windows_ns=windows)

    found = run_metered(find_board("host-ort"), tmp_path, Metering("rapl"), run)
    assert found.latency_s is not None
    if fault is None:
        assert found.energy is not None
        assert found.energy.inferences == (9,) * 5
        assert found.absent == ()
    else:
        assert found.energy is None
        assert dict(found.absent)["energy"].startswith("meter rapl: ")
