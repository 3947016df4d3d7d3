"""Cores that give labels: one beat a frame, the place of the first greatest code, in the clocks they state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fpga_batch import Case, Simulated, simulate, wrong
from export.errors import ExportError
from export.parity_labels import labels_of
from export.rtl.stream.build import build
from export.rtl.stream.folds import Fold
from export.rtl.stream.output import Output
from export.rtl.stream.streams import streams
from quant.formats import E4M3, INT8, find_format
from quant.graph import Graph
from quant.program import lower
from quant.reference import run
from tests.rtl_graphs import Net
from tests.stream_cores import needs_verilator
from tests.stream_nets import head
from tests.toys import random_codes

FRAMES = 24


def _classifier(fmt: str, labels: int, seed: int) -> Graph:
    act = find_format(fmt)
    net = Net((1, 6), act, seed=seed)
    net.gemm("x", labels, act, INT8)
    return net.graph()


NETWORKS = {
    "int8": _classifier("int8", 10, 1),
    "uint8, and more labels than 256": _classifier("uint8", 260, 2),
    "int2, nearly always two greatest": _classifier("int2", 5, 3),
    "int16": _classifier("int16", 7, 4),
    "e4m3": _classifier("e4m3", 10, 5),
    "e2m1": _classifier("e2m1", 6, 6),
    "two labels": _classifier("int4", 2, 7),
}


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Simulated]:
    cases = [
        Case(graph, random_codes(graph, FRAMES), {"n0": Fold(1, 2)}, 2, labels=True) for graph in NETWORKS.values()
    ]
    return dict(zip(NETWORKS, simulate(cases, tmp_path_factory.mktemp("labels")), strict=True))


@needs_verilator
@pytest.mark.parametrize("name", NETWORKS)
def test_labels_and_clocks_are_exact(name: str, simulated: dict[str, Simulated]) -> None:
    one = simulated[name]
    assert wrong(one) == ""
    assert len(set(one.codes["waits"].tolist())) > 1
    assert one.latency == one.core.schedule.latency


@needs_verilator
def test_the_first_of_several_greatest_codes_wins(simulated: dict[str, Simulated]) -> None:
    graph, one = NETWORKS["int2, nearly always two greatest"], simulated["int2, nearly always two greatest"]
    codes = run(lower(graph), one.case.codes)[graph.output]
    first, last = codes.argmax(axis=1), codes.shape[1] - 1 - codes[:, ::-1].argmax(axis=1)
    assert (first != last).sum() > FRAMES // 2 and len(set(first.tolist())) > 1
    assert np.array_equal(one.codes["plain"], first)


def test_a_label_takes_whole_bytes() -> None:
    bits = {name: streams(build("c", lower(graph), {}, results=(Output("t0", True),)).plan)[0] for name, graph in
            NETWORKS.items()}  # fmt: skip
    assert {name for name, stream in bits.items() if stream.lane_bits == 16} == {"uint8, and more labels than 256"}
    assert {(stream.port, stream.beats, stream.lanes) for stream in bits.values()} == {("m_axis", 1, 1)}


def test_labels_of_minifloats_are_those_of_their_values() -> None:
    graph = NETWORKS["e4m3"]
    codes = E4M3.from_ordinals(np.array([[-3, -9, 5], [-3, -9, -5]]))
    assert labels_of(graph.quant(graph.output), codes).tolist() == [2, 0]


def test_labels_need_a_vector() -> None:
    graph = head()
    with pytest.raises(ExportError, match=r"first maximum of a vector of at most 65536 codes, but 't1' is \[4, 4, 3\]"):
        build("c", lower(graph), {}, results=(Output(graph.output, True),))


def test_outputs_that_cannot_be_are_refused() -> None:
    graph = NETWORKS["int8"]
    cases = {
        ("t0", "x"): r"'x' is the input of 'net', so it cannot be an output",
        ("t0", "w0"): r"'w0' is no activation of 'net', so it cannot be an output\. Allowed is what a step makes: 't0'",
        ("t0", "t0"): "'t0' is asked for as an output twice",
        ("x",): "the first output of a core is the network's, 't0', not 'x'",
    }
    for tensors, message in cases.items():
        with pytest.raises(ExportError, match=message):
            build("c", lower(graph), {}, results=tuple(Output(tensor) for tensor in tensors))


@needs_verilator
def test_a_label_is_not_that_of_another_frame(tmp_path: Path) -> None:
    """Frames of one beat follow each other in every clock."""
    net = Net((1, 4), INT8, seed=8)
    net.requantize("x", INT8, 3)
    graph = net.graph()
    one = simulate([Case(graph, random_codes(graph, 60), {"n0": Fold(4)}, 4, labels=True)], tmp_path)[0]
    assert wrong(one) == "" and one.interval == 4
    assert len(set(one.codes["plain"].tolist())) == 4
