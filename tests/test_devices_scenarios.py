"""Scenarios, LoadGen and turns, through the real worker on the null device and on a compiled part."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from devices import loadgen, runner, timing
from devices.conversation import Log, found
from devices.errors import DeviceError
from devices.local import run_pairs, run_worker
from devices.measurement import Measurement
from devices.measurement_record import from_json, to_json
from devices.plan import Plan, Versus
from devices.plan import from_json as plan_from_json
from devices.plan import to_json as plan_to_json
from devices.protocol import encode
from devices.runtimes import find_runtime
from devices.scenario import MULTI_STREAM, OFFLINE, SCENARIOS, SINGLE_STREAM, find_scenario
from devices.timing import Warm, samples_of_query, warm_up
from export import arm_m
from tests.parts import short_plan, write_part


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A plan of a part that really runs here."""
    reason = find_runtime("c-host").missing()
    if reason:
        pytest.skip(reason)
    part = write_part(tmp_path_factory.mktemp("parts") / "c", arm_m.TARGET)
    return short_plan(part, "host-c", "arm-m", windows=4, window_s=0.05)


@pytest.fixture
def null(tmp_path: Path) -> Plan:
    return short_plan(write_part(tmp_path / "part", None), "null", "any")


def test_least_counts_are_those_of_loadgen() -> None:
    assert (SINGLE_STREAM.min_queries, MULTI_STREAM.min_queries, OFFLINE.min_samples) == (64, 662, 24_576)
    assert MULTI_STREAM.samples_per_query == 8
    with pytest.raises(DeviceError, match="Did you mean 'offline'"):
        find_scenario("offlin")


def test_a_query_of_multi_stream_is_eight_inferences(null: Plan) -> None:
    one = run_worker(null, "x")
    eight = run_worker(replace(null, scenario="multi-stream"), "x")
    assert (one.samples_per_query, eight.samples_per_query) == (1, 8)
    assert one.latency_s is not None
    assert eight.latency_s is not None
    assert eight.latency_s[0][0] == pytest.approx(8 * one.latency_s[0][0], rel=0.01)


def test_an_offline_query_fills_its_window(null: Plan) -> None:
    found = run_worker(replace(null, scenario="offline"), "x")
    assert found.latency_s is not None
    assert [len(window) for window in found.latency_s] == [1] * 3
    assert found.samples_per_query > 100
    assert found.latency_s[0][0] == pytest.approx(null.window_s, rel=0.02)


def test_throughput_is_samples_by_time(null: Plan) -> None:
    offline = runner.profile(replace(null, scenario="offline"))
    single = runner.profile(null)
    assert offline.throughput_per_s == pytest.approx(single.throughput_per_s, rel=0.01)
    assert offline.throughput_per_s == pytest.approx(
        offline.samples_per_query * len(offline.samples_s) / sum(offline.samples_s)
    )
    assert offline.scenario == "offline"
    assert from_json(to_json(offline)) == offline


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.name)
def test_a_complete_run_has_enough_samples(scenario: object, null: Plan) -> None:
    assert isinstance(scenario, type(OFFLINE))
    short = replace(null, scenario=scenario.name, window_s=1e-3 if scenario is OFFLINE else 1e-5, windows=2)
    few, enough = run_worker(short, "x"), run_worker(replace(short, complete=True), "x")
    counts = [sum(map(len, item.latency_s or ())) * item.samples_per_query for item in (few, enough)]
    assert counts[0] < scenario.min_samples <= counts[1]
    assert len(enough.latency_s or ()) > 2


def test_the_size_of_a_query_follows_from_the_warm_up() -> None:
    warm = Warm(first_ns=9, total_ns=10_000, runs=10)
    assert samples_of_query(OFFLINE, warm, 1e-3) == 1000
    assert samples_of_query(OFFLINE, warm, 1e-9) == 1
    assert samples_of_query(OFFLINE, Warm(0, 0, 5), 1.0) == 1
    assert samples_of_query(MULTI_STREAM, warm, 1.0) == 8


def test_a_warm_up_lasts_as_long_as_asked() -> None:
    now = 0

    def infer() -> None:
        nonlocal now
        now += 10

    assert warm_up(infer, lambda: now, 95e-9) == Warm(10, 100, 10)
    assert warm_up(infer, lambda: now, 0.0) == Warm(10, 10, 1)
    assert timing.query(infer, 1) is infer


def test_plans_with_scenarios_survive_the_wire(null: Plan) -> None:
    plans = [
        replace(null, scenario="offline", complete=True),
        replace(null, loadgen=True),
        replace(null, versus=Versus("b" * 64, Path("/there"), "model")),
    ]
    for plan in plans:
        assert plan_from_json(plan_to_json(plan)) == plan
    for change in ({"scenario": "server"}, {"versus": {"bundle": "b"}}, {"complete": 1}):
        with pytest.raises(DeviceError):
            plan_from_json(json.dumps(json.loads(plan_to_json(null)) | change))
    with pytest.raises(DeviceError, match="take turns in a fixed number"):
        replace(plans[2], loadgen=True)


def _pair(plan: Plan, **changes: object) -> Plan:
    return replace(plan, versus=Versus("b" * 64, plan.folder, plan.files), **changes)  # type: ignore[arg-type]


def test_two_parts_take_turns_in_the_order_a_b_b_a(null: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    sides: list[str] = []
    old = Log.add

    def listening(log: Log, line: str | bytes, who: str) -> str:
        kind = old(log, line, who)
        sides.extend(log.records[-1][1]["side"] for _ in range(kind == "window"))
        return kind

    monkeypatch.setattr(Log, "add", listening)
    base, other = run_pairs(_pair(null, windows=4), "x")
    assert "".join(sides) == "abbaabba"
    assert [len(item.latency_s or ()) for item in (base, other)] == [4, 4]


def test_pairs_become_two_measurements(compiled: Plan, null: Plan) -> None:
    base, other = runner.profile_pairs(_pair(compiled))
    assert (base.bundle, other.bundle) == (compiled.bundle, "b" * 64)
    assert base.conditions == other.conditions
    assert "taking turns" in base.source
    assert base.latency_s != other.latency_s
    with pytest.raises(DeviceError, match="cannot take turns on board 'mps2-an386'"):
        runner.profile_pairs(_pair(replace(compiled, board="mps2-an386")))
    with pytest.raises(DeviceError, match="needs a plan with two parts"):
        runner.profile_pairs(null)


def _told(*records: tuple[str, dict[str, object]]) -> Log:
    log = Log()
    for seq, (kind, record) in enumerate(records):
        log.add(encode(seq, kind, record), "toy")
    return log


HELLO = ("hello", {"protocol": 2, "runner": "c", "pid": 1})
CAPS = ("caps", {"runtime": "c", "versions": {}})
SENSOR = ("sensor", {"name": "VDD_IN", "t_ns": [1], "values": [5]})


def _warm(side: str) -> tuple[str, dict[str, object]]:
    return "warm", {"side": side, "open_ns": 1, "first_ns": 1, "total_ns": 1, "runs": 1}


def _window(i: int, side: str = "a", size: int = 1) -> tuple[str, dict[str, object]]:
    return "window", {"i": i, "side": side, "t0_ns": 0, "t1_ns": 1, "samples_per_query": size, "samples_ns": [1]}


def test_sensors_marks_and_progress_stand_between_windows(null: Plan) -> None:
    mark, progress = ("mark", {"name": "idle", "t_ns": 3}), ("progress", {"done": 1, "of": 2})
    log = _told(HELLO, CAPS, SENSOR, _warm("a"), mark, _window(0), SENSOR, progress, _window(1), _window(2), SENSOR)
    assert len(log.of("sensor")) == 3
    assert len(found(null, log, "x").latency_s or ()) == 3


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([SENSOR], "sent 'sensor' after 'None'"),
        ([HELLO, SENSOR], "sent 'sensor' after 'hello'"),
        ([HELLO, CAPS, _warm("b")], "of side 'b', out of order"),
        ([HELLO, CAPS, _warm("a"), _warm("a")], "of side 'a', out of order"),
        ([HELLO, CAPS, _warm("a"), _window(0, "b")], "which was never warm"),
        ([HELLO, CAPS, _warm("a"), _window(0), _warm("b")], "sent 'warm' after 'window'"),
        ([HELLO, CAPS, _warm("a"), _window(0, size=0)], "holds no samples"),
        ([HELLO, CAPS, _warm("a"), _window(0), ("end", {"windows": 1}), SENSOR], "sent 'sensor' after 'end'"),
        ([HELLO, CAPS, ("sensor", {"name": "x", "t_ns": [1, 2], "values": [1]})], "as many values as times"),
        ([HELLO, CAPS, ("sensor", {"name": "x", "t_ns": [1], "values": [True]})], "must be a finite number"),
    ],
)
def test_records_out_of_order_are_refused(records: list[tuple[str, dict[str, object]]], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        _told(*records)


def test_queries_of_one_run_have_one_size(null: Plan) -> None:
    log = _told(HELLO, CAPS, _warm("a"), _window(0), _window(1, size=2), _window(2))
    with pytest.raises(DeviceError, match=r"had \[1, 2\] samples"):
        found(null, log, "x")
    told = _told(HELLO, CAPS, _warm("a"), _window(0))
    with pytest.raises(DeviceError, match="0 records of LoadGen; the plan asks for 1"):
        found(replace(null, loadgen=True, windows=1), told, "x")


@pytest.mark.parametrize(("count", "known"), [("3", True), ("4", False)])
def test_windows_of_a_thinned_loadgen_run_are_not_given_to_a_meter(count: str, known: bool, null: Plan) -> None:
    said = {"valid": True, "reasons": "", "figures": {"result_query_count": count}, "version": "6"}
    log = _told(HELLO, CAPS, _warm("a"), _window(0), _window(1), _window(2), ("loadgen", said))
    assert bool(found(replace(null, loadgen=True), log, "x").windows_ns) == known


def test_stretches_of_a_loadgen_run() -> None:
    times = [value for k in range(10) for value in (100 * k, 100 * k + k)]
    pieces = loadgen.chunks(times, 8, 3)
    assert [piece.samples_ns for piece in pieces] == [[0, 1, 2], [3, 4, 5], [6, 7, 8, 9]]
    assert (pieces[1].t0_ns, pieces[1].t1_ns, pieces[1].samples_per_query) == (300, 505, 8)
    assert len(loadgen.chunks(times[:4], 8, 3)) == 2
    many = [value for k in range(20_000) for value in (k, k + 7)]
    (piece,) = loadgen.chunks(many, 1, 1)
    assert len(piece.samples_ns) == timing.MAX_SAMPLES


def _need_loadgen() -> None:
    reason = loadgen.missing()
    if reason:
        pytest.skip(reason)


@pytest.mark.parametrize(
    ("scenario", "figure"),
    [
        ("single-stream", "early_stopping_latency_ss"),
        ("multi-stream", "early_stopping_latency_ms"),
        ("offline", "result_samples_per_second"),
    ],
)
def test_a_real_loadgen_run_is_valid(scenario: str, figure: str, compiled: Plan) -> None:
    _need_loadgen()
    result = runner.profile(replace(compiled, scenario=scenario, loadgen=True, window_s=0.1, limit_s=300.0))
    said = result.loadgen
    assert said is not None
    assert said.valid, said.reasons
    assert dict(said.figures)["result_validity"] == "VALID"
    assert float(dict(said.figures)[figure]) > 0
    assert "a submission takes 600 s" in said.reasons
    assert said.version.startswith("6.")
    assert "LoadGen" in result.source
    assert result.scenario == scenario
    _check_against_loadgen(result, dict(said.figures))
    assert from_json(to_json(result)) == result


def _check_against_loadgen(result: Measurement, figures: dict[str, str]) -> None:
    """Samples are inside LoadGen's own, which hold its way through Python as well"""
    queries = int(figures["result_query_count"])
    if result.scenario == "offline":
        assert queries == 1
        assert result.samples_s[0] <= float(figures["result_max_latency_ns"]) / 1e9
    else:
        times = [0] * (2 * queries)
        kept = loadgen.chunks(times, result.samples_per_query, len(result.latency_s or ()))
        # Of a part that is fast on a quiet machine every k-th sample of a stretch is kept: the same in every run.
        assert [len(w) for w in result.latency_s or ()] == [len(chunk.samples_ns) for chunk in kept]
        assert min(result.samples_s) <= float(figures["result_min_latency_ns"]) / 1e9


def test_a_wrong_calibration_makes_the_run_invalid(compiled: Plan) -> None:
    """LoadGen makes too few queries when it expects a slower part; its verdict is told, not hidden."""
    _need_loadgen()
    plan = replace(compiled, loadgen=True, window_s=0.1)
    _, said = loadgen.drive(plan, _spin, 4e9)
    assert not said.valid
    assert "the least duration was not reached" in said.reasons
    assert "Decrease the expected latency" in said.reasons


def _spin() -> None:
    end = timing.raw_clock() + 50_000
    while timing.raw_clock() < end:
        pass


def test_without_loadgen_the_way_to_get_it_is_said(null: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loadgen, "missing", lambda: loadgen.INSTALL)
    with pytest.raises(DeviceError, match=r"pip install 'edgemill\[loadgen\]'"):
        loadgen.drive(null, _spin, 1.0)


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [],
        lambda lines: ["nonsense"],
        lambda lines: [lines[0][:40]],
        lambda lines: [lines[0].replace("VALID", "PERHAPS")],
    ],
)
def test_a_log_without_a_verdict_is_refused(
    change: Callable[[list[str]], list[str]], tmp_path: Path, null: Plan
) -> None:
    good = [':::MLLOG {"key": "result_validity", "value": "VALID"}']
    path = tmp_path / "mlperf_log_detail.txt"
    path.write_text("\n".join(good))
    assert loadgen.read_verdict(path, null).valid
    path.write_text("\n".join(change(good)))
    with pytest.raises(DeviceError, match="neither VALID nor INVALID"):
        loadgen.read_verdict(path, null)
    with pytest.raises(DeviceError, match="left no"):
        loadgen.read_verdict(tmp_path / "none.txt", null)
