"""Functions and products on every target: each code of a table, each pair of factors, and whole networks with gates."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from devices.runtimes import RUNTIMES
from export.errors import ExportError
from export.onnx_fragment import save
from export.onnx_qdq import qdq_model
from export.parity_slack import allowed_steps
from export.runtimes.session import Runtime
from export.target import Source
from export.targets import TARGETS
from export.tflite import encode
from quant import operators as ops
from quant.formats import Array, find_format
from quant.functions import fixed_range, real
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.onnx_import import load_onnx
from quant.program import MulStep, TableStep, lower
from quant.ptq import activation_quant
from quant.reference import execute, run
from tests.gated_nets import KINDS, function, quantised
from tests.tflite_pairs import tflm_pairs

#: Scales of a table test: how wide the input is, in real values.
REACHES = (0.7, 2.0, 3.3, 8.0, 31.0)


def runtime(name: str) -> Runtime:
    found = next(runtime for runtime in RUNTIMES if runtime.name == name)
    why = found.missing()
    if why:
        pytest.skip(why)
    return found


def executed(found: Runtime, graph: Graph, codes: Array, folder: Path) -> dict[str, Array]:
    """Write a graph for the target of a runtime and return the tensors it shows, the output among them."""
    outputs = run(lower(graph), codes)[graph.output]
    target = next(target for target in TARGETS if target.name == found.target)
    target.write(Source("net", graph, codes, outputs), folder)
    session = found.open(folder, "net", graph)
    try:
        return session.tensors(codes) | {graph.output: session.run(codes)}
    finally:
        session.close()


def every_code(name: str) -> Array:
    """All codes of a format of at most 8 bits as one image, [1, 1, rows, columns], the last one repeated to fill it."""
    fmt = find_format(name)
    codes = fmt.from_ordinals(np.array(fmt.ordinals(), dtype=np.int64))
    if fmt.is_minifloat:
        codes = np.append(codes, np.uint8(1 << (fmt.bits - 1)))
    side = -(-len(codes) // 16)
    return np.resize(codes, side * 16).astype(fmt.dtype).reshape(1, 1, side, 16)


def table_graph(name: str, pair: tuple[str, str], reach: float, *, symmetric: bool, seed: int = 0) -> Graph:
    """One function, its output's grid fitted to its values or a bit off, so that it saturates or wastes codes."""
    rng, op = np.random.default_rng(seed), function(name)
    first, second = (find_format(fmt) for fmt in pair)
    low = -reach * float(rng.uniform(0.3, 1.0))
    x = activation_quant(first, low, reach, symmetric=symmetric)
    values = real(op, np.linspace(low, reach, 500))
    own = fixed_range(op) if second.bits == 8 and not second.is_minifloat and seed % 2 == 0 else None
    ends = own or (float(values.min()), float(values.max() * rng.uniform(0.7, 1.4)))
    y = activation_quant(second, *ends, symmetric=symmetric)
    shape = every_code(pair[0]).shape
    node = Node("f", op, ("x",), "y", (-0.2, 0.9) if seed == 3 else None)
    return check(Graph("table", "x", "y", (node,), {"x": Tensor(shape, x), "y": Tensor(shape, y)}))


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("name", ops.FUNCTIONS)
def test_all_256_codes_in_tflite_micro(name, symmetric, tmp_path):
    """Over scales and zero points, with and without a clip, on TFLite's own grid and beside it."""
    found = runtime("tflite-micro")
    varied = 0
    for index, reach in enumerate(REACHES):
        for seed in range(4):
            graph = table_graph(name, ("int8", "int8"), reach, symmetric=symmetric, seed=seed)
            folder = tmp_path / f"{index}.{seed}"
            folder.mkdir()
            codes = every_code("int8")
            wanted = run(lower(graph), codes)["y"]
            np.testing.assert_array_equal(executed(found, graph, codes, folder)["y"], wanted, err_msg=str(graph))
            varied += len(np.unique(wanted)) > 20
    assert varied > 10


def fan(pair: tuple[str, str]) -> Graph:
    """Every function of one input, the results side by side (brought to one grid first)."""
    single = {name: table_graph(name, pair, 4.0, symmetric=False) for name in ops.FUNCTIONS}
    first = single["sigmoid"]
    shape, y = first.shape("y"), first.quant("y")
    nodes, tensors = [], {"x": first.tensors["x"]}
    for name, graph in single.items():
        nodes += [Node(name, function(name), ("x",), name), Node(f"{name}.q", ops.Requantize(), (name,), f"{name}.q")]
        tensors |= {name: graph.tensors["y"], f"{name}.q": Tensor(shape, y)}
    nodes.append(Node("join", ops.Concat(axis=1), tuple(f"{name}.q" for name in single), "y"))
    return check(Graph("fan", "x", "y", tuple(nodes), tensors | {"y": Tensor((1, len(single), *shape[2:]), y)}))


@pytest.mark.parametrize(
    ("found", "pair"),
    [
        ("c-host", ("int8", "int8")),
        ("c-host", ("uint4", "int6")),
        ("c-host", ("e4m3", "e4m3")),
        ("c-host", ("e2m1", "e5m2ocp")),
        ("verilator", ("int8", "int8")),
        ("verilator", ("int4", "uint8")),
        ("verilator", ("e4m3", "e3m2")),
    ],
)
def test_all_codes_of_every_function_in_c_and_rtl(found, pair, tmp_path):
    graph, codes = fan(pair), every_code(pair[0])
    wanted = run(lower(graph), codes)
    shown = executed(runtime(found), graph, codes, tmp_path)
    for name in ops.FUNCTIONS:
        assert len(np.unique(wanted[name])) > 3
        if name in shown or found == "verilator":
            np.testing.assert_array_equal(shown[name].reshape(wanted[name].shape), wanted[name], err_msg=name)
    np.testing.assert_array_equal(shown["y"].reshape(wanted["y"].shape), wanted["y"])


def pair_graph(names: tuple[str, str], seed: int, *, broadcast: bool = False) -> tuple[Graph, Array]:
    """The product of a tensor's two halves, or of an image and one row of another; every pair of codes is there."""
    rng = np.random.default_rng(seed)
    fmt, out = (find_format(name) for name in names)
    count = fmt.max_ordinal - fmt.min_ordinal + 1
    zeros = [0 if f.is_minifloat else int(rng.integers(f.min_ordinal // 2, f.max_ordinal // 2)) for f in (fmt, out)]
    x = Quant(fmt, (float(np.float32(rng.uniform(0.01, 0.1))),), zeros[0])
    y = Quant(out, (float(np.float32(x.scale[0] ** 2 * fmt.max**2 / out.max * rng.uniform(0.2, 1.2))),), zeros[1])
    ordinals = np.arange(fmt.min_ordinal, fmt.max_ordinal + 1)
    first, second = np.meshgrid(ordinals, ordinals, indexing="ij")
    if broadcast:
        shapes = ((1, count, count + 1, 1), (1, count, count, 1), (1, count, 1, 1))
        codes = np.concatenate((second, ordinals[:, None]), axis=1).reshape(shapes[0])
        split = (0, 0, count, 0)
    else:
        shapes = ((1, 2, count, count), (1, 1, count, count), (1, 1, count, count))
        codes = np.stack((first, second))[None]
        split = (0, 1, 0, 0)
    ends = tuple(at or n for n, at in zip(shapes[0], split, strict=True))
    nodes = (
        Node("a", ops.Slice(starts=(0,) * 4, ends=ends, steps=(1,) * 4), ("x",), "a"),
        Node("b", ops.Slice(starts=split, ends=shapes[0], steps=(1,) * 4), ("x",), "b"),
        Node("mul", ops.Mul(), ("a", "b"), "y", (-0.5, 3.0) if seed == 2 else None),
    )
    tensors = {n: Tensor(s, x) for n, s in zip("xab", shapes, strict=True)} | {"y": Tensor(shapes[1], y)}
    return check(Graph("pairs", "x", "y", nodes, tensors)), fmt.from_ordinals(codes)


@pytest.mark.parametrize("broadcast", [False, True])
@pytest.mark.parametrize(
    ("found", "names"),
    [
        ("tflite-micro", ("int8", "int8")),
        ("c-host", ("int8", "int8")),
        ("c-host", ("e4m3", "e4m3")),
        ("c-host", ("uint4", "e2m1")),
        ("verilator", ("int5", "int6")),
        ("verilator", ("e3m2", "e3m2")),
    ],
)
def test_every_pair_of_codes(found, names, broadcast, tmp_path):
    """65,536 pairs of 8-bit codes, in TFLite-Micro at four scales, with a clip on one."""
    for seed in range(4) if found == "tflite-micro" else (2,):
        graph, codes = pair_graph(names, seed, broadcast=broadcast)
        wanted = run(lower(graph), codes)["y"]
        folder = tmp_path / str(seed)
        folder.mkdir()
        got = executed(runtime(found), graph, codes, folder)["y"]
        np.testing.assert_array_equal(got.reshape(wanted.shape), wanted)
        assert len(np.unique(wanted)) > 5


@pytest.mark.parametrize("seed", range(6))
def test_factors_with_scales_of_their_own_in_tflite_micro(seed):
    """One file with two inputs, all 65,536 pairs: scales and zero points of both factors and the product differ."""
    rng = np.random.default_rng(seed)
    int8 = find_format("int8")
    quants = [Quant(int8, (float(np.float32(2.0 ** rng.uniform(-7, 0))),), int(rng.integers(-128, 128))) for _ in "ab"]
    scale = float(np.float32(quants[0].scale[0] * quants[1].scale[0] * 2.0 ** rng.uniform(3, 8)))
    y = Quant(int8, (scale,), int(rng.integers(-64, 64)))
    tensors = {n: Tensor((1, 1, 256, 256), q) for n, q in zip("aby", (*quants, y), strict=True)}
    nodes = (Node("r", ops.Requantize(), ("a",), "b"), Node("m", ops.Mul(), ("a", "b"), "y"))
    program = lower(check(Graph("two", "a", "y", nodes, tensors)))
    step = program.steps[1]
    assert isinstance(step, MulStep)
    first, second = (side.astype(np.int8)[None, None] for side in np.meshgrid(range(-128, 128), range(-128, 128)))
    wanted = execute(program, step, {"a": first, "b": second})
    np.testing.assert_array_equal(tflm_pairs((*quants, y), first, second), wanted)
    assert len(np.unique(wanted)) > 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("found", "scheme"),
    [
        ("tflite-micro", "w8a8"),
        ("tflite-micro", "w8a8-sym"),
        ("c-host", "w8a8"),
        ("c-host", "w4a4"),
        ("c-host", "we4m3-ae4m3"),
        ("verilator", "w8a8"),
        ("verilator", "we4m3-ae4m3"),
    ],
)
def test_networks_with_gates_are_exact(found, scheme, kind, tmp_path):
    graph, codes, values = quantised(scheme, kind)
    shown = executed(runtime(found), graph, codes, tmp_path)
    assert len(shown) >= len(graph.nodes) - 1
    for tensor, got in shown.items():
        np.testing.assert_array_equal(got.reshape(values[tensor].shape), values[tensor], err_msg=tensor)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "found", ["onnxruntime", "openvino", "litert", "litert-ref", "tflite-runtime", "onnxruntime-jetson"]
)
def test_networks_with_gates_are_bounded(found, kind, tmp_path):
    """Every function and product the runtime shows is as near as the bound says to that of its own inputs."""
    graph, codes, values = quantised("w8a8-sym" if "jetson" in found else "w8a8", kind)
    shown = {name: codes.reshape(values[name].shape) for name, codes in
             executed(runtime(found), graph, codes, tmp_path).items()}  # fmt: skip
    program, checked = lower(graph), 0
    for step in program.steps:
        if not isinstance(step, MulStep | TableStep) or step.y not in shown:
            continue
        read = step.xs if isinstance(step, MulStep) else (step.x,)
        if all(name in shown for name in read):
            apart = np.abs(execute(program, step, shown).astype(int) - shown[step.y])
            assert apart.max() <= allowed_steps(program, step, dict.fromkeys(read, 0.0)), step.name
            checked += 1
    assert checked == 8 or "jetson" in found
    out = np.abs(shown[graph.output].astype(int) - values[graph.output])
    assert out.max() <= 12
    assert len(set(shown[graph.output].argmax(axis=1).tolist())) > 2


def test_a_hard_sigmoid_without_an_image_is_refused_for_tflite(tmp_path):
    quant = Quant(find_format("int8"), (0.05,), 0)
    tensors = {name: Tensor((1, 4), quant) for name in "xy"}
    graph = check(Graph("flat", "x", "y", (Node("gate", function("hard_sigmoid"), ("x",), "y"),), tensors))
    with pytest.raises(ExportError, match=r"'gate' \(hard_sigmoid\) works on shape \[1, 4\].* Keep the height"):
        encode(graph)


def test_steps_too_coarse_for_tflites_sigmoid_are_refused():
    x, y = Quant(find_format("int8"), (9.0,), 0), Quant(find_format("int8"), (1 / 256,), -128)
    tensors = {"x": Tensor((1, 4), x), "y": Tensor((1, 4), y)}
    graph = check(Graph("coarse", "x", "y", (Node("f", function("sigmoid"), ("x",), "y"),), tensors))
    with pytest.raises(ExportError, match=r"steps of 9.0; .* more bits, or a smaller range"):
        encode(graph)
    assert run(lower(graph), np.array([[0, 1, -1, 5]], np.int8))["y"].tolist() == [[0, 127, -128, 127]]


def test_every_target_names_its_operators():
    """None takes what nobody has looked at: a new operator is refused until a target's tuple has it."""
    for target in TARGETS:
        assert ops.Mul in target.capability.operators
        assert ops.Softmax not in target.capability.operators
        assert target.capability.operators is not ops.OPERATORS


@pytest.mark.parametrize("kind", KINDS)
def test_a_quantised_onnx_file_comes_back_as_the_same_codes(kind, tmp_path):
    """Gates that ONNX spells as two nodes are one function again, on the same grids."""
    graph, codes, values = quantised("w8a8", kind)
    save(qdq_model(graph), tmp_path / "net.onnx")
    again = load_onnx(tmp_path / "net.onnx")
    wanted = [node.op for node in graph.nodes if isinstance(node.op, ops.Function)]
    found = [node.op for node in again.nodes if isinstance(node.op, ops.Function)]
    assert [op.name for op in found] == [op.name for op in wanted]
    assert np.allclose([op.alpha for op in found], [op.alpha for op in wanted])
    np.testing.assert_array_equal(run(lower(again), codes)[again.output], values[graph.output])
