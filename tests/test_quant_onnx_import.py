"""Float ONNX: every supported operator in every form its opsets have computes what ONNX Runtime computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

from quant import operators as ops  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from quant.onnx_nodes import SUPPORTED  # noqa: E402
from quant.onnx_write import run_float  # noqa: E402
from quant.ptq import prepare  # noqa: E402
from tests.onnx_models import IMAGE, NODE, images, ort_run, same_as_ort, save, weights  # noqa: E402

OPSETS = (7, 9, 11, 13, 17, 18, 21)
INT = np.int64
CONV = {"w": weights(4, 3, 3, 3), "b": weights(4)}
#: The window operators' forms: attributes, and how the result differs from the default.
WINDOWS = (
    {},
    {"strides": [2, 2], "pads": [0, 1, 2, 1]},
    {"strides": [2, 1], "auto_pad": "SAME_UPPER"},
    {"strides": [1, 2], "auto_pad": "SAME_LOWER"},
    {"strides": [2, 2], "auto_pad": "VALID"},
    {"strides": [3, 3], "auto_pad": "SAME_UPPER"},
)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.onnx"


def kinds(graph):
    return [node.kind for node in graph.nodes]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("attributes", [*WINDOWS, {"dilations": [2, 1], "pads": [2, 0, 2, 0]}])
def test_conv(file, opset, attributes):
    nodes = [NODE("Conv", ["x", "w", "b"], ["y"], kernel_shape=[3, 3], **attributes)]
    assert kinds(same_as_ort(save(file, nodes, CONV, opset=opset))) == ["Conv"]


@pytest.mark.parametrize(("groups", "out"), [(1, 5), (2, 6), (4, 4), (4, 8)])
@pytest.mark.parametrize("bias", [True, False])
def test_conv_groups_and_no_bias(file, groups, out, bias):
    shape, names = (1, 4, 6, 5), ["x", "w", "b"][: 3 if bias else 2]
    constants = {"w": weights(out, 4 // groups, 3, 2), "b": weights(out)}
    graph = same_as_ort(save(file, [NODE("Conv", names, ["y"], group=groups)], constants, shape), shape)
    assert graph.nodes[0].op == ops.Conv(groups=groups)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_window(tmp_path, data):
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    kind = data.draw(st.sampled_from(["Conv", "MaxPool", "AveragePool"]))
    kernel, strides = data.draw(pair), data.draw(pair)
    attributes = {"kernel_shape": kernel, "strides": strides}
    dilations = data.draw(pair) if kind == "Conv" else (1, 1)
    auto = data.draw(st.sampled_from(["NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if kind == "Conv":
        attributes["dilations"] = dilations
    if auto == "NOTSET":
        limits = [kernel[i] - 1 for i in (0, 1)] * 2
        attributes["pads"] = [data.draw(st.integers(0, limit)) for limit in limits]
    else:
        # ONNX Runtime's SAME covers neither dilation nor windows smaller than their step.
        fits = dilations == (1, 1) and all(k >= s for k, s in zip(kernel, strides, strict=True))
        assume(fits or auto == "VALID")
        attributes["auto_pad"] = auto
    shape = (1, 2, data.draw(st.integers(7, 9)), data.draw(st.integers(7, 9)))
    names = ["x", "w"] if kind == "Conv" else ["x"]
    path = save(tmp_path / "m.onnx", [NODE(kind, names, ["y"], **attributes)], {"w": weights(2, 2, *kernel)}, shape)
    same_as_ort(path, shape, 2)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize("attributes", WINDOWS)
def test_pools(file, opset, kind, attributes):
    nodes = [NODE(kind, ["x"], ["y"], kernel_shape=[3, 3], **attributes)]
    assert kinds(same_as_ort(save(file, nodes, opset=opset))) == [kind]


@pytest.mark.parametrize("opset", OPSETS)
def test_relu_is_fused_behind_conv(file, opset):
    nodes = [NODE("Conv", ["x", "w", "b"], ["c"]), NODE("Relu", ["c"], ["y"])]
    graph = prepare(same_as_ort(save(file, nodes, CONV, opset=opset)))
    assert [(node.kind, node.clip) for node in graph.nodes] == [("Conv", (0.0, float("inf")))]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", ["b", "row", "one", None])
def test_gemm(file, opset, transposed, bias):
    constants = {"w": weights(5, 6) if transposed else weights(6, 5), "b": weights(5), "row": weights(1, 5)}
    constants["one"] = weights(1)
    names = ["x", "w"] if bias is None else ["x", "w", bias]
    if bias is None and opset < 11:
        names, constants["zero"] = ["x", "w", "zero"], np.zeros(5, np.float32)
    path = save(file, [NODE("Gemm", names, ["y"], transB=transposed)], constants, (1, 6), opset)
    assert kinds(same_as_ort(path, (1, 6))) == ["Gemm"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("shape", [(5,), (1, 5), (1,), ()])
def test_matmul_and_add(file, opset, swap, shape):
    add = ["c", "m"] if swap else ["m", "c"]
    nodes = [NODE("MatMul", ["x", "w"], ["m"]), NODE("Add", add, ["y"])]
    path = save(file, nodes, {"w": weights(6, 5), "c": weights(*shape)}, (1, 6), opset)
    assert kinds(same_as_ort(path, (1, 6))) == ["Gemm"]


def test_a_matrix_reordered_by_nodes(file):
    nodes = [
        NODE("Transpose", ["w"], ["t"], perm=[1, 0]),
        NODE("Identity", ["t"], ["i"]),
        NODE("Constant", [], ["half"], value_float=0.5),
        NODE("Mul", ["i", "half"], ["h"]),
        NODE("MatMul", ["x", "h"], ["y"]),
    ]
    assert kinds(same_as_ort(save(file, nodes, {"w": weights(5, 6)}, (1, 6)), (1, 6))) == ["Gemm"]


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 4, 1, 1), (1, 1, 1), (1,)])
def test_a_constant_added_behind_conv(file, shape):
    nodes = [NODE("Conv", ["x", "w", "b"], ["c"]), NODE("Add", ["c", "k"], ["a"]), NODE("Relu", ["a"], ["y"])]
    graph = same_as_ort(save(file, nodes, {**CONV, "k": weights(*shape)}))
    assert kinds(graph) == ["Conv", "Clip"]


@pytest.mark.parametrize("opset", OPSETS)
def test_add(file, opset):
    nodes = [
        NODE("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        NODE("Add", ["c", "x"], ["s"]),
        NODE("Add", ["s", "s"], ["d"]),
        NODE("Clip" if opset < 11 else "Relu", ["d"], ["y"], **({"min": 0.0, "max": 6.0} if opset < 11 else {})),
    ]
    graph = prepare(same_as_ort(save(file, nodes, {"w": weights(3, 3, 3, 3)}, opset=opset)))
    assert kinds(graph) == ["Conv", "Add", "Add"]


NORM = {
    "g": weights(4, seed=2),
    "o": weights(4, seed=3),
    "m": weights(4, seed=4),
    "v": np.abs(weights(4, seed=5)) + np.float32(0.1),
}
NORMED = ["g", "o", "m", "v"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("bias", [True, False])
def test_batch_norm_folds_into_conv(file, opset, bias):
    conv = NODE("Conv", ["x", "w", "b"] if bias else ["x", "w"], ["c"])
    nodes = [conv, NODE("BatchNormalization", ["c", *NORMED], ["n"], epsilon=1e-3), NODE("Relu", ["n"], ["y"])]
    graph = same_as_ort(save(file, nodes, {**CONV, **NORM}, opset=opset))
    assert kinds(graph) == ["Conv", "BatchNorm", "Clip"]
    assert kinds(prepare(graph)) == ["Conv"]


def test_batch_norm_that_cannot_be_folded(file):
    shape = (1, 4, 5, 6)
    nodes = [
        NODE("BatchNormalization", ["x", *NORMED], ["n"]),
        NODE("Conv", ["n", "w"], ["c"], pads=[1, 1, 1, 1]),
        NODE("BatchNormalization", ["c", *NORMED], ["k"]),
        NODE("Add", ["c", "k"], ["y"]),
    ]
    graph = same_as_ort(save(file, nodes, {"w": weights(4, 4, 3, 3), **NORM}, shape), shape)
    prepared = prepare(graph)
    assert kinds(prepared) == ["Conv", "Conv", "Conv", "Add"]
    assert [node.op.groups for node in prepared.nodes[:3]] == [4, 1, 4]


@pytest.mark.parametrize("behind", ["Gemm", None, "Relu"])
def test_batch_norm_of_vectors(file, behind):
    first = {"Gemm": [NODE("Gemm", ["x", "w"], ["c"])], "Relu": [NODE("Relu", ["x"], ["c"])], None: []}[behind]
    nodes = [*first, NODE("BatchNormalization", ["c" if behind else "x", *NORMED], ["y"])]
    path = save(file, nodes, {"w": weights(4, 4), **NORM}, (1, 4))
    assert kinds(prepare(same_as_ort(path, (1, 4))))[-1] == "Gemm"


@pytest.mark.parametrize("opset", OPSETS)
def test_softmax_at_the_end_is_dropped(file, opset):
    nodes = [NODE("Gemm", ["x", "w", "b"], ["g"]), NODE("Softmax", ["g"], ["y"], axis=1)]
    constants = {"w": weights(6, 5), "b": weights(5)}
    graph = load_onnx(save(file, nodes, constants, (1, 6), opset))
    assert kinds(graph) == ["Gemm", "Softmax"]
    assert kinds(prepare(graph)) == ["Gemm"]
    same_as_ort(save(file, [*nodes[:1], NODE("Identity", ["g"], ["y"])], constants, (1, 6), opset), (1, 6))


@pytest.mark.parametrize("opset", OPSETS)
def test_softmax_in_the_middle_runs_as_float(file, opset):
    nodes = [NODE("Softmax", ["x"], ["s"], axis=1), NODE("Gemm", ["s", "w", "b"], ["y"])]
    graph = same_as_ort(save(file, nodes, {"w": weights(6, 5), "b": weights(5)}, (1, 6), opset), (1, 6))
    assert kinds(graph) == ["Softmax", "Gemm"]


@pytest.mark.parametrize("opset", OPSETS)
def test_identity_and_dropout_vanish(file, opset):
    attributes, more = ({"ratio": 0.3}, []) if opset < 12 else ({}, ["ratio", "training"])
    nodes = [
        NODE("Identity", ["x"], ["i"]),
        NODE("Dropout", ["i", *more], ["d", "mask"], **attributes),
        NODE("Relu", ["d"], ["r"]),
        NODE("Identity", ["r"], ["y"]),
    ]
    constants = {"ratio": np.float32(0.3), "training": np.array(False)}
    graph = same_as_ort(save(file, nodes, constants if opset >= 12 else {}, opset=opset))
    assert [node.output for node in graph.nodes] == ["r"]
    assert graph.output == "r"


def test_nodes_may_share_a_name_or_have_none(file):
    nodes = [
        NODE("Conv", ["x", "w"], ["a"], name="conv", pads=[1, 1, 1, 1]),
        NODE("Conv", ["a", "v"], ["b"], name="conv", pads=[1, 1, 1, 1]),
        NODE("Conv", ["b", "w"], ["c"], pads=[1, 1, 1, 1]),
        NODE("Slice", ["c", "one", "two", "three"], ["d"], name="b"),
        NODE("Relu", ["d"], ["conv.weight"], name="conv"),
        NODE("Conv", ["conv.weight", "w"], ["y"], name="conv"),
    ]
    constants = {"w": weights(3, 3, 3, 3), "v": weights(3, 3, 3, 3, seed=9)}
    constants |= {name: np.array([value], INT) for name, value in (("one", 1), ("two", 8), ("three", 2))}
    graph = load_onnx(save(file, nodes, constants))
    assert len({node.name for node in graph.nodes}) == 6
    # ONNX Runtime itself refuses names that are used twice.
    for node in nodes:
        node.name = ""
    x = images(IMAGE)
    np.testing.assert_allclose(run_float(graph, x), ort_run(save(file, nodes, constants), x), rtol=1e-4, atol=1e-4)


def test_dead_branches_are_left_out(file):
    nodes = [
        NODE("Relu", ["x"], ["r"]),
        NODE("Sigmoid", ["r"], ["dead"]),
        NODE("MaxPool", ["r"], ["y"], kernel_shape=[2, 2]),
    ]
    assert kinds(same_as_ort(save(file, nodes))) == ["Clip", "MaxPool"]


@pytest.mark.parametrize("kind", ["float16", "float64"])
def test_other_floats_become_float32(file, kind):
    onnx_type = {"float16": onnx.TensorProto.FLOAT16, "float64": onnx.TensorProto.DOUBLE}[kind]
    constants = {"w": weights(4, 3, 3, 3).astype(kind), "b": weights(4).astype(kind)}
    graph = load_onnx(save(file, [NODE("Conv", ["x", "w", "b"], ["y"])], constants, input_type=onnx_type))
    assert [weight.dtype for weight in graph.weights.values()] == [np.float32, np.float32]


def test_every_supported_operator_is_imported_by_a_test():
    here = Path(__file__)
    names = ("import_moves", "codes", "functions")
    sources = [here, *(here.with_name(f"test_quant_onnx_{name}.py") for name in names)]
    text = "".join(source.read_text(encoding="utf-8") for source in sources)
    assert [name for name in SUPPORTED if f'"{name}"' not in text] == []
