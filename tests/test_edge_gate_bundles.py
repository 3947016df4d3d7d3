"""`edgemill gate` of two bundles: they take turns on a board, and what does not go together is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmarks.gate_nets import equal_layers
from devices import runner
from devices.board import Board
from devices.boards import NULL, find_board
from devices.errors import DeviceError
from devices.gate import PASS
from devices.gate_report import Rule
from devices.measurement import Measurement
from devices.plan import Plan
from devices.runtimes import find_runtime, missing
from devices.store import read_stored, run_folders
from edge.cli import main
from edge.gating import Lengths, gate_bundles
from export import arm_m
from export.bundle import write_bundle
from export.errors import ExportError
from export.target import Source
from quant import reference
from quant.program import lower
from tests.bundles import plain_target, toy_spec
from tests.measurements import measurement, steady
from tests.toys import random_codes


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_bundles_take_turns_on_the_null_board(tmp_path: Path) -> None:
    old, new = (write_bundle(tmp_path / name, toy_spec(name=name), plain_target()).path for name in ("old", "new"))
    store = tmp_path / "runs"
    found = _run(
        "gate", new, "--baseline", old, "--board", "null", "--pairs", "6", "--window-s", "0.001", "--store", store
    )
    assert found.exit_code == 0, found.output
    assert "pass: latency of 'model' on null, simulated" in found.output
    (folder,) = run_folders(store)
    kept = read_stored(folder)
    assert [item.side for item in kept.kept] == ["a", "b"]
    assert [len(item.measurement.latency_s or ()) for item in kept.kept] == [6, 6]
    assert kept.kept[0].measurement.bundle != kept.kept[1].measurement.bundle
    assert kept.gates[0]["verdict"] == PASS
    assert _run("gate", folder, "--baseline", folder).exit_code == 0
    assert _run("gate", new, "--baseline", folder).exit_code == 2
    assert _run("gate", new, "--baseline", old).exit_code == 2


def test_bundles_of_other_targets_or_parts_are_refused(tmp_path: Path) -> None:
    whole = write_bundle(tmp_path / "whole", toy_spec(), plain_target()).path
    halves = write_bundle(tmp_path / "halves", toy_spec(split=True), plain_target()).path
    found = _run("gate", halves, "--baseline", whole, "--board", "null")
    assert found.exit_code == 1
    assert "the baseline has the parts model, the candidate head, tail" in found.output


def test_a_real_part_against_itself_passes(tmp_path: Path) -> None:
    reason = find_runtime("c-host").missing()
    if reason:
        pytest.skip(reason)
    try:
        path = write_bundle(tmp_path / "b", toy_spec(), arm_m.TARGET).path
    except ExportError as error:  # pragma: no cover - a toy graph always exports
        pytest.fail(str(error))
    found = _run(
        "gate", path, "--baseline", path, "--board", "host-c", "--window-s", "0.005", "--tolerance", "1", "--json"
    )
    assert found.exit_code == 0, found.output
    body = json.loads(found.output[found.output.index("{") :])
    assert body["entries"][0]["method"] == "measured"
    assert body["entries"][0]["interleaved"] is True


def test_boards_whose_runs_are_programs_take_turns_run_by_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = (write_bundle(tmp_path / name, toy_spec(name=name), plain_target()).path for name in ("old", "new"))
    asked: list[tuple[str, int]] = []

    def profile_all(work: list[tuple[Plan, Board]], say: object) -> tuple[Measurement, ...]:
        asked.extend((plan.bundle, plan.windows) for plan, _ in work)
        return tuple(measurement(bundle=plan.bundle, latency_s=steady(plan.windows)) for plan, _ in work)

    monkeypatch.setattr(runner, "profile_all", profile_all)
    far = replace(NULL, transport="ssh")
    report, kept = gate_bundles(new, old, [far], Rule(), Lengths(pairs=18), lambda _: None)
    first, second = asked[0][0], asked[1][0]
    assert [bundle for bundle, _ in asked] == [first, second, second, first] * 2
    assert {windows for _, windows in asked} == {5}
    assert "".join(str(item.side) for item in kept) == "abbaabba"
    assert report.entries[0].judged is not None
    assert (report.entries[0].judged.pairs, report.verdict) == (20, PASS)

    monkeypatch.setattr(runner, "profile_all", lambda work, say: (DeviceError("the board is gone."),) * len(work))
    with pytest.raises(DeviceError, match="the board is gone"):
        gate_bundles(new, old, [far], Rule(), Lengths(), lambda _: None)


def test_one_layer_more_is_a_failure_by_instructions(tmp_path: Path) -> None:
    board = find_board("mps2-an386")
    reason = missing(board)
    if reason:
        pytest.skip(reason)
    old, new = (_layers(tmp_path / f"layers{layers}", layers) for layers in (2, 3))
    found = _run("gate", new, "--baseline", old, "--board", board.name, "--json", "--metric", "instructions")
    assert found.exit_code == 1, found.output
    body = json.loads(found.output[found.output.index("{") :])
    assert body["entries"][0]["judged"]["ratio"]["value"] > 1.2
    assert _run("gate", old, "--baseline", new, "--board", board.name).exit_code == 0


def _layers(path: Path, layers: int) -> Path:
    """A bundle of so many equal layers."""
    graph = equal_layers(layers)
    codes = random_codes(graph, 2)
    source = Source("model", graph, codes, reference.run(lower(graph), codes)["y"])
    spec = toy_spec()
    shaped = replace(spec.preprocess, channels=8, mean=(0.5,) * 8, std=(0.25,) * 8)
    return write_bundle(path, replace(spec, parts=(source,), preprocess=shaped), arm_m.TARGET).path
