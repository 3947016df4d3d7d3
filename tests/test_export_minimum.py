"""Equalised networks with a limit for every channel, on every target: bit-exact where a target must be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from devices.runtimes import RUNTIMES
from export.arm_m import TARGET as ARM_M
from export.runtimes.session import Runtime
from export.target import Source
from export.targets import TARGETS
from quant import operators as ops
from quant.formats import find_format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.program import MinimumStep, lower
from quant.reference import run
from tests.limited_nets import quantised

EXACT = ("c-host", "verilator", "tflite-micro")
BOUNDED = ("onnxruntime", "openvino", "litert", "litert-ref", "tflite-runtime", "onnxruntime-jetson")
#: Schemes every target of the name takes; jetson wants symmetric activations.
SCHEMES = {
    "c-host": ("w8a8", "w4a4", "w8a16", "we4m3-ae4m3"),
    "verilator": ("w8a8", "we4m3-ae4m3"),
    "onnxruntime-jetson": ("w8a8-sym",),
}
FORMATS = (
    *(("c-host", name) for name in ("int8", "uint8", "int16", "e4m3")),
    *(("verilator", name) for name in ("int8", "e4m3")),
    ("tflite-micro", "int8"),
)


def runtime(name: str) -> Runtime:
    found = next(runtime for runtime in RUNTIMES if runtime.name == name)
    why = found.missing()
    if why:
        pytest.skip(why)
    return found


def write(graph: Graph, runtime: Runtime, codes, outputs, folder: Path) -> None:
    target = next(target for target in TARGETS if target.name == runtime.target)
    target.write(Source("net", graph, codes, outputs), folder)


@pytest.mark.parametrize(
    ("name", "scheme"), [(name, scheme) for name in EXACT for scheme in SCHEMES.get(name, ("w8a8", "w8a8-sym"))]
)
def test_exact_targets_give_the_codes_of_the_reference(name: str, scheme: str, tmp_path: Path) -> None:
    found = runtime(name)
    assert found.exact
    graph, codes, values = quantised(scheme)
    write(graph, found, codes, values[graph.output], tmp_path)
    session = found.open(tmp_path, "net", graph)
    try:
        shown = session.tensors(codes)
        assert {node.output for node in graph.nodes} <= set(shown)
        for tensor, got in shown.items():
            np.testing.assert_array_equal(got.reshape(values[tensor].shape), values[tensor], err_msg=tensor)
        np.testing.assert_array_equal(session.run(codes), values[graph.output])
    finally:
        session.close()


@pytest.mark.parametrize("name", BOUNDED)
def test_every_minimum_of_other_runtimes_is_that_of_its_own_input(name: str, tmp_path: Path) -> None:
    """Sums may differ there; what a Minimum makes of them may not."""
    found = runtime(name)
    graph, codes, values = quantised(*SCHEMES.get(name, ("w8a8",)))
    write(graph, found, codes, values[graph.output], tmp_path)
    session = found.open(tmp_path, "net", graph)
    try:
        shown, outputs = session.tensors(codes), session.run(codes)
    finally:
        session.close()
    minima = [step for step in lower(graph).steps if isinstance(step, MinimumStep)]
    assert len(minima) == 5
    for step in minima:
        limits = np.array(step.limits).reshape(1, -1, 1, 1)
        if step.x in shown:
            np.testing.assert_array_equal(np.minimum(shown[step.x], limits), shown[step.y], err_msg=step.name)
        # Some runtimes show only what they quantise: then no value may be beyond its channel's limit.
        assert (shown[step.y] <= limits).all()
        assert (shown[step.y] == limits).mean() > 0.005
    assert len(set(outputs.argmax(axis=1).tolist())) > 1
    apart = np.abs(outputs.astype(int) - values[graph.output])
    assert apart.max() <= 24
    assert np.median(apart) <= 2


def two_readers(name: str, rank: int) -> tuple[Graph, np.ndarray]:
    """A tensor that a Minimum and then a sum read: its memory must outlive the Minimum."""
    fmt = find_format(name)
    quant = Quant(fmt, (float(np.float32(4 / fmt.max)),), 0)
    shape = (1, 3, 4, 5) if rank == 4 else (1, 3)
    clip, least = ops.Clip(low=-3.0, high=3.5), ops.Minimum(limits=(0.5, -1.0, 2.0))
    nodes = (
        Node("clip", clip, ("x",), "c"),
        Node("least", least, ("c",), "m"),
        Node("again", least, ("m",), "n"),
        Node("sum", ops.Add(), ("c", "n"), "y"),
    )
    graph = check(Graph("two", "x", "y", nodes, {key: Tensor(shape, quant) for key in "xcmny"}))
    codes = np.random.default_rng(1).integers(fmt.min_ordinal, fmt.max_ordinal + 1, (6, *shape[1:]))
    return graph, fmt.from_ordinals(codes)


@pytest.mark.parametrize("rank", [2, 4])
@pytest.mark.parametrize(("name", "fmt"), FORMATS)
def test_what_others_read_too_is_not_overwritten(name: str, fmt: str, rank: int, tmp_path: Path) -> None:
    found = runtime(name)
    graph, codes = two_readers(fmt, rank)
    values = run(lower(graph), codes)
    assert (values["m"] != values["c"]).any()
    write(graph, found, codes, values["y"], tmp_path)
    session = found.open(tmp_path, "net", graph)
    try:
        np.testing.assert_array_equal(session.run(codes), values["y"])
    finally:
        session.close()
    assert len({frame.tobytes() for frame in values["y"]}) > 1


def test_a_limit_costs_no_memory_where_nothing_else_reads(tmp_path: Path) -> None:
    """C limits codes where they lie: the arena is that of the network without limits."""
    graph, codes, _ = quantised("w8a8")
    arenas = []
    for made, name in ((graph, "with"), (_without_limits(graph), "without")):
        outputs = run(lower(made), codes)[made.output]
        (tmp_path / name).mkdir()
        arenas.append(ARM_M.write(Source("net", made, codes, outputs), tmp_path / name)["arena_bytes"])
    assert arenas[0] == arenas[1]
    assert "minimum" in (tmp_path / "with" / "net.c").read_text()
    assert "minimum" not in (tmp_path / "without" / "net.c").read_text()


def _without_limits(graph: Graph) -> Graph:
    renamed = {node.output: node.inputs[0] for node in graph.nodes if isinstance(node.op, ops.Minimum)}
    nodes = tuple(
        Node(node.name, node.op, tuple(renamed.get(x, x) for x in node.inputs), node.output, node.clip)
        for node in graph.nodes
        if not isinstance(node.op, ops.Minimum)
    )
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name not in renamed}
    return check(Graph(graph.name, graph.input, graph.output, nodes, tensors, graph.weights))


def test_a_written_onnx_file_comes_back_with_its_limits(tmp_path: Path) -> None:
    from quant.onnx_import import load_onnx

    graph, codes, values = quantised("w8a8")
    write(graph, runtime("onnxruntime"), codes, values[graph.output], tmp_path)
    again = load_onnx(tmp_path / "net.onnx")
    steps = [[s.limits for s in lower(g).steps if isinstance(s, MinimumStep)] for g in (graph, again)]
    assert [len(limits) for limits in steps] == [5, 5]
    assert steps[1] == steps[0]
    np.testing.assert_array_equal(run(lower(again), codes)[again.output], values[graph.output])


def test_a_written_tflite_file_comes_back_with_its_limits(tmp_path: Path) -> None:
    from quant.tflite_import import load_tflite

    graph, codes, values = quantised("w8a8")
    write(graph, runtime("tflite-micro"), codes, values[graph.output], tmp_path)
    again = load_tflite(tmp_path / "net.tflite")
    limits = [[step.limits for step in lower(g).steps if isinstance(step, MinimumStep)] for g in (graph, again)]
    assert len(limits[0]) == 5
    assert limits[0] == limits[1]
    np.testing.assert_array_equal(run(lower(again), codes)[again.output], values[graph.output])
