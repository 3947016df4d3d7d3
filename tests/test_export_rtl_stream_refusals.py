"""What streaming cores refuse: foldings that cannot be, budgets too small, damaged records; each with a cure."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.errors import ExportError
from export.rtl.stream.build import build
from export.rtl.stream.device import LATTICE_ECP5, LATTICE_ICE40, XILINX, Resources
from export.rtl.stream.fold import for_budget, for_cycles
from export.rtl.stream.folds import Fold
from export.rtl.stream.fulfil import core_of, folding_record, fulfil, read_folds
from export.rtl.stream.request import CircuitRequest
from quant.formats import E4M3
from quant.program import lower
from tests.toys import toy_graph

PROGRAM, MINIFLOATS = lower(toy_graph()), lower(toy_graph(E4M3, E4M3))
RECORD = {
    "architecture": "stream",
    "family": "ecp5",
    "folds": {"conv": {"pe": 4, "simd": 3, "style": "dsp"}},
    "input_lanes": 3,
}

FOLDS = {
    "pe that does not divide": ("conv", Fold(3), r"'conv' .*pe: one of \(1, 2, 4, 8\); simd: one of \(1, 3\)"),
    "simd that does not divide": ("fc", Fold(1, 3), r"'fc' .*simd: one of \(1, 2, 4, 8\)"),
    "simd of a depthwise layer": ("dw", Fold(2, 3), r"'dw' .*pe: a divisor of 8 .*; simd: 1"),
    "lanes of a sum": ("add", Fold(5), r"'add' has 8 channels, which 5 lanes do not divide"),
    "nothing at once": ("conv", Fold(0), r"'conv' .*at least 1"),
    "less than nothing": ("conv", Fold(1, -3), r"'conv' .*at least 1"),
    "no style": ("conv", Fold(1, 1, "abacus"), r"'conv' .*styles are lut, dsp, dsp_pair"),
    "no step": ("konv", Fold(), r"'konv' .*There are 'conv', 'dw', 'add', 'mean', 'fc'"),
}


@pytest.mark.parametrize("what", FOLDS)
def test_folds_that_cannot_be_are_refused(what: str) -> None:
    step, fold, message = FOLDS[what]
    with pytest.raises(ExportError, match=message):
        build("core", PROGRAM, {step: fold})


@pytest.mark.parametrize("lanes", [0, 2, 4, -1])
def test_lanes_that_do_not_divide_the_input_are_refused(lanes: int) -> None:
    with pytest.raises(
        ExportError, match=r"input lanes do not divide the 3 channels of input 'x'. Allowed are \(1, 3\)"
    ):
        build("core", PROGRAM, {}, lanes)


def test_styles_that_formats_cannot_have_are_refused() -> None:
    pair = {"conv": Fold(2, 1, "dsp_pair")}
    with pytest.raises(ExportError, match=r"'conv'.*integers.*use style lut or dsp"):
        build("core", MINIFLOATS, pair)
    with pytest.raises(ExportError, match=r"'conv'.*ice40.*use style dsp"):
        build("core", PROGRAM, pair, 1, LATTICE_ICE40)


def test_a_budget_too_small_names_every_layer_and_the_nearest_folding() -> None:
    smallest = for_cycles(PROGRAM, 10**6, XILINX).resources
    budget = Resources(2 * smallest.lut, 2 * smallest.dsp, 2 * smallest.bram)
    fastest = for_budget(PROGRAM, XILINX, budget)
    assert fastest.resources.fits(budget) and fastest.cycles < 3456
    with pytest.raises(ExportError) as caught:
        for_cycles(PROGRAM, fastest.cycles // 2, XILINX, budget)
    text = str(caught.value)
    for step in PROGRAM.steps:
        assert re.search(rf"^ *{step.name} +\d+ ", text, re.MULTILINE)
    assert re.search(rf"^available +{budget.lut:.0f} +{budget.dsp} ", text, re.MULTILINE)
    found = re.search(r"The fastest folding that fits takes (\d+) clocks a frame", text)
    assert found and int(found[1]) == fastest.cycles
    assert for_cycles(PROGRAM, fastest.cycles, XILINX, budget).cycles == fastest.cycles


def test_a_device_without_room_at_all_is_refused() -> None:
    with pytest.raises(ExportError, match="Even the smallest folding does not fit"):
        for_budget(PROGRAM, LATTICE_ICE40, Resources(100, 1, 1))
    with pytest.raises(ExportError, match="No folding of this network fits"):
        fulfil("core", PROGRAM, CircuitRequest(cycles=200, budget=Resources(100, 1, 1)))


def test_a_record_makes_the_same_core_again(tmp_path: Path) -> None:
    core = fulfil("core", PROGRAM, CircuitRequest(cycles=400, device=LATTICE_ECP5))
    path = tmp_path / "folding.json"
    path.write_text(json.dumps(folding_record(core)))
    again = core_of("core", PROGRAM, path)
    assert again.files() == core.files()
    assert (again.schedule.latency, again.schedule.interval) == (core.schedule.latency, core.schedule.interval)
    assert core.schedule.interval <= 400
    assert np.prod([max(fold.pe, fold.simd) for _, fold in core.folds()]) > 8


def _changed(**changes: object) -> dict[str, object]:
    return {**RECORD, **changes}


DAMAGED = {
    "no JSON": ("{", "not readable JSON"),
    "a list": ("[]", "must hold a JSON object"),
    "a key twice": ('{"family": "xc", "family": "xc"}', "twice"),
    "no lanes": ({k: v for k, v in RECORD.items() if k != "input_lanes"}, "lacks the key 'input_lanes'"),
    "another key": (_changed(speed=3), "unknown key 'speed'"),
    "no such family": (_changed(family="abc"), "families xc, ecp5, ice40"),
    "another architecture": (_changed(architecture="sequential"), "not the folding of a streaming core"),
    "folds in a list": (_changed(folds=[]), "not the folding"),
    "lanes as text": (_changed(input_lanes="3"), "input_lanes must be of type int"),
    "no lanes at all": (_changed(input_lanes=0), "input_lanes is 0; it must be at least 1"),
    "a fold without simd": (_changed(folds={"conv": {"pe": 4, "style": "lut"}}), "conv lacks the key 'simd'"),
    "half an output": (_changed(folds={"conv": {"pe": 0.5, "simd": 1, "style": "lut"}}), "pe must be of type int"),
    "true outputs": (_changed(folds={"conv": {"pe": True, "simd": 1, "style": "lut"}}), "pe must be of type int"),
    "no such style": (_changed(folds={"conv": {"pe": 1, "simd": 1, "style": "x"}}), "none of lut, dsp, dsp_pair"),
    "style as number": (_changed(folds={"conv": {"pe": 1, "simd": 1, "style": [1]}}), "none of lut, dsp, dsp_pair"),
    "a step of another network": (_changed(folds={"no": {"pe": 1, "simd": 1, "style": "lut"}}), "'no' has a fold"),
    "a fold of another network": (_changed(folds={"fc": {"pe": 4, "simd": 1, "style": "lut"}}), "'fc' cannot"),
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_record_is_refused(what: str, tmp_path: Path) -> None:
    content, message = DAMAGED[what]
    path = tmp_path / "folding.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(ExportError, match=message):
        core_of("core", PROGRAM, path)


def test_a_missing_record_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="cannot read"):
        read_folds(tmp_path / "folding.json")


def test_a_sound_record_is_read(tmp_path: Path) -> None:
    path = tmp_path / "folding.json"
    path.write_text(json.dumps(RECORD))
    assert read_folds(path) == ({"conv": Fold(4, 3, "dsp")}, 3, LATTICE_ECP5)


def test_names_from_a_file_cannot_leave_their_comments() -> None:
    graph = toy_graph()
    evil = 'x"\n`include "y" @NAME@ \\ */'
    names = {graph.output: evil}
    nodes = tuple(
        replace(node, name=f"{node.name}\nendmodule`", output=names.get(node.output, node.output))
        for node in graph.nodes
    )
    tensors = {names.get(name, name): tensor for name, tensor in graph.tensors.items()}
    named = replace(graph, name="a\nb`c", output=evil, nodes=nodes, tensors=tensors)
    core = build("core", lower(named), {})
    plain = build("core", lower(graph), {})
    text = core.files()["core.v"]
    assert "`include" not in text and "\nendmodule`" not in text
    assert [line.split("//")[0] for line in text.splitlines()] == [
        line.split("//")[0] for line in plain.files()["core.v"].splitlines()
    ]
