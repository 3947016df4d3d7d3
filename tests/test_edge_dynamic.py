"""A bundle with rules on data: shares, accuracy, costs and other thresholds are what its rules say."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from click.testing import CliRunner

from devices import dynamic_costs
from devices.dynamic_record import FILE, BoardCosts, Single, expected_cost, mean_cost, read_dynamic, to_json
from devices.errors import DeviceError
from devices.report.dynamic_page import dynamic_html, equal_macs, headline
from devices.runtimes import find_runtime
from devices.stops import StopCost
from edge.cli import main
from edge.dataset import Dataset
from edge.dynamic_eval import judge, part_figures, path_macs, sweeps
from edge.dynamic_job import Wish, dynamic_record, write_record
from edge.errors import EdgeError
from edge.splitting import record as splitting
from export.bundle import write_bundle
from export.decide import decider, is_sure
from export.parity_rules import defined_answers
from export.runtimes import c_host
from export.runtimes.session import Told
from export.targets import find_target
from quant import graph_file
from quant.program import lower
from quant.reference import dequantise, fast_dot, run
from tests import dynamic_bundles as made
from tests.bundles import toy_spec
from tests.dynamic_bundles import LABELS, PREPROCESS, cascade, exits, filtered
from tests.measurements import measurement

COUNT = 40
CASES = {"exits": exits(count=COUNT), "cascade": cascade(count=COUNT), "filter": filtered(count=COUNT)}


def written(tmp_path, spec):
    return write_bundle(tmp_path / "bundle", spec, find_target("arm-m"))


def images_of(bundle):
    """Raw images whose codes are the bundle's test vectors, and labels that the last part is mostly right about."""
    first, last = bundle.parts[0], bundle.parts[-1]
    x = dequantise(first.graph.quant(first.graph.input), first.inputs).astype(np.float32)
    source = last.outputs.reshape(len(last.outputs), -1)
    labels = source.argmax(axis=1)
    labels[::7] = (labels[::7] + 1) % 10
    return x, labels.astype(np.int64)


@pytest.fixture(params=CASES, ids=str)
def judged(request, tmp_path):
    bundle = written(tmp_path, CASES[request.param])
    return bundle, judge(bundle, *images_of(bundle))


def test_figures_are_counts_of_what_the_rules_say(judged):
    bundle, found = judged
    answers, labels = defined_answers(bundle, bundle.parts[0].inputs), found.labels
    assert found.accuracy == np.mean(answers.label == labels)
    assert 0 < found.accuracy < 1
    for index, part in enumerate(part_figures(found)):
        here = answers.part == index
        assert (part.ran, part.answered) == (answers.ran[index].mean(), here.mean())
        assert part.accuracy == (np.mean((answers.label == labels)[here]) if here.any() else None)
    assert sum(part.stopped for part in part_figures(found)) == pytest.approx(1)
    dropped = (answers.part < 0).mean()
    assert sum(part.answered for part in part_figures(found)) == pytest.approx(1 - dropped)
    spent = sum(part.macs * part.ran for part in part_figures(found))
    assert found.macs == pytest.approx(spent)


def test_alone_is_each_network_without_rules(judged):
    bundle, found = judged
    for part, figures in zip(bundle.parts, part_figures(found), strict=True):
        if figures.alone is not None:
            assert figures.alone == np.mean(part.outputs.reshape(COUNT, -1).argmax(axis=1) == found.labels)
    assert part_figures(found)[0].path_macs == bundle.parts[0].record.macs
    last = len(bundle.parts) - 1
    read = {None: bundle.parts[-1].record.macs, "stage": 3456 + 1232, "stem": 3456 + 1232}
    assert path_macs(found.manifest, last) == read.get(bundle.parts[-1].record.source, bundle.parts[-1].record.macs)


def test_a_curve_is_what_a_bundle_with_that_threshold_does(tmp_path):
    """Every point of the sweep against a run that decides input by input."""
    bundle = written(tmp_path, CASES["exits"])
    x, labels = images_of(bundle)
    together, alone = sweeps(judge(bundle, x, labels))
    leave, rest = bundle.parts[1], bundle.parts[2]
    first, last = (p.outputs.reshape(COUNT, -1).argmax(axis=1) for p in (leave, rest))
    for point in alone.points:
        rule = replace(leave.record.after, threshold=point.setting)
        sure = is_sure(decider(rule, leave.record.output), leave.outputs)
        assert point.accuracy == np.mean(np.where(sure, first, last) == labels)
        assert point.macs == pytest.approx(3456 + 1232 + 1232 * (~sure).mean())
    assert alone.part == "exit" and together.part == ""
    ends = together.points[0], together.points[-1]
    assert [point.setting for point in ends] == [0, 1]
    assert [point.accuracy for point in ends] == [np.mean(last == labels), np.mean(first == labels)]
    shares = [1 - (point.macs - 3456 - 1232) / 1232 for point in together.points]
    np.testing.assert_allclose(shares, [point.setting for point in together.points], atol=1.5 / COUNT)


def test_requested_shares_stand_beside_those_reached(tmp_path):
    bundle = written(tmp_path, CASES["exits"])
    found = judge(bundle, *images_of(bundle))
    assert [part.requested for part in part_figures(found, {"exit": 0.25})] == [None, 0.25, None]
    with pytest.raises(EdgeError, match=r"part 'stage' cannot answer.*exit, rest can"):
        part_figures(found, {"stage": 0.5})
    for share in (float("nan"), -0.1, 1.5):
        with pytest.raises(EdgeError, match="a share is a number from 0 to 1"):
            part_figures(found, {"exit": share})
    with pytest.raises(EdgeError, match=r"the shares add up to 1\.4"):
        part_figures(found, {"exit": 0.5, "rest": 0.9})


def test_a_bundle_without_rules_is_refused(tmp_path):
    bundle = write_bundle(tmp_path / "bundle", toy_spec(), find_target("arm-m"))
    with pytest.raises(EdgeError, match="no rules"):
        judge(bundle, np.zeros((2, 3, 8, 8), np.float32), np.zeros(2, int))
    ruled = write_bundle(tmp_path / "ruled", CASES["exits"], find_target("arm-m"))
    with pytest.raises(EdgeError, match="no images"):
        judge(ruled, np.zeros((0, 3, 8, 8), np.float32), np.zeros(0, int))


def data_of(bundle):
    x, labels = images_of(bundle)
    return Dataset("toys", x, labels, x, labels, LABELS, PREPROCESS)


@pytest.fixture
def record(tmp_path):
    bundle = written(tmp_path, CASES["exits"])
    data = data_of(bundle)
    doubled = replace(data, x_test=np.concatenate([data.x_test] * 2), y_test=np.concatenate([data.y_test] * 2))
    found = dynamic_record(bundle.path, doubled, Wish(requested=(("exit", 0.3),), memory=("exact", 1000)))
    stop = StopCost("exit", 2, 31.0, 30.0, 32.0)
    costs = BoardCosts("b<1>", "instructions", "made up", (10.0, 20.0, 30.0), (stop,), (1.0, 1.0, 0.0))
    return replace(found, costs=(costs,), singles=(Single("peer & co", 5000, 0.5),))


def test_a_memory_answers_the_second_half_of_a_doubled_stream(record):
    assert record.images == record.memory.inputs == 2 * COUNT
    assert record.memory.hit_rate == 0.5 and record.memory.false_hit_rate == 0
    assert record.memory.accuracy == record.accuracy


def test_a_record_reads_back_and_is_strict(record, tmp_path):
    path = write_record(record, tmp_path / "out")
    again = read_dynamic(tmp_path / "out")
    assert to_json(again) == to_json(record)
    body = json.loads(path.read_text())
    slips = (
        (lambda b: b.pop("macs"), "macs"),
        (lambda b: b.update(more=1), "more"),
        (lambda b: b.update(schema=9), "schema 9"),
        (lambda b: b.update(accuracy="good"), "accuracy"),
        (lambda b: b["parts"][0].update(ran=None), "ran"),
        (lambda b: b["costs"][0]["alone"].pop(), "each of the 3 parts"),
        (lambda b: b["costs"][0].update(ran=[1, 1, 0]), "ran"),
        (lambda b: b["costs"][0].update(metric="metres"), "metric"),
        (lambda b: b["sweeps"][0]["points"][0].pop("macs"), "macs"),
        (lambda b: b.update(parts=[]), "parts"),
    )
    for slip, message in slips:
        changed = json.loads(json.dumps(body))
        slip(changed)
        path.write_text(json.dumps(changed))
        with pytest.raises(DeviceError, match=message):
            read_dynamic(path)
    with pytest.raises(DeviceError, match="edgemill dynamic"):
        read_dynamic(tmp_path / "nowhere")


def test_costs_are_expected_from_parts_and_how_often_they_ran():
    costs = BoardCosts(
        "b", "seconds", "", (10.0, 4.0, None), (StopCost("x", 3, 1, 1, 1), StopCost("y", 1, 5, 5, 5)), ()
    )
    assert expected_cost(costs, (1.0, 0.5, 0.0)) == 12.0
    assert expected_cost(costs, (1.0, 0.5, 0.1)) is None
    assert mean_cost(costs) == 2.0
    assert mean_cost(replace(costs, stops=())) is None


def test_the_page_shows_the_record_and_nothing_from_elsewhere(record):
    pytest.importorskip("jinja2")
    page = dynamic_html(record)
    assert "<script" not in page and "http:" not in page.replace("http-equiv", "") and "https:" not in page
    assert "peer &amp; co" in page and "b&lt;1&gt;" in page and "b<1>" not in page
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ElementTree.fromstring(drawing)
    for text in (
        "30.0 %",
        f"{100 * record.parts[1].answered:.1f} %",
        f"{100 * record.accuracy:.2f} %",
        "requested",
        "hits",
        "50.0 %",
    ):
        assert text in page, text
    # 10 + 20 for all of those that ran, against 31 measured.
    assert "3.3 %" in page
    assert len(re.findall(r"<polyline", page)) == len(record.sweeps)


@pytest.mark.parametrize("name", ["cascade", "filter"])
def test_the_page_of_other_bundles(name, tmp_path):
    pytest.importorskip("jinja2")
    bundle = written(tmp_path, CASES[name])
    found = dynamic_record(bundle.path, data_of(bundle), Wish())
    page = dynamic_html(found)
    assert (found.dropped > 0) == (name == "filter") == ("dropped" in headline(found))
    assert f"{100 * found.parts[-1].answered:.1f} %" in page and "Nothing was measured" in page
    assert "remembers by" not in page


def test_networks_beside_it_are_judged_on_the_same_images(tmp_path):
    bundle = written(tmp_path, CASES["cascade"])
    graph_file.save(bundle.parts[1].graph, tmp_path / "second.graph")
    found = dynamic_record(bundle.path, data_of(bundle), Wish(count=30, beside=(str(tmp_path / "second.graph"),)))
    second = found.parts[1]
    assert found.images == 30
    assert found.singles == (Single("second.graph", second.macs, second.alone),)
    assert 0 < second.alone < 1


def test_costs_of_a_kept_run_are_those_of_its_parts(tmp_path):
    bundle = written(tmp_path, CASES["exits"])
    runs = [
        measurement(bundle=bundle.digest, part=part.name, board="kept", energy_j=(2e-3, 4e-3, 3e-3))
        for part in bundle.parts
    ]
    found = dynamic_costs.kept_costs(bundle, [*runs, replace(runs[0], bundle="other"), replace(runs[0], part="a+b")])
    seconds, joules = found
    assert (seconds.metric, joules.metric) == ("seconds", "joules")
    assert expected_cost(joules, (1.0, 1.0, 0.5)) == pytest.approx(7.5e-3)
    middle = float(np.median([s for window in runs[0].latency_s for s in window]))
    assert seconds.alone == (middle,) * 3 and seconds.stops == ()
    assert expected_cost(seconds, (1.0, 1.0, 0.5)) == pytest.approx(2.5 * middle)
    lacking, _ = dynamic_costs.kept_costs(bundle, runs[:2])
    assert lacking.alone == (middle, middle, None)
    with pytest.raises(DeviceError, match="profile it first"):
        dynamic_costs.kept_costs(bundle, [replace(runs[0], bundle="other")])


def test_who_is_ahead_of_a_network_of_equal_macs(record):
    text = equal_macs(record)
    ahead = "this bundle" if record.accuracy > 0.5 else "that one"
    assert f"{ahead} is ahead by {100 * abs(record.accuracy - 0.5):.2f} points" in text
    assert "No network" in equal_macs(replace(record, singles=()))


def test_instructions_of_whole_inputs_are_near_those_of_their_parts(tmp_path):
    reason = find_runtime("mps2-an386").missing()
    if reason:
        pytest.skip(reason)
    bundle = written(tmp_path, CASES["exits"])
    codes = bundle.parts[0].inputs[:20]
    costs = dynamic_costs.measure_costs(bundle, "mps2-an386", codes, defined_answers(bundle, codes))
    assert [stop.part for stop in costs.stops] == ["exit", "rest"]
    assert expected_cost(costs, costs.ran) < mean_cost(costs) < 1.05 * expected_cost(costs, costs.ran)


def test_a_program_that_answers_otherwise_has_no_costs(tmp_path, monkeypatch):
    if c_host.RUNTIME.missing():
        pytest.skip(c_host.RUNTIME.missing())
    bundle = written(tmp_path, CASES["exits"])
    codes = bundle.parts[0].inputs[:3]
    wrong = replace(c_host.RUNTIME, joint=lambda b, c: Told(np.full(len(c), 2), np.zeros(len(c), int)))
    monkeypatch.setattr(c_host, "RUNTIME", wrong)
    with pytest.raises(DeviceError, match="mean nothing"):
        dynamic_costs.measure_costs(bundle, "host-c", codes, defined_answers(bundle, codes))
    with pytest.raises(DeviceError, match=r"host-c, .*do"):
        dynamic_costs.measure_costs(bundle, "host-ort", codes, defined_answers(bundle, codes))


def invoke(*words):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_commands_judge_draw_and_draw_again(tmp_path):
    bundle = written(tmp_path, CASES["exits"])
    data = data_of(bundle)
    file = tmp_path / "data.npz"
    np.savez(file, x=data.x_test, y=data.y_test)
    folder = tmp_path / "out"
    done = invoke("dynamic", bundle.path, "--data", file, "--shares", "exit=0.5", "-o", folder)
    assert done.exit_code == 0, (done.output, done.exception)
    assert "top-1 with" in done.stdout and "exit" in done.stdout
    found = read_dynamic(folder / FILE)
    (folder / "report.html").unlink()
    assert invoke("report", folder).exit_code == 0
    assert (folder / "report.html").read_text().count("<svg") > 2
    assert invoke("dynamic", bundle.path, "--data", file, "-o", folder).exit_code == 1  # it exists
    shown = json.loads(invoke("dynamic", bundle.path, "--data", file, "--json").stdout)
    assert shown["accuracy"] == found.accuracy
    told = json.loads(invoke("eval", bundle.path, "--data", file, "--json").stdout)
    assert told["accuracy"] == found.accuracy and told["macs"] == found.macs
    assert {item["part"]: item["share"] for item in told["answered"]} == {
        part.name: part.answered for part in found.parts if part.alone is not None
    }
    assert "answers" in invoke("eval", bundle.path, "--data", file).stdout


def test_report_says_who_draws_a_search_for_a_cut(tmp_path):
    (tmp_path / splitting.FILE).write_text("{}")
    done = invoke("report", tmp_path)
    assert done.exit_code == 1 and "edgemill split draws" in done.output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--shares", "exit:0.5"), "PART=SHARE"),
        (("--shares", "exit=0.5,exit=0.2"), "twice"),
        (("--shares", "exit=nan"), "from 0 to 1"),
        (("-o", "/proc/none"), "cannot be made"),
        (("--memory", "exact"), "HASH,ENTRIES"),
        (("--memory", "luck,10"), "remembers by exact"),
        (("--board", "verilator"), "does not run the parts"),
        (("--mean", "1"), "own pre-processing"),
    ],
)
def test_slips_are_named(tmp_path, words, message):
    bundle = written(tmp_path, CASES["exits"])
    data = data_of(bundle)
    np.savez(tmp_path / "data.npz", x=data.x_test, y=data.y_test)
    done = invoke("dynamic", bundle.path, "--data", tmp_path / "data.npz", *words)
    assert done.exit_code != 0
    assert message in done.output.replace("\n", " ")
    assert "Traceback" not in done.output


def test_the_last_word_of_a_cascade_counts_once(tmp_path):
    """In a cascade the first may answer after the second was asked: it stops there all the same."""
    bundle = written(tmp_path, CASES["cascade"])
    found = part_figures(judge(bundle, *images_of(bundle)))
    assert found[0].answered > found[0].stopped
    assert found[1].stopped == found[1].ran > found[1].answered
    graphs = [part.graph for part in bundle.parts]
    assert all(run(lower(g), bundle.parts[0].inputs[:1], fast_dot)[g.output].any() for g in graphs)
    assert made.LABELS == LABELS
