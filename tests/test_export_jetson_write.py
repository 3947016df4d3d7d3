"""What each Jetson target writes: a file that passes its own linter, honest facts, numbers checked in ONNX Runtime."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

import export.jetson_qdq
from export.errors import ExportError
from export.jetson import TARGETS
from export.jetson_lint import lint_file, verdict
from export.jetson_profiles import NANO, ORIN, PROFILES, XAVIER
from export.jetson_profiles import Profile as Board
from export.parity import check_part
from export.runtimes.ort import JETSON_RUNTIMES, open_ort
from export.target import Source, Target, check_capability
from quant.formats import INT8, find_format
from quant.graph import Graph
from quant.onnx_write import run_float
from quant.program import lower
from quant.ptq import prepare, quantise
from quant.reference import dequantise, quantise_input, run
from quant.scheme import parse_scheme
from tests.float_nets import inputs, random_net
from tests.jetson_board import bundle_part, source_of, symmetric_toy
from tests.toys import toy_graph
from tests.toys_fitted import fitted_graph, real_inputs

BOARDS = tuple(zip(TARGETS, PROFILES, strict=True))
INT8_BOARDS = tuple(pair for pair in BOARDS if pair[1].precision == "int8")
HALF_BOARDS = tuple(pair for pair in BOARDS if pair[1].precision == "fp16")
FILES = [
    "build.sh",
    "profile.sh",
    "run.sh",
    "selftest.json",
    "selftest.py",
    "toy.onnx",
    *(f"selftest_{i}.bin" for i in range(8)),
]
QDQ = ("QuantizeLinear", "DequantizeLinear")


def names(boards: Any) -> list[str]:
    """Test ids."""
    return [profile.target for _, profile in boards]


def fitted_source() -> Source:
    """A part with every operator, its vectors fitted to the graph's ranges."""
    graph = fitted_graph(INT8, INT8)
    codes = quantise_input(graph.quant("x"), real_inputs(graph, 12))
    return Source("toy", graph, codes, run(lower(graph), codes)[graph.output])


def symmetric_fitted() -> Source:
    """The same with zero points of 0."""
    source = fitted_source()
    graph = source.graph
    tensors = {
        name: tensor if tensor.quant is None else replace(tensor, quant=replace(tensor.quant, zero=0))
        for name, tensor in graph.tensors.items()
    }
    graph = replace(graph, tensors=tensors)
    return Source("toy", graph, source.inputs, run(lower(graph), source.inputs)[graph.output])


def half_source(seed: int = 4) -> Source:
    """A part with its float graph; the quantised one is asymmetric, which FP16 does not mind."""
    graph = prepare(random_net(seed, depth=6))
    quantised = quantise(graph, parse_scheme("w8a8"), inputs(32))
    codes = quantise_input(quantised.quant(quantised.input), inputs(24, seed=9))
    return Source("toy", quantised, codes, run(lower(quantised), codes)[quantised.output], graph)


def fp8_source(count: int = 8) -> Source:
    """A part whose weights and activations are FP8."""
    e4m3 = find_format("e4m3fn")
    return source_of(toy_graph(e4m3, e4m3), count)


def source_for(profile: Board) -> Source:
    """A part that a target takes."""
    return {"fp16": half_source, "fp8": fp8_source}.get(profile.precision, lambda: source_of(symmetric_toy()))()


def written(target: Target, source: Source, folder: Path) -> tuple[Any, Any]:
    """Write a part; return its model and facts."""
    folder.mkdir(exist_ok=True)
    facts = target.write(source, folder)
    return onnx.load(folder / f"{source.name}.onnx"), facts


@pytest.mark.parametrize("make", [lambda: source_of(symmetric_toy()), symmetric_fitted], ids=["toy", "fitted"])
@pytest.mark.parametrize(("target", "profile"), INT8_BOARDS, ids=names(INT8_BOARDS))
def test_int8_boards_get_qdq_that_passes_the_linter(target: Target, profile: Board, make: Any, tmp_path: Path) -> None:
    """No finding of any severity, three inputs everywhere, zero points 0, signed codes, float biases, static batch."""
    model, facts = written(target, make(), tmp_path)
    onnx.checker.check_model(model, full_check=True)
    assert [str(f) for f in lint_file(tmp_path / "toy.onnx", profile)] == []
    assert [(o.domain, o.version) for o in model.opset_import] == [("", profile.opset)]
    assert profile.opset <= profile.opset_max
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in QDQ]
    assert len(pairs) > 8
    for node in pairs:
        scale, zero = (values[name] for name in node.input[1:])
        assert (zero.dtype, scale.dtype, zero.shape) == (np.int8, np.float32, scale.shape)
        assert not zero.any()
        assert [a.name for a in node.attribute] == (["axis"] if scale.size > 1 else [])
    biases = [values[n.input[2]] for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    assert {bias.dtype for bias in biases} == {np.dtype(np.float32)}
    assert all(d.dim_value > 0 for port in model.graph.input for d in port.type.tensor_type.shape.dim)
    assert facts["lint"] == verdict(())


@pytest.mark.parametrize(("target", "profile"), BOARDS, ids=names(BOARDS))
def test_facts_say_what_was_written_and_that_no_board_ran_it(target: Target, profile: Board, tmp_path: Path) -> None:
    source = source_for(profile)
    model, facts = written(target, source, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == sorted(FILES)
    assert target.name == profile.target
    assert facts["executed_on_board"] is False
    told = {
        "precision": profile.precision,
        "opset": profile.opset,
        "tensorrt": profile.tensorrt,
        "interface": "float32",
    }
    assert {key: facts[key] for key in told} == told
    assert (facts["ir_version"], facts["onnx_bytes"]) == (model.ir_version, (tmp_path / "toy.onnx").stat().st_size)
    assert facts["lint"]["verdict"] == "PASS"
    json.dumps(facts)


@pytest.mark.parametrize(("target", "profile"), INT8_BOARDS, ids=names(INT8_BOARDS))
def test_what_an_int8_board_cannot_take_is_refused(target: Target, profile: Board, tmp_path: Path) -> None:
    """Zero points (with the option to use) and minifloats; nothing is written."""
    e4m3 = find_format("e4m3")
    for graph, message in ((toy_graph(), "w8a8-sym"), (toy_graph(e4m3, e4m3), "is e4m3; this target takes int8")):
        with pytest.raises(ExportError, match=message):
            target.write(source_of(graph), tmp_path)
        with pytest.raises(ExportError, match=profile.target):
            check_capability(target, graph)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("target", "profile"), BOARDS, ids=names(BOARDS))
def test_the_same_part_gives_the_same_bytes(target: Target, profile: Board, tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        written(target, source_for(profile), folder)
    for name in FILES:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_nothing_is_left_when_the_linter_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A zero point of 1 in the model, as a fault of the exporter might give, never reaches the folder."""
    make = export.jetson_qdq.jetson_model

    def faulty(graph: Graph, opset: int) -> Any:
        model = make(graph, opset)
        zero = next(t for t in model.graph.initializer if t.name == "x_zero_point")
        zero.CopyFrom(numpy_helper.from_array(np.int8(1), "x_zero_point"))
        return model

    monkeypatch.setattr(export.jetson_qdq, "jetson_model", faulty)
    with pytest.raises(ExportError, match=r"rule 1 \(error\).*its zero point is 1, not 0"):
        TARGETS[PROFILES.index(XAVIER)].write(source_of(symmetric_toy()), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("target", "profile"), HALF_BOARDS, ids=names(HALF_BOARDS))
def test_fp16_targets_get_fp16_and_never_int8(target: Target, profile: Board, tmp_path: Path) -> None:
    """Float16 inside, float32 outside behind Casts, the board's operator set, no Q/DQ and no integer weights."""
    model, _ = written(target, half_source(), tmp_path)
    assert model.opset_import[0].version == profile.opset
    kinds = [node.op_type for node in model.graph.node]
    assert not set(kinds) & set(QDQ)
    assert (kinds[0], kinds[-1], kinds.count("Cast")) == ("Cast", "Cast", 2)
    ports = (*model.graph.input, *model.graph.output)
    assert {port.type.tensor_type.elem_type for port in ports} == {TensorProto.FLOAT}
    layers = [n for n in model.graph.node if n.op_type in ("Conv", "Gemm")]
    types = {t.name: t.data_type for t in model.graph.initializer}
    assert {types[name] for node in layers for name in node.input[1:]} == {TensorProto.FLOAT16}
    assert TensorProto.FLOAT not in types.values()
    assert [str(f) for f in lint_file(tmp_path / "toy.onnx", profile)] == []


@pytest.mark.parametrize(("target", "profile"), HALF_BOARDS, ids=names(HALF_BOARDS))
def test_fp16_targets_refuse_a_part_without_float_graph(target: Target, profile: Board, tmp_path: Path) -> None:
    with pytest.raises(
        ExportError, match=r"(has no int8 arithmetic|FP16 is asked for).*part 'toy'.*Give the float model"
    ):
        target.write(source_of(symmetric_toy()), tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", [1, 4, 7])
def test_fp16_computes_what_the_float_graph_computes(seed: int, tmp_path: Path) -> None:
    """Within 1e-2 of the largest output, with the same labels, which vary."""
    source = half_source(seed)
    graph = source.float_graph
    assert graph is not None
    written(TARGETS[PROFILES.index(NANO)], source, tmp_path)
    real = dequantise(source.graph.quant(source.graph.input), source.inputs)
    want, session = run_float(graph, real), open_ort(tmp_path / "toy.onnx")
    got = np.concatenate([session.run(None, {graph.input: image[None]})[0] for image in real])
    assert np.abs(got - want).max() <= 1e-2 * np.abs(want).max()
    assert np.std(want, axis=0).min() > 0
    assert np.array_equal(got.argmax(1), want.argmax(1))
    assert len(set(want.argmax(1).tolist())) > 1


@pytest.mark.parametrize(("factor", "message"), [(1e6, "beyond float16"), (2e4, "goes beyond float16")])
def test_what_float16_cannot_hold_is_refused(factor: float, message: str, tmp_path: Path) -> None:
    """Weights beyond float16, and weights within it whose products are not."""
    source = half_source()
    graph = source.float_graph
    assert graph is not None
    weights = {
        name: values * np.float32(factor) if values.ndim > 1 else values for name, values in graph.weights.items()
    }
    with pytest.raises(ExportError, match=message):
        written(TARGETS[PROFILES.index(NANO)], replace(source, float_graph=replace(graph, weights=weights)), tmp_path)


INT8_RUNTIMES = tuple(r for r in JETSON_RUNTIMES if r.target in {profile.target for _, profile in INT8_BOARDS})


def test_fp8_files_agree_with_the_reference(tmp_path: Path) -> None:
    """QDQ in float8e4m3fn at operator set 19, float biases; within one step of the reference, labels vary."""
    target, runtime = (next(x for x in xs if "fp8" in x.name) for xs in (TARGETS, JETSON_RUNTIMES))
    source = fp8_source(16)
    part = bundle_part(source, target, tmp_path / "bundle")
    model = onnx.load(part.folder / "toy.onnx")
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    pairs = [node for node in model.graph.node if node.op_type in QDQ]
    assert len(pairs) > 8
    assert {types[node.input[2]] for node in pairs} == {TensorProto.FLOAT8E4M3FN}
    assert types["conv_w_quantized"] == TensorProto.FLOAT8E4M3FN
    assert model.opset_import[0].version == 19
    result = check_part(part, runtime)
    assert (result.status, result.max_steps <= 1, result.top1_agreement) == ("bounded", True, 1.0), result
    assert (result.vectors, result.labels > 1) == (16, True)
    assert np.std(dequantise(source.graph.quant("y"), source.outputs), axis=0).max() > 0
    codes = next(t for t in model.graph.initializer if t.name == "conv_w_quantized")
    codes.raw_data = bytes(byte ^ 0x80 for byte in codes.raw_data)
    onnx.save(model, part.folder / "toy.onnx")
    assert check_part(part, runtime).status == "wrong"


def test_fp8_is_of_thor_and_takes_no_integers(tmp_path: Path) -> None:
    """Compute capability 8.9 and above: no Orin, and its linter refuses the file."""
    target = next(target for target in TARGETS if target.name == "jetson-thor-fp8")
    with pytest.raises(ExportError, match="this target takes e4m3fn"):
        target.write(source_of(symmetric_toy()), tmp_path)
    written(target, fp8_source(), tmp_path / "a")
    assert {finding.rule for finding in lint_file(tmp_path / "a" / "toy.onnx", ORIN)} == {7}
    assert [profile.board for profile in PROFILES if profile.fp8] == ["Jetson Thor"] * 2


@pytest.mark.parametrize("runtime", INT8_RUNTIMES, ids=[r.target for r in INT8_RUNTIMES])
@pytest.mark.parametrize("make", [lambda: source_of(symmetric_toy(), 16), symmetric_fitted], ids=["toy", "fitted"])
def test_int8_files_agree_with_the_reference(runtime: Any, make: Any, tmp_path: Path) -> None:
    """Bit-exact or bounded in ONNX Runtime, over vectors whose outputs and labels vary."""
    source, target = make(), next(t for t in TARGETS if t.name == runtime.target)
    part = bundle_part(source, target, tmp_path / "bundle")
    result = check_part(part, runtime)
    assert result.status in ("bit-exact", "bounded"), result
    assert (result.vectors, result.labels > 1) == (len(source.inputs), True)
    assert np.std(source.outputs.astype(float), axis=0).max() > 1


def test_a_changed_weight_is_found_by_parity(tmp_path: Path) -> None:
    """The check above can fail: the file's first weights are negated."""
    target, runtime = TARGETS[PROFILES.index(ORIN)], next(r for r in JETSON_RUNTIMES if r.target == ORIN.target)
    part = bundle_part(source_of(symmetric_toy(), 16), target, tmp_path / "b")
    model = onnx.load(part.folder / "toy.onnx")
    weight = next(t for t in model.graph.initializer if t.name == "conv_w_quantized")
    weight.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(weight), weight.name))
    onnx.save(model, part.folder / "toy.onnx")
    assert check_part(part, runtime).status == "wrong"


def test_the_selftest_holds_what_onnx_runtime_computes(tmp_path: Path) -> None:
    """Vectors are stored as raw float32, outputs vary, and no vectors are refused."""
    target, source = TARGETS[PROFILES.index(ORIN)], source_of(symmetric_toy())
    written(target, source, tmp_path / "a")
    plan, session = json.loads((tmp_path / "a" / "selftest.json").read_text()), open_ort(tmp_path / "a" / "toy.onnx")
    for vector in plan["vectors"]:
        image = np.fromfile(tmp_path / "a" / vector["file"], "<f4").reshape(source.graph.shape("x"))
        assert np.array_equal(session.run(None, {"x": image})[0].ravel(), np.array(vector["expected"], np.float32))
    assert len({np.argmax(vector["expected"]) for vector in plan["vectors"]}) > 1
    with pytest.raises(ExportError, match="no test vectors"):
        written(target, replace(source, inputs=source.inputs[:0], outputs=source.outputs[:0]), tmp_path / "b")
