"""Vela compiles the .tflite of target ethos-u, its estimates are read strictly, what stays on the CPU is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices import runner
from devices.boards_ethos_u import BOARDS
from devices.errors import DeviceError
from export import ethos_u, vela
from export.errors import ExportError
from export.runtimes import tflm
from export.target import Source
from quant import operators as ops
from quant.formats import INT8
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.program import lower
from quant.reference import run
from tests.parts import short_plan, write_part
from tests.single_ops import conv_graph, quant
from tests.toys import random_codes, toy_graph

NAMES = [npu.name for npu in vela.NPUS]
U55 = vela.NPUS[0]


@pytest.fixture(scope="module", autouse=True)
def _vela() -> None:
    reason = vela.missing()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy network as a part of target ethos-u."""
    return write_part(tmp_path_factory.mktemp("ethos") / "part", ethos_u.TARGET)


def write(graph: Graph, folder: Path, name: str = "net") -> dict[str, object]:
    """Write a graph as a part and return its facts."""
    codes = random_codes(graph, 2)
    return dict(ethos_u.TARGET.write(Source(name, graph, codes, run(lower(graph), codes)[graph.output]), folder))


def pools(first: tuple[int, int], height: int) -> Graph:
    """A max pool over windows of `first`, and one of 1x2 behind it."""
    quantised = Quant(INT8, (0.5,), 3)
    middle = (1, 2, height - first[0] + 1, 8 - first[1] + 1)
    shapes = {"x": (1, 2, height, 8), "m": middle, "y": (*middle[:3], middle[3] - 1)}
    tensors = {name: Tensor(shape, quantised) for name, shape in shapes.items()}
    nodes = (
        Node("first", ops.MaxPool(kernel=first, strides=(1, 1)), ("x",), "m"),
        Node("second", ops.MaxPool(kernel=(1, 2), strides=(1, 1)), ("m",), "y"),
    )
    return check(Graph("pools", "x", "y", nodes, tensors))


def test_every_npu_gets_its_own_file(toy: Path) -> None:
    plain = (toy / "toy.tflite").read_bytes()
    made = [(toy / f"toy_{name}.tflite").read_bytes() for name in NAMES]
    assert len({plain, *made}) == 1 + len(NAMES)
    for data in made:
        assert data[4:8] == b"TFL3"
        assert b"ethos-u" in data  # the operator that stands for all that the NPU does
    assert b"ethos-u" not in plain


def test_the_plain_file_gives_the_reference_codes(toy: Path) -> None:
    reason = tflm.PLAIN_OF_ETHOS_U.missing()
    if reason:
        pytest.skip(reason)
    graph = toy_graph()
    codes = random_codes(graph, 16)
    expected = run(lower(graph), codes)[graph.output]
    session = tflm.PLAIN_OF_ETHOS_U.open(toy, "toy", graph)
    np.testing.assert_array_equal(session.run(codes), expected)
    session.close()
    assert len(np.unique(expected)) > 5
    assert len(set(expected.argmax(axis=1))) > 1


def test_estimates_come_back_as_written(toy: Path, tmp_path: Path) -> None:
    found = ethos_u.read_estimates(toy / "toy_estimates.json")
    assert list(found.npus) == NAMES
    assert not found.refused
    assert found.vela == vela.version()
    (tmp_path / "again.json").write_text(ethos_u.to_json(found))
    again = ethos_u.read_estimates(tmp_path / "again.json")
    assert dict(again.npus) == dict(found.npus)
    for made in found.npus.values():
        assert made.cycles == sum(layer.cycles for layer in made.layers) > 100
        assert made.macs > 0
        assert not made.on_cpu
    assert found.npus["ethos-u55-256"].cycles < found.npus["ethos-u55-128"].cycles


def test_the_same_part_is_written_twice_alike(toy: Path, tmp_path: Path) -> None:
    again = write_part(tmp_path / "again", ethos_u.TARGET)
    for file in sorted(path.name for path in toy.iterdir() if path.suffix != ".npz"):
        assert (again / file).read_bytes() == (toy / file).read_bytes(), file


def test_what_stays_on_the_cpu_is_said(tmp_path: Path) -> None:
    facts = write(pools((300, 2), 310), tmp_path)
    assert facts["refused"] == {}
    npus = facts["npus"]
    assert isinstance(npus, dict)
    for name in NAMES:
        assert npus[name]["on_cpu"] == ["MaxPool m"]  # its window is higher than any NPU takes
    made = ethos_u.read_estimates(tmp_path / "net_estimates.json").npus["ethos-u55-128"]
    assert [(layer.name, layer.target) for layer in made.layers] == [("m", "CPU"), ("y", "NPU")]
    assert made.cycles == made.layers[1].cycles > 0


def test_a_network_all_on_the_cpu_is_refused(tmp_path: Path) -> None:
    graph = pools((300, 2), 310)
    alone = replace(graph, nodes=graph.nodes[:1], output="m", tensors={k: graph.tensors[k] for k in ("x", "m")})
    with pytest.raises(
        ExportError, match=r"no NPU takes the network.*leaves every operation of net\.tflite to the CPU"
    ):
        write(check(alone), tmp_path)


def test_an_npu_that_vela_refuses_is_named_and_the_others_are_written(tmp_path: Path) -> None:
    op = ops.Conv(strides=(5, 5), pads=(1, 1, 1, 1), dilations=(1, 1), groups=1)
    graph = conv_graph(
        x=quant(INT8, 0.02, -3), weight=INT8, y=INT8, size=(8, 33, 80), out=8, kernel=(3, 3), op=op, seed=1
    )
    weights = {
        name: np.maximum(w, -127).astype(w.dtype) if w.dtype == np.int8 else w for name, w in graph.weights.items()
    }
    facts = write(replace(graph, weights=weights), tmp_path)
    assert list(facts["npus"]) == ["ethos-u85-256"]  # type: ignore[call-overload]
    found = ethos_u.read_estimates(tmp_path / "net_estimates.json")
    assert list(found.refused) == NAMES[:3]
    assert "Conv2D" in found.refused["ethos-u55-128"]
    assert not (tmp_path / "net_ethos-u55-128.tflite").exists()
    assert (tmp_path / "net_ethos-u85-256.tflite").exists()
    plan = replace(short_plan(tmp_path, "ethos-u55-128", "ethos-u"), part="net")
    with pytest.raises(DeviceError, match=r"Vela refuses net\.tflite"):
        runner.profile(plan)


@pytest.mark.parametrize("board", BOARDS, ids=lambda board: board.name)
def test_the_profile_says_what_vela_said(board, toy: Path) -> None:
    found = runner.profile(short_plan(toy, board.name, "ethos-u"))
    made = ethos_u.read_estimates(toy / "toy_estimates.json").npus[board.name]
    assert found.method == "simulated"
    assert "nothing was executed" in found.source
    assert found.cycles == (made.cycles,)
    assert found.arena_bytes == made.sram_bytes > 0
    assert sum(step.cycles or 0 for step in found.steps) == made.cycles
    assert sum(step.macs for step in found.steps) == made.macs
    assert dict(found.versions)["ethos-u-vela"] == vela.version()
    assert found.latency_s is None


def test_the_profile_needs_no_vela(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("export.vela.missing", lambda: "gone")
    assert runner.profile(short_plan(toy, "ethos-u55-128", "ethos-u")).cycles
    with pytest.raises(ExportError, match="gone"):
        write(toy_graph(), toy)


SUMMARY = dict.fromkeys(vela.SUMMARY_COLUMNS, "0") | {
    "accelerator_configuration": "Ethos_U55_128",
    "system_config": U55.system,
    "memory_mode": U55.memory_mode,
    "core_clock": "500000000.0",
    "sram_memory_used": "8.6875",
    "nn_macs": "30",
    "cycles_total": "12",
}
LAYER = dict.fromkeys(vela.LAYER_COLUMNS, "0") | {"Target": "NPU", "Op Cycles": "12", "MAC Count": "30", "Name": "a,b"}


def table(*rows: dict[str, str]) -> str:
    """Write rows as Vela does."""
    lines = [",".join(rows[0]), *(",".join(f'"{value}"' for value in row.values()) for row in rows)]
    return "\n".join(lines) + "\n"


def test_figures_are_read_from_their_columns() -> None:
    found = vela.estimate(U55, table(SUMMARY), table(LAYER))
    assert (found.cycles, found.macs, found.sram_bytes, found.clock_hz) == (12, 30, 8896, 500_000_000)
    assert [layer.name for layer in found.layers] == ["a,b"]


@pytest.mark.parametrize(
    ("summary", "layer", "message"),
    [
        ({"colour": "red"}, {}, r"other columns than Vela 5\.2\.0 writes \(colour\)"),
        ({"accelerator_configuration": "Ethos_U55_256"}, {}, "is about Ethos_U55_256"),
        ({"memory_mode": "Sram_Only"}, {}, "is about"),
        ({"cycles_total": "nan"}, {}, "cycles_total is 'nan'"),
        ({"cycles_total": "twelve"}, {}, "cycles_total is 'twelve'"),
        ({"cycles_total": "13"}, {}, "says cycles_total 13, its layers make 12"),
        ({"nn_macs": "31"}, {}, "says nn_macs 31"),
        ({"sram_memory_used": "0.0001"}, {}, "no whole number"),
        ({"sram_memory_used": "-1"}, {}, "no whole number"),
        ({"on_chip_flash_memory_used": "1"}, {}, "on-chip flash"),
        ({}, {"Target": "GPU"}, "runs on 'GPU'"),
        ({}, {"Op Cycles": "12.5"}, "no whole number"),
        ({}, {"Colour": "red"}, "Vela's layers has other columns"),
    ],
)
def test_a_table_that_is_not_as_expected_is_refused(
    summary: dict[str, str], layer: dict[str, str], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        vela.estimate(U55, table(SUMMARY | summary), table(LAYER | layer))


def test_rows_that_are_too_short_or_too_many_are_refused() -> None:
    with pytest.raises(ExportError, match="row of another length"):
        vela.estimate(U55, table(SUMMARY) + "1,2\n", table(LAYER))
    with pytest.raises(ExportError, match="2 rows"):
        vela.estimate(U55, table(SUMMARY, SUMMARY), table(LAYER))
    with pytest.raises(ExportError, match="other columns"):
        vela.estimate(U55, "", table(LAYER))


def test_damaged_estimates_are_refused(toy: Path, tmp_path: Path) -> None:
    path = tmp_path / "toy_estimates.json"
    with pytest.raises(ExportError, match="Export the model to ethos-u first"):
        ethos_u.read_estimates(path)
    good = json.loads((toy / path.name).read_text())
    for key, value, message in (
        ("schema", 2, "schema 2"),
        ("colour", 1, "unknown key 'colour'"),
        ("vela", 5, "vela must be of type str"),
        ("npus", {"ethos-u55-128": {**good["npus"]["ethos-u55-128"], "cycles": -1}}, "negative"),
        ("npus", {"ethos-u55-128": {**good["npus"]["ethos-u55-128"], "cycles": True}}, "must be of type int"),
    ):
        path.write_text(json.dumps({**good, key: value}))
        with pytest.raises(ExportError, match=message):
            ethos_u.read_estimates(path)
    path.write_text("{")
    with pytest.raises(ExportError):
        ethos_u.read_estimates(path)


def test_a_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "net.tflite").write_bytes(b"no flatbuffer at all, but long enough to be read" * 4)
    with pytest.raises(ExportError, match=r"ethos-u55-128: Vela refuses net\.tflite"):
        vela.compile_for(U55, tmp_path / "net.tflite")
