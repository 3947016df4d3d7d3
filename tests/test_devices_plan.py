"""Plans from bundles, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from devices.boards import HOST_ORT, NULL, find_board
from devices.errors import DeviceError
from devices.part_files import load_graph, load_inputs
from devices.plan import NotedLayer, describe, from_json, plans, to_json
from devices.scenario import OFFLINE
from export.bundle import write_bundle
from export.target import Facts, Source
from tests.bundles import plain_target, toy_spec, write_plain
from tests.parts import short_plan, write_part

PLAN = short_plan(Path("/somewhere/model"), "host-ort", "host")


def test_json_round_trip_is_exact() -> None:
    assert from_json(to_json(PLAN)) == PLAN
    assert from_json(to_json(replace(PLAN, arena_bytes=7))).arena_bytes == 7


def test_one_plan_for_each_part_of_a_bundle(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", toy_spec(split=True), plain_target())
    head, tail = plans(bundle, NULL, windows=4, window_s=0.5, images=99)
    assert (head.part, tail.part) == ("head", "tail")
    assert head.bundle == tail.bundle == bundle.digest
    assert (head.windows, head.window_s, head.images) == (4, 0.5, 4)  # four test vectors
    assert load_graph(tail.folder).name == "tail"
    assert head.limit_s > 4 * 0.5


def test_what_a_core_states_goes_into_the_plan(tmp_path: Path) -> None:
    first = {"instance": "unit0", "step": "conv", "cycles": 300}
    layers = [first, {"instance": "unit1", "step": "fc"}, {"step": "no instance"}]
    facts = {"cycles": 900, "interval_cycles": 400, "layers": layers}

    def write(source: Source, folder: Path) -> Facts:
        return {**write_plain(source, folder), **facts}

    bundle = write_bundle(tmp_path / "b", toy_spec(), replace(plain_target(), write=write))
    (plan,) = plans(bundle, NULL)
    assert (plan.cycles, plan.interval_cycles) == (900, 400)
    assert plan.layers == (NotedLayer("unit0", "conv", 300), NotedLayer("unit1", "fc", None))
    assert from_json(to_json(plan)) == plan
    for wrong in ({"instance": "unit0"}, {**first, "cycles": "300"}, ["unit0", "conv", 300]):
        with pytest.raises(DeviceError, match="plan: layers"):
            from_json(json.dumps(json.loads(to_json(plan)) | {"layers": [wrong]}))


def test_a_board_of_another_target_is_refused(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", toy_spec(), plain_target())
    with pytest.raises(DeviceError, match="runs bundles of target host, not plain; null would do"):
        plans(bundle, HOST_ORT)


def test_scenarios_are_for_boards_that_time_queries(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "b", toy_spec(), replace(plain_target(), name="arm-m"))
    board = find_board("mps2-an386")
    assert plans(bundle, board)[0].scenario == "single-stream"
    for asked in ({"scenario": OFFLINE}, {"complete": True}, {"loadgen": True}):
        with pytest.raises(DeviceError, match="'mps2-an386' times no queries, it gives instructions"):
            plans(bundle, board, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "value"), [("windows", 0), ("window_s", 0.0), ("images", 0), ("limit_s", -1.0), ("warmup_s", -0.1)]
)
def test_lengths_that_measure_nothing_are_refused(name: str, value: float) -> None:
    with pytest.raises(DeviceError, match=name):
        replace(PLAN, **{name: value})
    record = json.loads(to_json(PLAN)) | {name: value}
    with pytest.raises(DeviceError, match=name):
        from_json(json.dumps(record))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 9}, "schema 9"),
        ({"colour": 1}, "unknown key 'colour'"),
        ({"windows": "3"}, "windows must be of type int"),
        ({"window_s": float("nan")}, "not a number of JSON"),
        ({"folder": None}, "folder must be of type str"),
    ],
)
def test_a_wrong_record_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(DeviceError, match=message):
        from_json(json.dumps(json.loads(to_json(PLAN)) | change))


def test_describe_says_what_would_run() -> None:
    assert describe(PLAN).endswith("with onnxruntime on host-ort: warm-up 0.01 s, then 3 windows of 0.01 s")
    counted = replace(PLAN, board="mps2-an386", target="arm-m")
    assert "instructions, arena, flash, code, ram, stack of 2 inferences" in describe(counted)


def _damage(folder: Path, name: str, how: str) -> None:
    path = folder / name
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.write_bytes(b"")


@pytest.mark.parametrize("how", ["gone", "cut", "empty"])
def test_damaged_part_files_are_named(tmp_path: Path, how: str) -> None:
    folder = write_part(tmp_path / "part", None)
    graph = load_graph(folder)
    assert len(load_inputs(folder, graph)) == 4
    for name in ("vectors.npz", "graph.graph"):
        _damage(folder, name, how)
    with pytest.raises(DeviceError, match=r"vectors\.npz"):
        load_inputs(folder, graph)
    with pytest.raises(DeviceError, match=r"graph\.graph"):
        load_graph(folder)
