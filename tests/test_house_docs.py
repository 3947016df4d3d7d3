"""The documents are true: their examples run, their links lead somewhere, and what they name exists."""

from __future__ import annotations

import doctest
import re

import numpy as np
import pytest

from devices.board import METRICS, Board
from export.target import Capability, Target
from quant.formats import Format
from quant.graph import Graph, Node, Tensor, check
from quant.operators import Clip
from quant.rounding import encode
from tests.bundles import toy_spec
from tests.house import PACKAGES, ROOT

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def test_the_worked_examples_come_out_as_written():
    result = doctest.testfile(str(ROOT / "docs" / "numerics.md"), module_relative=False)
    assert result.attempted > 15
    assert result.failed == 0


@pytest.fixture(scope="module")
def added(tmp_path_factory) -> dict[str, object]:
    """Everything that the examples of docs/adding.md define."""
    pytest.importorskip("torch", reason="the example of a model needs torch")
    names: dict[str, object] = {"__name__": "adding"}
    for block in re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "adding.md").read_text(), re.DOTALL):
        exec(compile(block, "docs/adding.md", "exec", dont_inherit=True), names)
    return names


def test_the_added_format_rounds(added):
    fmt = added["E3M4_IEEE"]
    assert isinstance(fmt, Format)
    assert encode(fmt, np.array([15.2, 1e9, -0.02])).tolist() == [0x6E, 0x6F, 0x81]


def test_the_added_pass_takes_out_what_does_nothing(added):
    inf = float("inf")
    limits = ((0.0, inf), (-inf, inf), (-inf, inf), (-inf, 6.0), (-inf, inf))
    nodes = tuple(
        Node(f"n{i}", Clip(low=low, high=high), (f"t{i}",), f"t{i + 1}") for i, (low, high) in enumerate(limits)
    )
    graph = check(Graph("g", "t0", "t5", nodes, {f"t{i}": Tensor((1, 4)) for i in range(6)}))
    thinner = check(added["drop_idle_clip"](graph))
    assert [node.name for node in thinner.nodes] == ["n0", "n3", "n4"]
    assert thinner.nodes[1].inputs == ("t1",)


def test_the_added_cause_and_its_cure(added):
    pytest.importorskip("onnxruntime", reason="ranges are estimated in onnxruntime")
    from quant.diagnose import diagnose
    from quant.diagnosis.cures import Plan, carry_out
    from quant.ptq import prepare
    from quant.scheme import parse_scheme
    from tests import faulty_nets

    graph, x = prepare(faulty_nets.plain()), faulty_nets.data()
    scheme = parse_scheme("w8a8-sym")
    rows = diagnose(graph, scheme, x).rows
    found = {row.facts.name: added["WASTED_SIGN"].find(row.facts) for row in rows}
    assert {name for name, evidence in found.items() if evidence is not None} == {"n0", "n2", "n4"}
    cured = added["ASYMMETRIC"].change(Plan(graph, scheme, x))
    assert carry_out(cured).quant("n1.out").zero == -128
    assert added["ASYMMETRIC"].change(cured) is None


def test_the_added_meter_reads(added, tmp_path):
    meter = added["BENCH_SUPPLY"].make(tmp_path, "")
    assert meter.probe().detail == "out 2.5 W; the total is out"
    with meter.record() as recording:
        pass
    assert set(recording.trace().values.tolist()) == {2.5}


def test_the_added_target_writes(added, tmp_path):
    target = added["TARGET"]
    assert isinstance(target, Target)
    assert isinstance(target.capability, Capability)
    source = toy_spec().parts[0]
    assert target.write(source, tmp_path) == {"files": 6}
    assert len(list(tmp_path.iterdir())) == 6


def test_the_added_board_says_why_a_metric_is_absent(added):
    board = added["HOST_TFLM"]
    assert isinstance(board, Board)
    assert {*board.metrics, *(name for name, _ in board.absent), "energy"} == set(METRICS)


def test_the_added_executor_runs_jobs(added, tmp_path):
    from tests.jobs import collected, fake, job

    (tmp_path / "die.b").touch()
    found = collected(added["OneByOne"](fake(tmp_path)), [job("a"), job("b")], {"null": 1})
    assert [(name, outcome.done) for name, outcome in found] == [("a", True), ("b", False)]


def test_the_added_model_builds(added):
    import torch

    model = added["TINY"]
    module = model.build((1, 8, 8), 10, model.width, model.blocks)
    assert module(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in link:
            assert (page.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page):
    pattern = rf"`((?:{'|'.join((*PACKAGES, 'tests', 'docs', 'examples'))})/[\w/.]+)`"
    named = re.findall(pattern, page.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []
