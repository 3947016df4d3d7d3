"""hls4ml projects: what is refused and why, what is rewritten, and the C simulation beside the reference."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")

from export.errors import ExportError
from export.hls4ml import Setting, missing, no_codes, write_project
from export.hls4ml_graph import for_hls4ml, half_units, rounding_biases, sum_precisions
from export.qonnx import qonnx_model
from quant import operators as ops
from quant.fixedpoint import multiply_q31
from quant.formats import INT8, Array, find_format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.onnx_import import load_onnx
from quant.passes.power_of_two import has_powers_of_two, power_of_two_scales
from quant.program import ConvStep, lower
from quant.reference import fast_dot, quantise_input, run
from tests.toys import toy_graph

INF = float("inf")
#: An interpreter that has hls4ml; without one, the tests that simulate are skipped.
PYTHON = os.environ.get("EDGEMILL_HLS4ML_PYTHON")


def fixed_graph(*, body: str = "plain", seed: int = 0) -> Graph:
    """Convolutions with Relu, one body, and a linear layer; symmetric int8, scales of powers of two."""
    rng = np.random.default_rng(seed)
    tensors: dict[str, Tensor] = {}
    weights: dict[str, Array] = {}
    nodes: list[Node] = []

    def tensor(name: str, shape: tuple[int, ...], scale: float) -> str:
        tensors[name] = Tensor(shape, Quant(INT8, (scale,)))
        return name

    def layer(name: str, op: ops.Operator, x: str, y: str, shape: tuple[int, ...], clip=(0.0, INF)) -> None:
        tensors[f"{name}_w"] = Tensor(shape, Quant(INT8, (2.0**-7,), 0, 0))
        weights[f"{name}_w"] = rng.integers(-100, 101, shape).astype(np.int8)
        tensors[f"{name}_b"] = Tensor((shape[0],))
        weights[f"{name}_b"] = rng.integers(-3000, 3001, shape[0]).astype(np.int32)
        nodes.append(Node(name, op, (x, f"{name}_w", f"{name}_b"), y, clip))

    tensor("x", (1, 2, 6, 6), 2.0**-5)
    layer("first", ops.Conv(pads=(1, 1, 1, 1)), "x", tensor("a", (1, 4, 6, 6), 2.0**-4), (4, 2, 3, 3))
    if body == "residual":
        layer("second", ops.Conv(pads=(1, 1, 1, 1)), "a", tensor("r", (1, 4, 6, 6), 2.0**-3), (4, 4, 3, 3), None)
        tensor("b", (1, 4, 6, 6), 2.0**-3)
        nodes.append(Node("sum", ops.Add(), ("a", "r"), "b", (0.0, INF)))
    else:
        # Quartus knows no depthwise convolution.
        op = ops.Conv(pads=(1, 1, 1, 1), groups=1 if body == "whole" else 4)
        layer("second", op, "a", tensor("b", (1, 4, 6, 6), 2.0**-3), (4, 4 // op.groups, 3, 3))
    tensor("p", (1, 4, 2, 2), 2.0**-3)
    nodes.append(Node("pool", ops.MaxPool(kernel=(3, 3), strides=(3, 3)), ("b",), "p"))
    tensors["f"] = Tensor((1, 4 if body == "mean" else 16), Quant(INT8, (2.0**-3,)))
    move = ops.Mean(keep_dims=False) if body == "mean" else ops.Reshape(shape=(1, 16))
    nodes.append(Node("flat", move, ("p",), "f"))
    clip = (0.0, INF) if body == "relu" else None
    layer("last", ops.Gemm(), "f", tensor("y", (1, 5), 2.0**-2), (5, tensors["f"].shape[1]), clip)
    return check(Graph("fixed", "x", "y", tuple(nodes), tensors, weights))


def real_inputs(graph: Graph, count: int = 8, seed: int = 1) -> Array:
    rng, shape = np.random.default_rng(seed), graph.shape(graph.input)[1:]
    return rng.normal(size=(count, *shape)) + rng.normal(size=(count, shape[0], 1, 1)) * 2


def codes(graph: Graph, count: int = 24) -> Array:
    return quantise_input(graph.quant(graph.input), real_inputs(graph, count).astype(np.float32))


def test_a_network_of_powers_of_two_is_taken_as_it_is():
    graph = fixed_graph()
    assert for_hls4ml(graph).nodes == graph.nodes


def test_a_mean_becomes_a_convolution_that_computes_it():
    graph = fixed_graph(body="mean")
    ready = for_hls4ml(graph)
    assert [node.kind for node in ready.nodes] == ["Conv", "Conv", "MaxPool", "Conv", "Reshape", "Gemm"]
    x = codes(graph, 64)
    ours, theirs = (run(lower(g), x, fast_dot)["f"].astype(int) for g in (graph, ready))
    assert np.abs(ours - theirs).max() <= 1, "both round the same means, each by its own rule"
    assert len(np.unique(ours)) > 20


@pytest.mark.parametrize("body", ["plain", "relu", "mean", "residual", "whole"])
def test_sums_fit_their_precision(body):
    graph = for_hls4ml(fixed_graph(body=body))
    layers = [step for step in lower(graph).steps if isinstance(step, ConvStep)]
    for step, precision in zip(layers, sum_precisions(graph), strict=True):
        bits, whole = (int(part) for part in precision.removeprefix("fixed<").removesuffix(">").split(","))
        node = next(node for node in graph.nodes if node.name == step.name)
        unit = graph.quant(node.inputs[0]).scale[0] * graph.quant(node.inputs[1]).scale[0]
        assert 2.0 ** -(bits - whole) == unit / 2, "half accumulator units"
        assert 2 * step.acc_max + 3 < 2 ** (bits - 1)


def test_biases_make_half_even_rounding_the_references_behind_a_relu(tmp_path):
    """In floats: qonnx's arithmetic, exact here, of the biases that are written, against the reference."""
    graph = fixed_graph(body="relu")
    assert {half_units(graph, node) for node in graph.nodes if isinstance(node.op, ops.Conv | ops.Gemm)} == {3}
    mean = for_hls4ml(fixed_graph(body="mean"))
    added = {node.name: half_units(mean, node) for node in mean.nodes if isinstance(node.op, ops.Conv | ops.Gemm)}
    assert added == {"first": 3, "second": 3, "flat": 3, "last": 0}, "a mean behind a Relu is never negative"
    path = tmp_path / "net.onnx"
    path.write_bytes(qonnx_model(graph, rounding_biases).SerializeToString())
    pytest.importorskip("qonnx.core.onnx_exec", reason="qonnx is not installed")
    from tests.foreign import run_qonnx

    x = codes(graph, 200)
    values = run_qonnx(path, x * np.float32(graph.quant("x").scale[0]))
    wanted = run(lower(graph), x, fast_dot)
    for name in ("a", "b", "y"):
        found = quantise_input(graph.quant(name), values[name].reshape(wanted[name].shape))
        assert np.array_equal(found, wanted[name])
        assert len(np.unique(found)) > 10
    plain = tmp_path / "plain.onnx"
    plain.write_bytes(qonnx_model(graph).SerializeToString())
    values = run_qonnx(plain, x * np.float32(graph.quant("x").scale[0]))
    assert not np.array_equal(quantise_input(graph.quant("a"), values["a"]), wanted["a"]), "or the biases do nothing"


def test_what_was_written_is_imported_again(tmp_path):
    graph = fixed_graph()
    path = tmp_path / "net.onnx"
    path.write_bytes(qonnx_model(graph, rounding_biases).SerializeToString())
    back = load_onnx(path)
    x = codes(graph)
    ours, theirs = (run(lower(g), x, fast_dot)[g.output].astype(int) for g in (graph, back))
    assert np.abs(ours - theirs).max() <= 1


@pytest.mark.parametrize("shift", range(2, 12))
def test_what_q31_does_with_a_power_of_two(shift):
    """Halves up of acc + 1 from -1 on, of acc - 1 below; half to even of acc + 1.5 is the same where it shows."""
    acc = np.arange(-(5 << shift), 5 << shift)
    q31 = multiply_q31(acc, np.int64(1 << 30), np.int64(1 - shift))
    away = np.where(acc >= -1, 1, -1)
    assert np.array_equal(q31, (acc + away + (1 << (shift - 1))) >> shift)
    even = np.rint((acc + 1.5) / 2.0**shift)
    assert np.array_equal(np.maximum(q31, 0), np.maximum(even, 0))
    differs = q31 != np.rint(acc / 2.0**shift)
    for side, share in ((acc >= 0, 1.5), (acc < 0, 0.5)):
        assert differs[side].mean() * 2**shift == pytest.approx(share, abs=0.2)


def test_what_q31_does_with_a_half_and_with_one():
    acc = np.arange(-99, 100)
    assert np.array_equal(multiply_q31(acc, np.int64(1 << 30), np.int64(0)), np.rint((acc + 0.5) / 2))
    assert np.array_equal(multiply_q31(acc, np.int64(1 << 30), np.int64(1)), acc)


def changed(graph: Graph, name: str, **values: object) -> Graph:
    tensor = graph.tensors[name]
    return replace(graph, tensors={**graph.tensors, name: Tensor(tensor.shape, replace(tensor.quant, **values))})


def with_op(graph: Graph, name: str, **values: object) -> Graph:
    nodes = tuple(replace(node, **values) if node.name == name else node for node in graph.nodes)
    return replace(graph, nodes=nodes)


def refused() -> dict[str, Graph]:
    graph = fixed_graph()
    pool = ops.AveragePool(kernel=(3, 3), strides=(3, 3))
    grouped = ops.Conv(pads=(1, 1, 1, 1), groups=2)
    weights = {**graph.weights, "first_w": graph.weights["first_w"][:, :1]}
    shapes = {**graph.tensors, "first_w": Tensor((4, 1, 3, 3), graph.quant("first_w"))}
    channels = tuple(2.0**-k for k in range(4, 8))
    means = replace(fixed_graph(body="mean"), name="means")
    tensors = {**means.tensors, "p": Tensor((1, 4, 3, 2), means.quant("p"))}
    return {
        "tensor 'a' is e4m3: it has integers only": changed(graph, "a", format=find_format("e4m3")),
        "tensor 'a' has zero point 3: it is exact without one": changed(graph, "a", zero=3),
        "tensor 'first_w' has one scale per channel: use one": changed(graph, "first_w", scale=channels),
        "tensor 'a' has the scale 0.1: no power of two; edgemill convert": changed(graph, "a", scale=(0.1,)),
        "node 'pool' (AveragePool): it has no exact average pool": with_op(graph, "pool", op=pool),
        "node 'first' (Conv): it clips to 0 to 6; only Relu": with_op(graph, "first", clip=(0.0, 6.0)),
        "node 'first' (Conv): 2 groups of 2 channels to 4": replace(
            with_op(graph, "first", op=grouped), weights=weights, tensors=shapes
        ),
        "node 'first' (Conv): dilations (2, 1) are not": with_op(graph, "first", op=ops.Conv(dilations=(2, 1))),
        "node 'pool' (MaxPool): its padding counts as 0": with_op(
            graph, "pool", op=ops.MaxPool(kernel=(3, 3), strides=(3, 3), pads=(1, 1, 1, 1))
        ),
        "node 'flat' (Mean): it averages 6 pixels, not": replace(means, tensors=tensors),
        "graph 'fixed' is a float graph": replace(
            graph, tensors={name: Tensor(tensor.shape) for name, tensor in graph.tensors.items()}
        ),
    }


@pytest.mark.parametrize("message", refused())
def test_what_it_gets_wrong_is_refused_by_name(message):
    with pytest.raises(ExportError) as error:
        for_hls4ml(refused()[message])
    assert message in str(error.value)
    assert str(error.value).startswith("hls4ml: ")


def test_functions_are_refused_with_a_cure():
    graph = fixed_graph()
    node = Node("tanh", ops.Function(name="tanh"), ("y",), "z")
    tensors = {**graph.tensors, "z": graph.tensors["y"]}
    with pytest.raises(ExportError, match=r"node 'tanh' \(Function\): it approximates functions.*use Relu"):
        for_hls4ml(replace(graph, nodes=(*graph.nodes, node), tensors=tensors, output="z"))


def test_any_graph_gets_scales_of_powers_of_two():
    graph = toy_graph()
    made = power_of_two_scales(graph)
    for name, tensor in made.tensors.items():
        if tensor.quant is not None:
            assert has_powers_of_two(tensor.quant)
            old = graph.quant(name).scale
            ratio = np.array(tensor.quant.scale) / np.array(old)
            assert (ratio >= (0.5 if name in graph.weights else 1)).all()
            assert (ratio < 2).all()
    again = power_of_two_scales(made)
    assert all(again.tensors[name] == tensor for name, tensor in made.tensors.items())
    assert all(np.array_equal(again.weights[name], weight) for name, weight in made.weights.items())


def test_backends_and_interpreters_that_are_not_there_are_refused(tmp_path):
    graph = fixed_graph()
    for setting, message in (
        (Setting("Quartus", "io_stream"), "Quartus with io_stream is not supported"),
        (Setting("Quartus", "io_parallel"), "node 'second': its Quartus backend computes depthwise .* wrongly"),
        (Setting(python=str(tmp_path / "none")), "does not run"),
        (Setting(python=shutil.which("false")), "cannot import hls4ml and qonnx; install them there"),
    ):
        with pytest.raises(ExportError, match=message):
            write_project(graph, no_codes(graph), tmp_path / "out", setting)
        assert not (tmp_path / "out").exists()


def here() -> str | None:
    """Return an interpreter with hls4ml, or skip the test."""
    if missing(PYTHON) is not None:
        pytest.skip(f"{missing(PYTHON)} (EDGEMILL_HLS4ML_PYTHON names an interpreter)")
    return PYTHON


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "backend", "io_type"),
    [
        ("plain", "Vitis", "io_stream"),
        ("relu", "Vitis", "io_parallel"),
        ("mean", "Vitis", "io_parallel"),
        ("whole", "Quartus", "io_parallel"),
        ("residual", "Vivado", "io_stream"),
    ],
)
def test_the_c_simulation_agrees(tmp_path, body, backend, io_type):
    graph = fixed_graph(body=body)
    gate = write_project(graph, codes(graph), tmp_path / "out", Setting(backend, io_type, python=here()))
    assert gate.inputs == 72
    assert gate.executed == 64
    assert gate.labels > 0.95
    assert gate.steps <= (0 if body == "relu" else 1)
    record = json.loads((tmp_path / "out" / "report.json").read_text())
    assert record["gate"]["steps"] == gate.steps
    assert record["vendor tools"] == "not run"
    assert (tmp_path / "out" / "hls" / "firmware" / "network.cpp").is_file()
    assert not list((tmp_path / "out").rglob("*.so"))
    text = "".join(file.read_text(errors="replace") for file in (tmp_path / "out").rglob("*") if file.is_file())
    assert str(tmp_path) not in text, "a project names no place of this machine"


@pytest.mark.slow
def test_a_simulation_that_differs_is_not_given_out(tmp_path, monkeypatch):
    """Sums with too few bits wrap: the gate sees it, and no folder appears."""
    graph = fixed_graph(body="whole")
    monkeypatch.setattr("export.hls4ml.sum_precisions", lambda graph: ["fixed<10,4>"] * 3)
    with pytest.raises(ExportError, match=r"the C simulation differs from the network in .* nothing is given out"):
        write_project(graph, codes(graph), tmp_path / "out", Setting("Quartus", "io_parallel", python=here()))
    assert not list(tmp_path.iterdir())


def test_without_hls4ml_the_cure_is_named():
    if importlib.util.find_spec("hls4ml") is not None:
        pytest.skip("hls4ml is installed")
    assert "pip install" in str(missing())
