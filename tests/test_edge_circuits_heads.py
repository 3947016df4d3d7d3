"""A divided network with an early exit as two FPGA cores: what leaves them, and how a bundle of them is proved."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edge.circuits import circuit_request, circuits_of
from edge.cli import main
from edge.errors import EdgeError
from edge.exporting import halves
from edge.split import cut
from export import fpga
from export.bundle import write_bundle
from export.bundle_read import Bundle, read_bundle
from export.parity import check_bundle, check_part
from export.rtl.stream.output import Output
from export.rtl.stream.request import CircuitRequest
from export.runtimes.verilator import RUNTIME
from quant import graph_file
from quant.graph import Graph
from quant.reference import dequantise
from tests.bundles import toy_spec
from tests.stream_cores import needs_verilator
from tests.stream_nets import early_exits
from tests.toys import random_codes, toy_graph

#: The tensor that crosses the cut, and the logits of the exit before it.
BOTTLENECK, EXIT = "t6", "t3"


def _network() -> Graph:
    return early_exits(end=True)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    graph = _network()
    x = dequantise(graph.quant(graph.input), random_codes(graph, 8))
    parts = halves(graph, x, BOTTLENECK, exits=(EXIT,))
    asked = circuit_request(None, 20_000, None, sequential=False, head="labels", taps=(EXIT,))
    assert asked is not None
    circuits = circuits_of(asked, [part.graph for part in parts])
    parts = tuple(replace(part, circuit=circuit) for part, circuit in zip(parts, circuits, strict=True))
    preprocess = replace(toy_spec().preprocess, height=8, width=6)
    labels = tuple(f"class {index}" for index in range(graph.shape(graph.output)[1]))
    spec = replace(toy_spec(), parts=parts, preprocess=preprocess, labels=labels)
    return write_bundle(tmp_path_factory.mktemp("heads") / "bundle", spec, fpga.TARGET)


def test_head_gives_bottleneck_and_exit_and_tail_gives_labels(bundle: Bundle) -> None:
    outputs = [part.facts["outputs"] for part in bundle.manifest.parts]
    carried = [[(o["port"], o["tensor"], o["carries"]) for o in part] for part in outputs]  # type: ignore[attr-defined]
    assert carried == [
        [("m_axis_0", BOTTLENECK, "codes"), ("m_axis_1", EXIT, "codes")],
        [("m_axis", "t8", "labels")],
    ]


@needs_verilator
def test_parity_looks_at_every_stream(bundle: Bundle, tmp_path: Path) -> None:
    results = check_bundle(bundle, [RUNTIME])
    assert [(r.part, r.status) for r in results] == [(p, "bit-exact") for p in ("head", "tail", "head+tail")], results
    assert all(result.labels > 1 for result in results)
    shutil.copytree(bundle.path, tmp_path / "spoilt")
    spoilt = {
        "head": ("m_data = in_data", "m_data = in_data ^ 8'd1", r"codes of 't3' on m_axis_1 differ"),
        "tail": ("m_data = {", "m_data = 8'd1 ^ {", r"labels of 't8' on m_axis differ from the reference: \d instead"),
    }
    for part in bundle.parts:
        old, new, message = spoilt[part.name]
        folder = tmp_path / "spoilt" / part.name
        source = folder / f"{part.stem}.v"
        before, after = source.read_text().rsplit(old, 1)
        source.write_text(before + new + after)
        found = check_part(replace(part, folder=folder), RUNTIME)
        assert found.status == "wrong" and re.search(message, found.reason), found.reason


def test_exits_stay_with_the_side_that_has_their_inputs() -> None:
    graph = _network()
    head, tail = cut(graph, BOTTLENECK, (EXIT,))
    assert EXIT in head.tensors and EXIT not in tail.tensors
    assert EXIT not in cut(graph, BOTTLENECK)[0].tensors
    early, late = cut(graph, "t0", (EXIT,))
    assert EXIT in early.tensors and [node.output for node in late.nodes][-1] == graph.output
    both = replace(graph, nodes=tuple(_joined(node) for node in graph.nodes))
    with pytest.raises(EdgeError, match="node 'n3' of an exit reads 't2' and 't8' from both sides"):
        cut(both, BOTTLENECK, ("t3",))


def _joined(node):  # type: ignore[no-untyped-def]
    return node if node.name != "n3" else replace(node, inputs=("t2", "t8"))


def test_the_command_exports_labels_and_taps(tmp_path: Path) -> None:
    graph = toy_graph()
    (tmp_path / "toy.graph").write_bytes(graph_file.to_bytes(graph))
    x = dequantise(graph.quant(graph.input), random_codes(graph, 40))
    np.savez(tmp_path / "data.npz", x=x, y=np.arange(40) % 10)
    words = ["export", "toy.graph", "--data", "data.npz", "--head", "labels", "--tap-output", "c", "-o", "out"]
    words = [str(tmp_path / word) if word in ("toy.graph", "data.npz", "out") else word for word in words]
    done = CliRunner().invoke(main, [*words, "--target", "fpga"])
    assert done.exit_code == 0, done.output
    (part,) = read_bundle(tmp_path / "out").manifest.parts
    outputs = [(o["tensor"], o["carries"]) for o in part.facts["outputs"]]  # type: ignore[attr-defined]
    assert outputs == [("y", "labels"), ("c", "codes")]
    done = CliRunner().invoke(main, [*words, "--target", "arm-m", "--force"])
    assert done.exit_code == 2 and "--tap-output and --status go with --target fpga" in done.output
    done = CliRunner().invoke(main, [*words, "--target", "fpga", "--force", "--tap-output", "b2"])
    assert done.exit_code == 1 and "--tap-output b2: no step makes a tensor of that name" in done.output


def test_requests_by_part() -> None:
    parts = cut(_network(), BOTTLENECK, (EXIT,))
    asked = CircuitRequest("stream", cycles=100, labels=True, taps=(Output(EXIT), Output("t7")))
    head, tail = circuits_of(asked, parts)
    assert (head.labels, head.taps, head.cycles) == (False, (Output(EXIT),), 100)
    assert (tail.labels, tail.taps) == (True, (Output("t7"),))
    with pytest.raises(EdgeError, match=r"--tap-output exit: no step makes a tensor of that name"):
        circuits_of(replace(asked, taps=(Output("exit"),)), parts)


def test_heads_and_taps_of_the_command_line(tmp_path: Path) -> None:
    def asked(**options):  # type: ignore[no-untyped-def]
        return circuit_request(None, None, options.pop("folding", None), sequential=False, **options)

    assert asked(head="logits") is None
    labels = asked(head="labels", taps=("a", "b"))
    assert (labels.architecture, labels.labels, labels.taps) == ("stream", True, (Output("a"), Output("b")))
    path = tmp_path / "folding.json"
    path.write_text(
        '{"architecture": "stream", "family": "xc", "folds": {}, "input_lanes": 1, "labels": true, '
        '"taps": [{"labels": false, "tensor": "c"}]}'
    )
    assert (asked(folding=path).labels, asked(folding=path).taps) == (True, (Output("c"),))
    assert not asked(folding=path, head="logits").labels
    assert asked(folding=path, taps=("d",)).taps == (Output("d"),)
    with pytest.raises(EdgeError, match="--sequential: that core gives the codes of the network's output only"):
        circuit_request(None, None, None, sequential=True, head="labels")
