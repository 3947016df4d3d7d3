"""The search for the best cut: figures of cut points, accuracies, fronts and rates against their definitions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from devices.boards import find_board
from devices.found import Found
from devices.part_files import load_graph
from devices.plan import Plan
from devices.runtimes import missing
from edge.cli import main
from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.evaluate import quantised_labels
from edge.link.model import Link
from edge.link.requantise import link_tensor, with_link_format
from edge.split import cut, cut_points
from edge.splitting import page
from edge.splitting.accuracy import sample
from edge.splitting.front import latency, with_front
from edge.splitting.job import Measuring, Network, SplitJob
from edge.splitting.points import PACKET_BYTES, parse_link_formats, peak_bytes, points
from edge.splitting.record import Choice, Cost, Figure, Rates, SplitRecord, to_record
from edge.splitting.search import candidates_of, search
from edge.splitting.table import rates_text
from export.preprocess import Preprocess
from quant import graph_file
from quant.formats import INT8, find_format
from quant.graph import Graph, Node, check, macs
from quant.operators import Add
from tests.test_edge_split import residual_graph
from tests.toys import random_codes, toy_graph

FORMATS = parse_link_formats("int8,int4,e3m2")
QUICK = Measuring(windows=2, window_s=0.005, warmup_s=0.0)
LINK = Link(4e6, 0.02)


def nothing(_what: str, _done: int, _total: int) -> None:
    """Nobody looks on."""


def toy_data(graph: Graph, count: int = 80) -> Dataset:
    """Raw int8 images that become random codes, with the network's own labels for most of them."""
    quant = graph.quant(graph.input)
    codes = random_codes(graph, count, 3)
    scale = quant.scale[0]
    preprocess = Preprocess(3, 8, 8, scale, (quant.zero * scale,) * 3, (1.0,) * 3, raw="int8")
    truth = quantised_labels(graph, preprocess.input_for(codes, graph.shape(graph.input)))
    truth = np.where(np.arange(count) % 5 == 0, (truth + 1) % 10, truth)
    labels = tuple(map(str, range(10)))
    return Dataset("toy", codes[:40], truth[:40], codes, truth, labels, preprocess)


def toy_job(graph: Graph | None = None, device: str = "null", server: str = "null", **changes) -> SplitJob:
    """A search over a toy network."""
    graph = toy_graph() if graph is None else graph
    network = Network("toy", replace(graph, name="toy"))
    job = SplitJob(
        networks=(network,),
        whole=network,
        dataset=toy_data(graph),
        link=LINK,
        device=find_board(device),
        server=find_board(server),
        formats=FORMATS,
        images=60,
        calibration=24,
        every=True,
        measuring=QUICK,
    )
    return replace(job, **changes)


def timed(plan: Plan, _source: str) -> Found:
    """Stand in for a worker process: a nanosecond per multiply-accumulate, and one microsecond."""
    seconds = 1e-6 + 1e-9 * sum(macs(load_graph(plan.folder)).values())
    return Found("made up", (), latency_s=((seconds, seconds),))


@pytest.fixture
def no_worker(monkeypatch) -> None:
    """Costs without processes."""
    monkeypatch.setattr("devices.runner.run_worker", timed)


@pytest.fixture(scope="module")
def searched(tmp_path_factory) -> Iterator[tuple[SplitJob, SplitRecord, Path]]:
    """One search over all cuts and formats, and its folder."""
    folder = tmp_path_factory.mktemp("split") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("devices.runner.run_worker", timed)
        job = toy_job()
        yield job, search(job, folder, nothing, code="test"), folder


def test_points_say_what_would_be_sent_computed_and_held():
    graph = toy_graph()
    found = points(graph, FORMATS)
    assert [point.tensor for point in found] == ["a", "c", "m"]
    first = found[0]
    assert dict(first.wire_bytes) == {"int8": 128 + 44, "int4": 64 + 44, "e3m2": 96 + 44}
    assert PACKET_BYTES == 44
    assert (first.macs_before, first.own) == (8 * 27 * 16, "int8")
    # conv holds x and a; the tail holds at its worst a, b and c: 'a' is read again by the Add.
    assert (first.head_peak_bytes, first.tail_peak_bytes) == (192 + 128, 3 * 128)
    last = found[-1]
    assert last.tail_peak_bytes == 8 + 10


def test_the_peak_is_that_of_every_order_of_steps_by_definition():
    graph = residual_graph(INT8, INT8)
    order, sizes = graph.activations(), {}
    for name in graph.activations():
        sizes[name] = int(np.prod(graph.shape(name)))
    peak = 0
    for index, node in enumerate(graph.nodes):
        later = {name for other in graph.nodes[index:] for name in other.inputs}
        live = {name for name in order[: index + 1] if name in later} | {node.output}
        peak = max(peak, sum(sizes[name] for name in live))
    assert peak_bytes(graph) == peak


def test_a_network_without_a_cut_is_refused_by_name():
    graph = toy_graph()
    both = tuple(Node("join", Add(), ("a", "b"), "c") if node.name == "add" else node for node in graph.nodes)
    conv, dw, join = both[0], both[1], both[2]
    one = check(replace(graph, nodes=(conv, dw, join), output="c"))
    assert [point.tensor for point in cut_points(one)] == ["a"]
    bare = check(replace(graph, nodes=(conv,), output="a"))
    with pytest.raises(EdgeError, match="'toy' has no cut point"):
        points(bare, FORMATS)


def test_accuracies_are_those_of_the_whole_changed_network(searched):
    job, result, folder = searched
    found = {(one.place.tensor, one.place.format): one for one in result.choices if one.place is not None}
    graph, dataset = job.whole.graph, job.dataset
    images, truth = sample(job)
    x = dataset.preprocess.input_for(images, graph.shape(graph.input))
    picked = np.random.default_rng(job.seed).permutation(40)[: job.calibration]
    calibration = dataset.preprocess.input_for(dataset.x_train[picked], graph.shape(graph.input))
    seen = set()
    for (tensor, name), choice in found.items():
        changed = with_link_format(graph, tensor, find_format(name), calibration)
        expected = float((quantised_labels(changed, x) == truth).mean())
        assert choice.accuracy == expected, (tensor, name)
        seen.add(expected)
    assert len(found) == 9 and len(seen) > 2
    record = json.loads((folder / "split.json").read_text())
    whole = next(one for one in record["choices"] if one["way"] == "local")
    assert whole["accuracy"] == float((quantised_labels(graph, x) == truth).mean())
    assert record["schema"] == 1 and record["images"] == 60


def test_latency_is_both_sides_and_the_link(searched):
    _, record, _ = searched
    local, remote = record.choices[:2]
    assert (local.way, remote.way) == ("local", "remote")
    assert local.latency_s.value == local.device.seconds.value and local.wire_bytes == 0
    assert remote.wire_bytes == 192 + 44 and remote.device is None
    for one in record.choices[1:]:
        device = 0.0 if one.device is None else one.device.seconds.value
        expected = device + (one.wire_bytes + 10 + 44) * 8 / 4e6 + 0.02 + one.server.seconds.value
        assert one.latency_s.value == pytest.approx(expected) and one.latency_s.method == "modelled"


def test_the_front_is_what_nothing_beats(searched):
    _, record, _ = searched
    assert record.objectives == ("accuracy", "latency", "wire bytes")

    def beats(a, b):
        one, two = ((-c.accuracy, c.latency_s.value, c.wire_bytes) for c in (a, b))
        return one != two and all(p <= q for p, q in zip(one, two, strict=True))

    for one in record.choices:
        assert one.front == (not any(beats(other, one) for other in record.choices))
    assert 0 < sum(one.front for one in record.choices) < len(record.choices)


def _cost(seconds: float, energy: float | None = None) -> Cost:
    joules = Figure(None, reason="no meter") if energy is None else Figure(energy, "measured")
    return Cost(Figure(seconds, "measured"), Figure(None, reason="none"), joules)


def _choice(way: str, accuracy: float, wire: int, device: Cost | None, server: Cost | None) -> Choice:
    energy = Figure(None, reason="the device only sends") if device is None else device.energy_j
    took = latency(LINK, (wire, 0), device, server)
    return Choice(way, "n", None, accuracy, wire, device, server, took, energy, None, front=False)


def test_energy_counts_where_the_device_has_a_meter():
    frugal = _choice("split", 0.9, 100, _cost(0.2, 0.001), _cost(0.01, 1.0))
    fast = _choice("split", 0.9, 100, _cost(0.1, 0.009), _cost(0.01, 1.0))
    marked, weighed = with_front((frugal, fast))
    assert "energy" in weighed and all(one.front for one in marked)
    blind = [replace(one, energy_j=Figure(None, reason="no meter")) for one in (frugal, fast)]
    marked, weighed = with_front(blind)
    assert "energy" not in weighed and [one.front for one in marked] == [False, True]


def test_a_figure_has_a_method_or_a_reason():
    for wrong in (
        (1.0, "", ""),
        (1.0, "guessed", ""),
        (None, "", ""),
        (None, "measured", ""),
        (1.0, "measured", "why"),
    ):
        with pytest.raises(ValueError, match="says too little"):
            Figure(*wrong)


def test_a_second_call_computes_nothing_and_says_the_same(searched, monkeypatch):
    job, first, folder = searched
    text = (folder / "split.json").read_text()

    def never(*_work: object) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("devices.runner.profile_all", never)
    monkeypatch.setattr("edge.splitting.accuracy._tried", never)
    again = search(job, folder, nothing, code="test")
    assert again == first and (folder / "split.json").read_text() == text


def test_a_stopped_search_goes_on(tmp_path, monkeypatch):
    calls = []

    def stopping(plan: Plan, source: str) -> Found:
        calls.append(plan.part)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return timed(plan, source)

    monkeypatch.setattr("devices.runner.run_worker", stopping)
    job = toy_job(formats=FORMATS[:1], tensors=("c", "m"))
    with pytest.raises(KeyboardInterrupt):
        search(job, tmp_path / "out", nothing, code="test")
    assert not (tmp_path / "out" / "split.json").exists()
    assert not list((tmp_path / "out").rglob("*.part"))
    record = search(job, tmp_path / "out", nothing, code="test")
    # The whole network's two sides were kept; the first cut, stopped at its server's side, is measured again.
    assert calls == ["model", "model", "head", "tail", "head", "tail", "head", "tail"]
    assert len(record.choices) == 4


def test_what_is_left_out_says_why(tmp_path):
    job = toy_job(every=False, input_bytes=100)
    kept, left = candidates_of(job)
    assert [one.point.tensor for one in kept] == ["m"]
    assert dict(left)["toy at a"] == "sends no less than the input (100 bytes) in any format"
    kept, left = candidates_of(toy_job(channels=(8,), tensors=("c",)))
    assert [one.point.tensor for one in kept] == ["c"]
    with pytest.raises(EdgeError, match="no cut is left to try: toy at a: 8 channels were not asked for"):
        candidates_of(toy_job(channels=(5,)))
    with pytest.raises(EdgeError, match="'b' is no cut point; there are a, c, m"):
        candidates_of(toy_job(tensors=("b",)))


def test_the_page_holds_every_choice_and_no_foreign_markup(searched):
    _, record, _ = searched
    text = page.html(replace(record, whole="<b>x</b>"))
    assert "<b>x</b>" not in text and "&lt;b&gt;x" in text
    assert text.count("<svg") == 3 and "http" not in text.replace("http-equiv", "")
    assert all(choice.place is None or choice.place.tensor in text for choice in record.choices)
    json.dumps(to_record(record), allow_nan=False)


def test_rates_in_words():
    texts = [rates_text(Rates(*pair)) for pair in ((None, None), (0.0, 2e6), (1e5, 2e6), (1e5, float("inf")))]
    assert texts == ["never", "below 2.00 Mbit/s", "100 kbit/s to 2.00 Mbit/s", "above 100 kbit/s"]


@pytest.mark.skipif(missing(find_board("host-litert")) is not None, reason=str(missing(find_board("host-litert"))))
def test_a_format_that_a_target_has_only_wider_is_left_out(tmp_path, no_worker):
    job = toy_job(device="host-litert", server="null", tensors=("c",), formats=parse_link_formats("int8,int4,e3m2"))
    record = search(job, tmp_path / "out", nothing, code="test")
    assert [one.place.format for one in record.choices if one.place is not None] == ["int8"]
    reasons = dict(record.left_out)
    assert "arm-a stores int4 as int8" in reasons["toy at c, int4"] and "e3m2" in reasons["toy at c, e3m2"]


@pytest.mark.skipif(missing(find_board("host-c")) is not None, reason=str(missing(find_board("host-c"))))
def test_both_sides_are_measured_here(tmp_path):
    job = toy_job(device="host-c", server="host-c", tensors=("c",), formats=parse_link_formats("e3m2"))
    record = search(job, tmp_path / "out", nothing, code="test")
    one = record.choices[-1]
    assert one.place.format == "e3m2" and one.wire_bytes == 96 + 44
    for cost in (one.device, one.server):
        assert cost.seconds.method == "measured" and 0 < cost.seconds.value < 1
        assert cost.instructions.value is None and "counter" in cost.instructions.reason
    assert record.choices[0].latency_s.method == "measured"


@pytest.mark.skipif(missing(find_board("mps2-an386")) is not None, reason=str(missing(find_board("mps2-an386"))))
def test_a_microcontroller_is_counted(tmp_path):
    job = toy_job(device="mps2-an386", tensors=("c",), formats=parse_link_formats("int8,int4"))
    record = search(job, tmp_path / "out", nothing, code="test")
    whole, plain, narrow = record.choices[0], *record.choices[2:]
    for one in (whole, plain, narrow):
        assert one.device.instructions.method == "counted" and one.device.seconds.method == "modelled"
        assert one.device.seconds.value == pytest.approx(one.device.instructions.value / 25e6)
        assert one.energy_j.value is None and "emulator draws no power" in one.energy_j.reason
    assert plain.device.instructions.value < whole.device.instructions.value
    # The narrow link costs the head one more step.
    assert plain.device.instructions.value < narrow.device.instructions.value
    assert any("25 million per second" in note for note in record.notes)


def _file(tmp_path, graph):
    path = tmp_path / "toy.graph"
    path.write_bytes(graph_file.to_bytes(graph))
    data = toy_data(graph)
    np.savez(tmp_path / "toy.npz", x=data.x_test, y=data.y_test)
    return path


def _run(*words: object):
    return CliRunner().invoke(main, [str(word) for word in words])


def test_the_list_as_text_and_json(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    path = _file(tmp_path, toy_graph())
    shown = _run("split", path, "--list", "--formats", "int4,e2m1")
    assert shown.exit_code == 0 and "bytes, e2m1" in shown.stdout
    record = json.loads(_run("split", path, "--list", "--formats", "int4,e2m1", "--json").stdout)
    cuts = record["models"]["toy"]
    assert [point["tensor"] for point in cuts] == ["a", "c", "m"]
    assert cuts[0]["wire_bytes"] == {"int4": 108, "e2m1": 108}


def test_a_torch_module_is_cut_as_well(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from torch import nn

    from edge.onnx_file import to_onnx

    net = nn.Sequential(nn.Conv2d(1, 4, 3, 2), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(18, 3))
    to_onnx(net, (1, 8, 8), tmp_path / "net.onnx")
    record = json.loads(_run("split", tmp_path / "net.onnx", "--list", "--json").stdout)
    cuts = record["models"]["net"]
    assert [(point["shape"], point["macs_before"]) for point in cuts][:2] == [
        ([1, 4, 3, 3], 4 * 9 * 9),
        ([1, 2, 3, 3], 4 * 9 * 9 + 2 * 4 * 9),
    ]
    assert cuts[1]["wire_bytes"]["int4"] == 9 + 44 and cuts[1]["own"] == "float32"


def test_the_command_writes_a_report_and_json(tmp_path, no_worker):
    path = _file(tmp_path, toy_graph())
    words = ("split", path, "--link", "1mbit,5ms", "--data", tmp_path / "toy.npz", "--device", "null", "--server")
    rest = ("--images", 20, "--count", 16, "--windows", 1, "--window-s", 0.001, "--warmup-s", 0, "-o", tmp_path / "out")
    done = _run(*words, "null", "--every", "--formats", "int4,e3m2", "--pixel-scale", 0.02, *rest)
    assert done.exit_code == 0, done.output
    assert "fastest at this link" in done.stdout and (tmp_path / "out" / "report.html").is_file()
    done = _run(*words, "null", "--every", "--formats", "int4,e3m2", "--pixel-scale", 0.02, *rest, "--json")
    record = json.loads(done.stdout)
    assert record["schema"] == 1 and record["rate_bit_s"] == 1e6 and len(record["choices"]) == 8
    assert {one["way"] for one in record["choices"]} == {"local", "remote", "split"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--link", "4mb"), "a link is written as 4mbit,20ms"),
        (("--link", "4mbit", "--device", "mps2-an38"), "mps2-an386"),
        (("--link", "4mbit", "--formats", "int44"), "unknown format of a link 'int44'"),
        (("--link", "4mbit", "--formats", "int8,int8"), "each once"),
        (("--link", "4mbit", "--channels", "a"), "--channels takes numbers"),
        (("--link", "4mbit", "--server", "mps2-an386"), "a server's time must be measured"),
        (("--link", "4mbit", "--device", "verilator"), "with latency or instructions"),
        (("--link", "4mbit", "--cut", "zz"), "'zz' is no cut point"),
        ((), "needs --link and --data"),
    ],
)
def test_what_cannot_be_searched_is_said_in_one_line(tmp_path, words, message):
    path = _file(tmp_path, toy_graph())
    done = _run("split", path, "--data", tmp_path / "toy.npz", "--pixel-scale", 0.02, "-o", tmp_path / "out", *words)
    assert done.exit_code in (1, 2) and message in " ".join(done.stderr.split()), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_cut_graph_is_what_the_search_cut():
    """The link's tensor is a cut point of the changed graph, behind the tensor it stands for."""
    graph = toy_graph()
    x = toy_data(graph).preprocess.input_for(random_codes(graph, 8), graph.shape(graph.input))
    changed = with_link_format(graph, "c", find_format("int4"), x)
    head, tail = cut(changed, link_tensor(changed, "c"))
    assert head.output == tail.input == "c_link"
