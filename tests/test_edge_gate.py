"""`edgemill gate` and `edgemill runs`: verdicts, exit codes, refusals that name the condition, JUnit."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from devices import run_record
from devices.boards import BOARDS
from devices.gate import FAIL, INCONCLUSIVE, PASS
from devices.gate_report import GateReport, Rule, gated, sentence, to_record
from devices.junit import to_junit
from devices.measurement import LoadgenVerdict, Measurement
from devices.state import NOT_RECORDED, Temperature
from devices.store import begin, read_stored, run_folders
from edge.cli import main
from export.bundle import write_bundle
from tests import run_records
from tests.bundles import plain_target, toy_spec
from tests.measurements import CONDITIONS, measurement, steady

NOON = datetime(2026, 1, 2, tzinfo=UTC)


def _slower(found: Measurement, factor: float) -> Measurement:
    windows = tuple(tuple(s * factor for s in window) for window in found.latency_s or ())
    return replace(found, latency_s=windows)


def _judged(base: Measurement, other: Measurement, rule: Rule | None = None) -> GateReport:
    names = ("old", "new")
    return gated([("", base)], [("", other)], rule or Rule(), names=names, interleaved=False)


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def _keep(store: Path, *found: Measurement, sides: str = "") -> str:
    writer = begin(store, "profile", "0", now=NOON)
    for index, item in enumerate(found):
        writer.measurement(item, sides[index] if sides else None)
    return writer.finish().name


@pytest.mark.parametrize(("factor", "verdict"), [(1.0, PASS), (1.02, PASS), (1.12, FAIL), (0.5, PASS)])
def test_latencies_are_judged_by_their_windows(factor: float, verdict: str) -> None:
    found = _judged(measurement(), _slower(measurement(), factor))
    assert found.verdict == verdict
    (entry,) = found.entries
    assert entry.judged is not None
    assert entry.judged.ratio.value == pytest.approx(factor)
    assert (entry.metric, entry.judged.pairs, entry.interleaved) == ("latency", 5, False)


def test_counts_are_judged_exactly() -> None:
    base = measurement(latency_s=None, warmup=None, instructions=(1000, 1001), method="simulated", board="mps2-an386")
    assert _judged(base, base).verdict == PASS
    more = _judged(base, replace(base, instructions=(1000, 1002)))
    assert more.verdict == FAIL
    assert "exact; tolerance 0 %" in sentence(more.entries[0])
    assert _judged(base, replace(base, instructions=(1000, 1002)), Rule(tolerance=0.01)).verdict == PASS
    cycles = replace(base, instructions=None, cycles=(5,), absent=_absent(base, "cycles", "instructions"))
    assert _judged(cycles, replace(cycles, cycles=(6,))).verdict == FAIL


def _absent(base: Measurement, gone: str, added: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted({**{k: v for k, v in base.absent if k != gone}, added: "none"}.items()))


def test_counts_with_an_interpreter_among_them_may_differ_a_little() -> None:
    board = next(board.name for board in BOARDS if board.transport == "qemu-root")
    base = measurement(latency_s=None, warmup=None, instructions=(100_000,), method="simulated", board=board)
    assert _judged(base, replace(base, instructions=(100_100,))).verdict == PASS
    assert _judged(base, replace(base, instructions=(101_000,))).verdict == FAIL


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"conditions": replace(CONDITIONS, governor="powersave", governor_reason=None)}, "governor: unknown against"),
        ({"conditions": replace(CONDITIONS, cpu_model="Another")}, "CPU model: A CPU against Another"),
        ({"versions": (("onnxruntime", "2"), ("python", "3"))}, "onnxruntime version: 1 against 2"),
        ({"runtime": "openvino"}, "runtime: onnxruntime against openvino"),
        ({"method": "replayed"}, "method: measured against replayed"),
        ({"loadgen": LoadgenVerdict(True, "", (), "6")}, "queries put by: edgemill against LoadGen"),
    ],
)
def test_other_conditions_are_refused_by_name(change: dict[str, object], named: str) -> None:
    found = _judged(measurement(), replace(measurement(), **change))  # type: ignore[arg-type]
    assert found.verdict == INCONCLUSIVE
    assert found.entries[0].verdict == "refused"
    assert named in sentence(found.entries[0])


def test_power_mode_and_temperature_are_conditions() -> None:
    def state(mode: str, celsius: float) -> Measurement:
        lacking = tuple(pair for pair in NOT_RECORDED if pair[0] not in ("power_mode", "temperatures"))
        zones = (Temperature("cpu", celsius, celsius),)
        return measurement(
            conditions=replace(CONDITIONS, power_mode=mode, temperatures=zones, absent=lacking), board="nano"
        )

    assert _judged(state("MAXN", 40), state("MAXN", 45)).verdict == PASS
    assert "power mode: MAXN against 15W" in sentence(_judged(state("MAXN", 40), state("15W", 40)).entries[0])
    assert "temperature: 40 °C against 80 °C" in sentence(_judged(state("MAXN", 40), state("MAXN", 80)).entries[0])


def test_what_the_candidate_lacks_is_no_pass() -> None:
    gone = measurement(latency_s=None, warmup=None, cycles=(1,))
    assert _judged(measurement(), gone).verdict == INCONCLUSIVE
    elsewhere = _judged(measurement(), measurement(board="host-c"))
    assert elsewhere.verdict == INCONCLUSIVE
    assert "no such measurement" in sentence(elsewhere.entries[0])
    assert elsewhere.notes == ("only in new: part 'model' on host-c, single-stream",)
    assert GateReport("a", "b", (), ()).verdict == INCONCLUSIVE


def test_offline_windows_are_judged_per_inference() -> None:
    base = measurement(scenario="offline", latency_s=((0.10,),) * 6, samples_per_query=100)
    found = _judged(base, replace(base, latency_s=((0.12,),) * 6, samples_per_query=120))
    assert found.verdict == PASS
    assert found.entries[0].base == pytest.approx(1e-3)
    assert base.throughput_per_s == pytest.approx(1000)


def test_memory_is_gated_when_asked_for() -> None:
    base = measurement(arena_bytes=1000)
    assert [entry.metric for entry in _judged(base, base).entries] == ["latency"]
    found = _judged(base, replace(base, arena_bytes=1001), Rule(("arena",)))
    assert found.verdict == FAIL


def test_energy_is_judged_by_window() -> None:
    base = measurement(energy_j=(1e-3,) * 6)
    found = _judged(base, replace(base, energy_j=(1.2e-3,) * 6), Rule(("energy",)))
    assert found.verdict == FAIL
    assert found.entries[0].base == pytest.approx(1e-3)


def test_junit_says_what_did_not_pass() -> None:
    base = measurement()
    reports = [
        (_judged(base, base), {}),
        (_judged(base, _slower(base, 1.2)), {"failure"}),
        (_judged(base, replace(base, runtime="x")), {"error"}),
        (_judged(replace(base, latency_s=steady(4)), replace(base, latency_s=steady(4))), {"skipped"}),
        (GateReport("a", "b", (), ()), {"error"}),
    ]
    for report, expected in reports:
        suite = ET.fromstring(to_junit(report)).find("testsuite")
        assert suite is not None
        assert suite.get("tests") == "1"
        (case,) = suite.findall("testcase")
        assert {child.tag for child in case} - {"system-out"} == set(expected)
        assert [suite.get(name) for name in ("failures", "errors", "skipped")].count("1") == len(expected)


def test_two_kept_runs_and_their_exit_codes(tmp_path: Path) -> None:
    store = tmp_path / "runs"
    old, same, slow = (_keep(store, _slower(measurement(), factor)) for factor in (1, 1.01, 1.3))
    junit = tmp_path / "gate.xml"
    assert _run("gate", same, "--baseline", old, "--store", store).exit_code == 0
    failed = _run("gate", slow, "--baseline", store / old, "--store", store, "--junit", junit)
    assert failed.exit_code == 1, failed.output
    assert "fail: latency of 'model' on host-ort, measured: 1.3000 times the baseline" in failed.output
    assert "not interleaved" in failed.output
    assert b"<failure" in junit.read_bytes()
    assert _run("gate", slow, "--baseline", old, "--store", store, "--tolerance", "40%").exit_code == 0
    other = _keep(store, measurement(runtime="openvino"))
    refused = _run("gate", other, "--baseline", old, "--store", store, "--json")
    assert refused.exit_code == 3
    assert json.loads(refused.output)["verdict"] == INCONCLUSIVE
    assert json.loads(refused.output)["entries"][0]["refused"] == ["runtime: onnxruntime against openvino"]


def test_a_run_of_turns_is_judged_as_pairs(tmp_path: Path) -> None:
    drift = [1.0 + 0.3 * i for i in range(8)]
    base = measurement(latency_s=tuple((1e-3 * d,) * 20 for d in drift))
    name = _keep(tmp_path, base, _slower(base, 1.01), sides="ab")
    found = _run("gate", name, "--baseline", name, "--store", tmp_path, "--json")
    assert found.exit_code == 0, found.output
    (entry,) = json.loads(found.output)["entries"]
    assert entry["interleaved"] is True
    assert entry["judged"]["pairs"] == 8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gate", "nothing", "--baseline", "none"], "there is no run none: no folder with run.json"),
        (["gate", "a", "--baseline", "b", "--board", "null"], "--board runs bundles"),
        (["gate", "a", "--baseline", "b", "--tolerance", "much"], "no share such as 5%"),
        (["gate", "a", "--baseline", "b", "--tolerance", "500%"], "not between 0% and 100%"),
        (["gate", "a", "--baseline", "b", "--pairs", "2"], "2 is not in the range"),
        (["gate", "a"], "Missing option '--baseline'"),
        (["runs"], "give --store DIR or set EDGEMILL_STORE"),
        (["runs", "--store", "/no/such/store"], "no store of runs"),
    ],
)
def test_wrong_usage_is_one_message(arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEMILL_STORE", raising=False)
    found = _run(*arguments)
    assert found.exit_code in (1, 2)
    assert message in found.output
    assert "Traceback" not in found.output


def test_runs_lists_what_is_kept(tmp_path: Path) -> None:
    name = _keep(tmp_path, measurement())
    shown = _run("runs", "--store", tmp_path).output
    assert f"{name} - {'ab' * 6} 'model' on host-ort, single-stream, measured: 1.0" in shown
    assert "1 runs, 1 measurements" in shown
    found = json.loads(_run("runs", "--store", tmp_path, "--json", "--rebuild").output)
    assert [(row["run"], row["board"]) for row in found] == [(name, "host-ort")]
    assert json.loads(_run("runs", "--store", tmp_path, "--json", "--board", "null").output) == []


def test_the_record_holds_the_verdict_of_every_entry() -> None:
    record = to_record(_judged(measurement(), _slower(measurement(), 1.2)))
    assert record["verdict"] == FAIL
    json.dumps(record, allow_nan=False)


def test_compare_reads_from_the_store(tmp_path: Path) -> None:
    counted = measurement(latency_s=None, warmup=None, instructions=(1000,), method="simulated", board="mps2-an386")
    old = _keep(tmp_path, measurement(), replace(counted, arena_bytes=64, absent=_absent(counted, "arena", "latency")))
    new = _keep(tmp_path, _slower(measurement(), 1.3), replace(counted, instructions=(900,)))
    found = _run("compare", old, new, "--store", tmp_path, "--json")
    assert found.exit_code == 0, found.output
    body = json.loads(found.output)
    assert [item["verdict"] for item in body["latencies"]] == ["slower"]
    assert [item["ratio"] for item in body["counts"]] == [0.9]
    assert any("arena" in line and "only in the base run" in line for line in body["unmatched"])
    text = _run("compare", old[:-2], "latest", "--store", tmp_path)
    assert text.exit_code == 0, text.output


def test_profile_keeps_its_runs(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "b", toy_spec(), plain_target()).path
    store = tmp_path / "runs"
    quick = ("--windows", "3", "--window-s", "0.001", "--warmup-s", "0")
    for scenario in ("single-stream", "offline"):
        found = _run("profile", path, "--board", "null", *quick, "--scenario", scenario, "--store", store, "--json")
        assert found.exit_code == 0, found.output
    single, offline = (read_stored(folder).kept[0].measurement for folder in run_folders(store))
    assert {single.scenario, offline.scenario} == {"single-stream", "offline"}
    shown = _run("profile", path, "--board", "null", *quick, "--scenario", "offline")
    assert "inferences/s" in shown.output


def test_several_runs_of_each_side_are_one_series() -> None:
    base = measurement()
    ours = [("", base), ("", _slower(base, 1.5))]
    theirs = [("", _slower(base, 1.01)), ("", _slower(base, 1.52))]
    found = gated(ours, theirs, Rule(), names=("a", "b"), interleaved=True)
    (entry,) = found.entries
    assert found.verdict == PASS
    assert entry.judged is not None
    assert entry.judged.pairs == 10
    odd = replace(base, runtime="x")
    refused = gated([("", base), ("", odd)], theirs, Rule(), names=("a", "b"), interleaved=True)
    assert refused.entries[0].refused == ("runtime: onnxruntime against x",)


def test_schemes_of_a_pipelines_run_stay_apart() -> None:
    ours = [("w8a8", measurement()), ("w4a8", _slower(measurement(), 2))]
    found = gated(ours, ours, Rule(), names=("a", "b"), interleaved=False)
    assert [(entry.label, entry.verdict) for entry in found.entries] == [("w8a8", PASS), ("w4a8", PASS)]
    assert "'model' w4a8 on host-ort" in found.entries[1].name


@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_disturbed_runs_that_did_not_take_turns_decide_nothing(factor: float) -> None:
    loaded = measurement(conditions=replace(CONDITIONS, load_before=9.0))
    other = _slower(loaded, factor)
    apart = _judged(loaded, other)
    assert apart.verdict == INCONCLUSIVE
    assert "did not take turns, and LOADED_MACHINE speaks against them" in sentence(apart.entries[0])
    turns = gated([("", loaded)], [("", other)], Rule(), names=("a", "b"), interleaved=True)
    assert turns.verdict == (PASS if factor == 1.0 else FAIL)


def test_a_pipelines_run_is_judged_scheme_by_scheme(tmp_path: Path) -> None:
    record = run_records.full()
    folders = []
    for name, factor in (("old", 1.0), ("new", 1.4)):
        folder = tmp_path / name
        folder.mkdir()
        changed = tuple(
            _slower(m, factor) if m.method == "measured" and m.latency_s else m for m in record.measurements
        )
        (folder / "run.json").write_text(run_record.to_json(replace(record, measurements=changed)))
        folders.append(folder)
    same = json.loads(_run("gate", folders[0], "--baseline", folders[0], "--json").output)
    assert {entry["verdict"] for entry in same["entries"]} <= {PASS, INCONCLUSIVE}
    assert {"latency", "instructions", "cycles"} <= {entry["metric"] for entry in same["entries"]}
    assert all(entry["label"] for entry in same["entries"])
    found = _run("gate", folders[1], "--baseline", folders[0], "--metric", "latency", "--json")
    slower = json.loads(found.output)["entries"]
    assert slower
    assert all(entry["judged"]["ratio"]["value"] > 1.3 for entry in slower if entry["method"] == "measured")
    assert all(entry["text"] for entry in slower)
