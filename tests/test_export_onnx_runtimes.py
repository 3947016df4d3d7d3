"""ONNX Runtime and OpenVINO as sessions of the target host, damaged files, and how much runs as integer kernels."""

from __future__ import annotations

import builtins
import shutil
from pathlib import Path

import numpy as np
import pytest

from export.errors import ExportError
from export.host import TARGET
from export.parity import check_part
from export.runtimes import openvino, ort
from export.runtimes.ort_fusion import fused_convs, fusion
from quant.errors import QuantError
from quant.formats import INT8
from quant.graph import Graph
from quant.program import lower
from quant.reference import quantise_input, run
from tests.host_parts import fitted_codes, host_part, source
from tests.networks import network
from tests.toys import random_codes, toy_graph
from tests.toys_fitted import fitted_graph

RUNTIMES = (ort.RUNTIME, openvino.RUNTIME)
GRAPHS = {"toy": toy_graph(), "fitted": fitted_graph(INT8, INT8)}
INSTALL = {"onnxruntime": "edgemill[quant]", "openvino": "edgemill[host]"}


def codes_of(name: str, count: int):
    return random_codes(GRAPHS[name], count) if name == "toy" else fitted_codes(GRAPHS[name], count)


@pytest.fixture(scope="module", autouse=True)
def _onnx() -> None:
    pytest.importorskip("onnx", reason="onnx is not installed")


@pytest.fixture(params=RUNTIMES, ids=lambda runtime: runtime.name)
def runtime(request):
    reason = request.param.missing()
    if reason is not None:
        pytest.skip(reason)
    return request.param


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """A folder with the host's files for each of GRAPHS."""
    made = {}
    for name, graph in GRAPHS.items():
        made[name] = tmp_path_factory.mktemp(name)
        TARGET.write(source(graph, codes_of(name, 2)), made[name])
    return made


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
def test_a_missing_package_is_a_reason_with_the_extra_that_brings_it(runtime, monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == runtime.name:
            raise ImportError(f"No module named '{name}'", name=runtime.name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert runtime.missing() == f"the package {runtime.name} is not installed: pip install '{INSTALL[runtime.name]}'"


@pytest.mark.parametrize("name", GRAPHS)
def test_run_returns_codes_close_to_the_reference_for_one_and_five_inputs(name, runtime, folders):
    graph, codes = GRAPHS[name], codes_of(name, 5)
    expected = run(lower(graph), codes)[graph.output]
    session = runtime.open(folders[name], "model", graph)
    five, one = session.run(codes), session.run(codes[:1])
    session.close()
    assert (five.shape, one.shape) == (expected.shape, (1, *expected.shape[1:]))
    assert five.dtype == one.dtype == graph.quant(graph.output).format.dtype
    assert np.array_equal(five[:1], one)
    assert np.abs(five.astype(int) - expected.astype(int)).max() <= 3
    assert len({tuple(row) for row in five.tolist()}) == 5
    assert len(set(five.argmax(axis=1).tolist())) > 1


def test_a_result_is_not_overwritten_by_the_next_run(runtime, folders):
    codes = codes_of("toy", 2)
    session = runtime.open(folders["toy"], "model", GRAPHS["toy"])
    first = session.run(codes[:1])
    kept = first.copy()
    second = session.run(codes[1:])
    assert np.array_equal(first, kept)
    assert not np.array_equal(first, second)


@pytest.mark.parametrize("name", GRAPHS)
def test_tensors_are_codes_of_the_graph_and_lie_near_the_reference(name, runtime, folders):
    graph, codes = GRAPHS[name], codes_of(name, 5)
    reference = run(lower(graph), codes)
    shown = runtime.open(folders[name], "model", graph).tensors(codes)
    hidden = set(graph.activations()) - set(shown)
    # OpenVINO drops names behind pools, and of a sum whose readers all clamp it.
    assert hidden <= ({"p", "q", "s"} if runtime.name == "openvino" and name == "fitted" else set())
    assert np.array_equal(shown[graph.input], codes)
    for tensor, values in shown.items():
        assert (values.shape, values.dtype) == (reference[tensor].shape, reference[tensor].dtype), tensor
        graph.quant(tensor).format.to_ordinals(values)
        assert np.abs(values.astype(int) - reference[tensor].astype(int)).max() <= 4, tensor
        assert (values != values[:1]).any(), tensor


def test_timed_runs_one_inference_and_again(runtime, folders):
    session = runtime.open(folders["toy"], "model", GRAPHS["toy"], threads=1)
    codes = codes_of("toy", 3)
    before, infer = session.run(codes), session.timed(codes)
    assert [infer(), infer()] == [None, None]
    assert np.array_equal(session.run(codes), before)


@pytest.mark.parametrize("name", GRAPHS)
def test_parity_is_bounded(name, runtime, tmp_path):
    part = host_part(tmp_path, GRAPHS[name], codes_of(name, 8))
    result = check_part(part, runtime)
    assert result.status in ("bit-exact", "bounded"), result.reason
    assert (result.vectors, result.top1_agreement) == (8, 1.0)
    assert result.labels > 1
    assert (part.outputs != part.outputs[0]).any()


def test_openvino_computes_its_float_parts_in_float32(folders):
    reason = openvino.missing()
    if reason is not None:
        pytest.skip(reason)
    session = openvino.open_ir(folders["toy"], "model", GRAPHS["toy"], threads=1)
    compiled = session.request.get_compiled_model()
    assert compiled.get_property("INFERENCE_PRECISION_HINT").to_string() in ("f32", "float32")
    assert compiled.get_property("INFERENCE_NUM_THREADS") == 1


def files_of(runtime) -> tuple[str, ...]:
    return ("model.onnx",) if runtime is ort.RUNTIME else ("model.xml", "model.bin")


def outcome(runtime, folder: Path, graph: Graph, codes) -> str:
    """Open and use a part: 'works', or 'refused' by an error of the project; any other error is raised."""
    try:
        session = runtime.open(folder, "model", graph)
        session.run(codes)
        session.tensors(codes)
    except ExportError as error:
        assert "model." in str(error)
        return "refused"
    except QuantError as error:
        # A damaged constant can make NaN of every output.
        assert "NaN" in str(error)
        return "refused"
    return "works"


def test_the_ir_is_the_same_for_the_same_graph_and_names_no_folder(folders, tmp_path):
    reason = openvino.missing()
    if reason is not None:
        pytest.skip(reason)
    TARGET.write(source(GRAPHS["toy"], codes_of("toy", 2)), tmp_path)
    for file in files_of(openvino.RUNTIME):
        assert (tmp_path / file).read_bytes() == (folders["toy"] / file).read_bytes(), file
        assert str(tmp_path).encode() not in (tmp_path / file).read_bytes(), file


def test_truncated_and_missing_files_are_refused(runtime, folders, tmp_path, capfd):
    graph, codes = GRAPHS["toy"], codes_of("toy", 1)
    for file in files_of(runtime):
        folder = tmp_path / file
        shutil.copytree(folders["toy"], folder)
        good = (folder / file).read_bytes()
        for size in np.linspace(0, len(good) - 8, 12).astype(int):
            (folder / file).write_bytes(good[:size])
            assert outcome(runtime, folder, graph, codes) == "refused", (file, size)
        (folder / file).unlink()
        assert outcome(runtime, folder, graph, codes) == "refused", file
    assert capfd.readouterr().out == ""


def test_files_with_damaged_bytes_work_or_are_refused_in_words(runtime, folders, tmp_path, capfd):
    graph, codes, rng = GRAPHS["toy"], codes_of("toy", 1), np.random.default_rng(3)
    folder, file = tmp_path / "damaged", files_of(runtime)[0]
    shutil.copytree(folders["toy"], folder)
    good = np.frombuffer((folder / file).read_bytes(), np.uint8)
    seen = []
    for _ in range(40):
        bad = good.copy()
        bad[rng.integers(len(bad))] ^= rng.integers(1, 256, dtype=np.uint8)
        (folder / file).write_bytes(bad.tobytes())
        seen.append(outcome(runtime, folder, graph, codes))
    assert seen.count("refused") >= 10
    assert capfd.readouterr().out == ""


def test_codes_of_another_shape_are_refused(runtime, folders):
    session = runtime.open(folders["toy"], "model", GRAPHS["toy"])
    with pytest.raises(ExportError, match=r"cannot run model\.\w+ on codes \(2, 3, 8, 5\)"):
        session.run(codes_of("toy", 2)[..., :5])


@pytest.fixture
def needs_ort() -> None:
    reason = ort.missing()
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.usefixtures("needs_ort")
def test_every_operator_of_a_toy_becomes_an_integer_kernel(name, folders):
    file = folders[name] / "model.onnx"
    counts = fusion(file)
    assert fused_convs(file) == (2, 2)
    assert {kind: made for kind, (made, _) in counts.items()} == {kind: held for kind, (_, held) in counts.items()}
    assert {"Conv", "Gemm", "Add", "GlobalAveragePool"} <= set(counts)


@pytest.mark.usefixtures("needs_ort")
def test_a_convolution_with_a_node_before_its_quantisation_does_not_fuse(folders, tmp_path):
    import onnx

    model = onnx.load(folders["toy"] / "model.onnx")
    reader = next(node for node in model.graph.node if node.op_type == "QuantizeLinear" and node.input[0] == "b")
    place = list(model.graph.node).index(reader)
    reader.input[0] = "between"
    model.graph.node.insert(place, onnx.helper.make_node("Tanh", ["b"], ["between"]))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, tmp_path / "unfused.onnx")
    assert fused_convs(tmp_path / "unfused.onnx") == (1, 2)


@pytest.mark.parametrize(("name", "convolutions"), [("resnet8", 9), ("kws", 9)])
@pytest.mark.usefixtures("needs_ort")
def test_every_operator_of_a_real_network_becomes_an_integer_kernel(name, convolutions, tmp_path):
    net = network(name, count=8)
    codes = quantise_input(net.graph.quant(net.graph.input), net.inputs)
    part = host_part(tmp_path, net.graph, codes)
    file = part.folder / "model.onnx"
    assert fused_convs(file) == (convolutions, convolutions)
    assert all(made == held for made, held in fusion(file).values()), fusion(file)
    result = check_part(part, ort.RUNTIME)
    assert result.status in ("bit-exact", "bounded"), result.reason
    assert result.labels > 1
    assert result.top1_agreement == 1.0
