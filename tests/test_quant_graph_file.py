"""Graph files: the same bytes for the same graph, and every damage refused."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quant import operators as ops
from quant.errors import QuantError
from quant.formats import E4M3, INT8, find_format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.graph_file import load, save, to_bytes
from quant.program import lower
from quant.reference import run
from tests.toys import random_codes, toy_graph

INT6 = find_format("int6")


@pytest.mark.parametrize("weight", [INT8, INT6, E4M3], ids=lambda fmt: fmt.name)
def test_a_graph_comes_back_exactly(tmp_path, weight):
    graph = toy_graph(INT8 if weight is not E4M3 else E4M3, weight)
    save(graph, tmp_path / "g.graph")
    again = load(tmp_path / "g.graph")
    assert (again.name, again.input, again.output, again.nodes) == (graph.name, graph.input, graph.output, graph.nodes)
    assert again.tensors == graph.tensors
    assert set(again.weights) == set(graph.weights)
    for name, weights in graph.weights.items():
        assert np.array_equal(again.weights[name], weights)
        assert again.weights[name].dtype == weights.dtype
    assert to_bytes(again) == to_bytes(graph) == (tmp_path / "g.graph").read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["g.graph"]
    codes = random_codes(graph, 16)
    outputs = run(lower(again), codes)[graph.output]
    assert np.array_equal(outputs, run(lower(graph), codes)[graph.output])
    assert len(set(graph.quant(graph.output).format.to_ordinals(outputs).argmax(axis=1).tolist())) > 1


def clip(index: int) -> tuple[float, float] | None:
    """Every second node has one."""
    return (0.0, 6.0) if index % 2 else None


def every_operator() -> Graph:
    """A float graph with every operator and attribute that a file must hold (it need not compute anything)."""
    operators = (
        ops.Conv(strides=(2, 1), pads=(0, 1, 2, 3), dilations=(1, 2), groups=4),
        ops.Gemm(),
        ops.Add(),
        ops.Mul(),
        ops.Function(name="hard_sigmoid", alpha=0.2, beta=0.5),
        ops.Clip(low=-1.5, high=float("inf")),
        ops.Minimum(limits=(0.1, float("inf"), -1.0, 2.5)),
        ops.BatchNorm(epsilon=1e-5),
        ops.Pad(before=(0, 1), after=(2, 3)),
        ops.Slice(starts=(0,), ends=(3,), steps=(2,)),
        ops.Concat(axis=1),
        ops.MaxPool(kernel=(2, 3), strides=(1, 2)),
        ops.AveragePool(kernel=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)),
        ops.Mean(keep_dims=True),
        ops.Reshape(shape=(1, 4)),
        ops.Softmax(),
        ops.Requantize(),
    )
    assert {type(op) for op in operators} == set(ops.OPERATORS)
    names = [f"t{index}" for index in range(len(operators) + 1)]
    nodes = tuple(
        Node(f"n{index}", op, (names[index],) * (1 + isinstance(op, ops.Mul)), names[index + 1], clip(index))
        for index, op in enumerate(operators)
    )
    return check(Graph("all", names[0], names[-1], nodes, {name: Tensor((1, 4)) for name in names}))


def test_every_operator_comes_back(tmp_path):
    graph = every_operator()
    save(graph, tmp_path / "g.graph")
    assert load(tmp_path / "g.graph").nodes == graph.nodes


def test_the_order_of_dictionaries_leaves_no_mark():
    graph = toy_graph()
    backwards = replace(
        graph,
        tensors=dict(reversed(list(graph.tensors.items()))),
        weights=dict(reversed(list(graph.weights.items()))),
    )
    assert to_bytes(backwards) == to_bytes(graph)


def test_other_weights_scales_and_names_change_the_bytes():
    graph = toy_graph()
    nudged = replace(graph, tensors={**graph.tensors, "x": Tensor((1, 3, 8, 8), Quant(INT8, (0.5,), -3))})
    variants = {to_bytes(g) for g in (graph, toy_graph(seed=1), replace(graph, name="other"), nudged)}
    assert len(variants) == 4


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_changed_byte_is_refused(tmp_path, data):
    good = to_bytes(toy_graph())
    bad = bytearray(good)
    bad[data.draw(st.integers(0, len(good) - 1))] ^= data.draw(st.integers(1, 255))
    (tmp_path / "bad.graph").write_bytes(bad)
    with pytest.raises(QuantError, match=r"bad\.graph"):
        load(tmp_path / "bad.graph")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 3000))
def test_truncated_and_longer_files_are_refused(tmp_path, cut):
    good = to_bytes(toy_graph())
    for bad in (good[: min(cut, len(good) - 1)], good + b"\0" * (cut + 1)):
        (tmp_path / "bad.graph").write_bytes(bad)
        with pytest.raises(QuantError, match=r"bad\.graph"):
            load(tmp_path / "bad.graph")


def forged(path, change) -> None:
    """Write the toy graph with another header, spelt as the writer spells it."""
    with zipfile.ZipFile(io.BytesIO(to_bytes(toy_graph()))) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(files["graph.json"])
    files["graph.json"] = json.dumps(change(header), indent=1, sort_keys=True).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content)


def test_forging_without_change_is_accepted(tmp_path):
    forged(tmp_path / "g.graph", lambda header: header)
    assert to_bytes(load(tmp_path / "g.graph")) == to_bytes(toy_graph())


FORGERIES = [
    (lambda h: {**h, "schema": 2}, "graph schema 2; this version reads 1"),
    (lambda h: [h], "not a readable edgemill graph"),
    (lambda h: {**h, "more": 1}, "not spelt as edgemill writes it"),
    (lambda h: {k: v for k, v in h.items() if k != "nodes"}, "not a readable edgemill graph: 'nodes'"),
    (lambda h: {**h, "output": "nowhere"}, "nothing makes the output 'nowhere'"),
    (lambda h: {**h, "nodes": h["nodes"][1:]}, "before anything makes it"),
    (lambda h: {**h, "nodes": [h["nodes"][0], *h["nodes"]]}, "which exists already"),
    (lambda h: {**h, "nodes": [{**h["nodes"][0], "op": "Conv9"}]}, "unknown operator 'Conv9'"),
    (lambda h: {**h, "nodes": [{**h["nodes"][0], "attributes": {"colour": 1}}]}, "not a readable"),
    (lambda h: {**h, "nodes": [{**h["nodes"][0], "clip": []}]}, "not a readable"),
    (lambda h: {**h, "weights": [*h["weights"], "more"]}, "not a readable"),
    (lambda h: {**h, "weights": h["weights"][::-1]}, "has shape"),
]


@pytest.mark.parametrize("case", range(len(FORGERIES)))
def test_a_forged_header_is_refused(tmp_path, case):
    change, message = FORGERIES[case]
    forged(tmp_path / "g.graph", change)
    with pytest.raises(QuantError, match=message):
        load(tmp_path / "g.graph")


def test_weights_are_never_unpickled(tmp_path):
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(io.BytesIO(to_bytes(toy_graph()))) as archive:
        header = archive.read("graph.json")
    with zipfile.ZipFile(tmp_path / "g.graph", "w") as archive:
        archive.writestr("graph.json", header)
        archive.writestr("weights/0.npy", buffer.getvalue())
    with pytest.raises(QuantError, match="not a readable edgemill graph"):
        load(tmp_path / "g.graph")


def test_what_is_not_there_is_one_clear_line(tmp_path):
    with pytest.raises(QuantError, match=r"not a readable edgemill graph: .*No such file"):
        load(tmp_path / "nothing.graph")
