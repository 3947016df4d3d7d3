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
@pytest.mark.parametrize(("low", "high"), [(0.0, 6.0), (-1.0, 0.5), (None, 0.5), (-0.25, None)])
def test_clip(file, opset, low, high):
    if opset < 11:
        limits = {k: v for k, v in (("min", low), ("max", high)) if v is not None}
        path = save(file, [NODE("Clip", ["x"], ["y"], **limits)], opset=opset)
    else:
        names = ["x", "low" if low is not None else "", "high" if high is not None else ""]
        constants = {"low": np.float32(low or 0), "high": np.float32(high or 0)}
        path = save(file, [NODE("Clip", names, ["y"])], constants, opset=opset)
    graph = same_as_ort(path)
    want = ops.Clip(low=-np.inf if low is None else low, high=np.inf if high is None else high)
    assert graph.nodes[0].op == want


def test_the_largest_float_is_no_limit(file):
    constants = {"low": np.float32(0), "high": np.finfo(np.float32).max}
    graph = same_as_ort(save(file, [NODE("Clip", ["x", "low", "high"], ["y"])], constants))
    assert graph.nodes[0].op == ops.Clip(low=0.0, high=float("inf"))


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
@pytest.mark.parametrize("keep", [0, 1])
@pytest.mark.parametrize("axes", [[2, 3], [-1, -2], [3, 2]])
def test_reduce_mean(file, opset, keep, axes):
    if opset < 18:
        path = save(file, [NODE("ReduceMean", ["x"], ["y"], axes=axes, keepdims=keep)], opset=opset)
    else:
        node = NODE("ReduceMean", ["x", "axes"], ["y"], keepdims=keep)
        path = save(file, [node], {"axes": np.array(axes, INT)}, opset=opset)
    assert same_as_ort(path).nodes[0].op == ops.Mean(keep_dims=bool(keep))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("axis", [None, 1, -3])
def test_global_average_pool_and_flatten(file, opset, axis):
    if axis == -3 and opset < 11:
        pytest.skip("negative axes of Flatten came with opset 11")
    attributes = {} if axis is None else {"axis": axis}
    nodes = [NODE("GlobalAveragePool", ["x"], ["p"]), NODE("Flatten", ["p"], ["y"], **attributes)]
    assert kinds(same_as_ort(save(file, nodes, opset=opset))) == ["Mean", "Reshape"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("how", ["squeeze", "unsqueeze"])
def test_squeeze_and_unsqueeze(file, opset, how):
    axes = [2, 3]
    extra, more = ({"axes": axes}, []) if opset < 13 else ({}, ["axes"])
    nodes = [NODE("GlobalAveragePool", ["x"], ["p"]), NODE("Squeeze", ["p", *more], ["y"], **extra)]
    if how == "unsqueeze":
        nodes[1].output[0] = "s"
        nodes += [NODE("Unsqueeze", ["s", *more], ["u"], **extra), NODE("Conv", ["u", "w"], ["y"])]
    constants = {"axes": np.array(axes, INT), "w": weights(2, 3, 1, 1)}
    same_as_ort(save(file, nodes, constants, opset=opset))


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("target", [[0, -1], [-1, 168], [0, 3, 56], [0, 0, 56]])
def test_reshape_to_a_constant(file, opset, target):
    nodes = [NODE("Constant", [], ["s"], value=onnx.numpy_helper.from_array(np.array(target, INT)))]
    graph = same_as_ort(save(file, [*nodes, NODE("Reshape", ["x", "s"], ["y"])], opset=opset))
    assert kinds(graph) == ["Reshape"]


@pytest.mark.parametrize("opset", [9, 13, 17, 21])
def test_reshape_to_a_shape_torch_computes(file, opset):
    unsqueeze = {"axes": [0]} if opset < 13 else {}
    more = [] if opset < 13 else ["zero"]
    nodes = [
        NODE("Shape", ["x"], ["s"]),
        NODE("Gather", ["s", "first"], ["n"], axis=0),
        NODE("Unsqueeze", ["n", *more], ["u"], **unsqueeze),
        NODE("Concat", ["u", "rest"], ["t"], axis=0),
        NODE("Reshape", ["x", "t"], ["f"]),
        NODE("Gemm", ["f", "w"] if opset > 10 else ["f", "w", "b"], ["y"]),
    ]
    constants = {"first": np.array(0, INT), "rest": np.array([-1], INT), "zero": np.array([0], INT)}
    constants |= {"w": weights(168, 4), "b": weights(4)}
    assert kinds(same_as_ort(save(file, nodes, constants, opset=opset))) == ["Reshape", "Gemm"]


@pytest.mark.parametrize("opset", OPSETS)
def test_weights_computed_by_nodes_of_every_opset(file, opset):
    old, axes = opset < 13, {"axes": [0]} if opset < 13 else {}
    more = [] if old else ["zero"]
    part = {"axes": [0], "starts": [1], "ends": [5]} if opset < 10 else {}
    nodes = [
        NODE("Unsqueeze", ["w", *more], ["a"], **axes),
        NODE("Squeeze", ["a", *more], ["b"], **axes),
        NODE("Slice", ["b"] if opset < 10 else ["b", "one", "five", "zero"], ["c"], **part),
        NODE("Transpose", ["c"], ["d"], perm=[1, 0]),
        NODE("Split", ["d"], ["e", "f"], axis=0, **({"num_outputs": 2} if opset >= 18 else {})),
        NODE("Concat", ["f", "e"], ["g"], axis=0),
        NODE("Cast", ["g"], ["h"], to=onnx.TensorProto.FLOAT),
        NODE("Reshape", ["h", "shape"], ["i"]),
        NODE("Gather", ["i", "order"], ["j"], axis=0),
        NODE("ConstantOfShape", ["two"], ["ones"], value=onnx.numpy_helper.from_array(np.ones(1, np.float32)))
        if opset > 8
        else NODE("Constant", [], ["ones"], value=onnx.numpy_helper.from_array(np.ones((1, 1), np.float32))),
        NODE("Sub", ["j", "ones"], ["k"]),
        NODE("Div", ["k", "scale"], ["l"]),
        NODE("MatMul", ["x", "l"], ["y"]),
    ]
    constants = {"w": weights(6, 6), "scale": weights(4), "shape": np.array([6, 4], INT), "two": np.array([1, 1], INT)}
    constants |= {name: np.array([value], INT) for name, value in (("zero", 0), ("one", 1), ("five", 5))}
    constants["order"] = np.array([3, 1, 0, 2, 5, 4], INT)
    assert kinds(same_as_ort(save(file, nodes, constants, (1, 6), opset), (1, 6))) == ["Gemm"]


def test_reshape_to_a_product_of_sizes(file):
    nodes = [
        NODE("Conv", ["x", "w", "b"], ["c"]),
        NODE("Shape", ["c"], ["s"]),
        NODE("Gather", ["s", "one"], ["channels"]),
        NODE("Shape", ["c"], ["s2"]),
        NODE("Slice", ["s2", "two", "end", "nought"], ["area"]),
        NODE("Gather", ["area", "nought"], ["h"]),
        NODE("Gather", ["area", "one1"], ["w1"]),
        NODE("Mul", ["h", "w1"], ["hw"]),
        NODE("Unsqueeze", ["channels", "nought"], ["c1"]),
        NODE("Concat", ["minus", "c1", "hw"], ["t"], axis=0),
        NODE("Reshape", ["c", "t"], ["y"]),
    ]
    values = {"one": 1, "one1": [1], "two": [2], "end": [4], "nought": [0], "minus": [-1]}
    constants = {**CONV, **{name: np.array(value, INT) for name, value in values.items()}}
    graph = same_as_ort(save(file, nodes, constants))
    assert graph.nodes[1].op == ops.Reshape(shape=(1, 4, 30))


@pytest.mark.parametrize("opset", OPSETS)
def test_pad(file, opset):
    counts = [0, 0, 1, 0, 0, 1, 2, 3]
    if opset < 11:
        node, constants = NODE("Pad", ["x"], ["p"], pads=counts, mode="constant", value=0.0), {}
    else:
        node = NODE("Pad", ["x", "counts", "zero"] if opset == 13 else ["x", "counts"], ["p"])
        constants = {"counts": np.array(counts, INT), "zero": np.array([0] if opset == 13 else 0, np.float32)[()]}
    graph = same_as_ort(save(file, [node, NODE("MaxPool", ["p"], ["y"], kernel_shape=[2, 2])], constants, opset=opset))
    assert graph.nodes[0].op == ops.Pad(before=(0, 0, 1, 0), after=(0, 1, 2, 3))


def test_pad_over_chosen_axes(file):
    constants = {"counts": np.array([1, 2, 3, 4], INT), "none": np.float32(0), "axes": np.array([-1, 2], INT)}
    node = NODE("Pad", ["x", "counts", "none", "axes"], ["y"])
    graph = same_as_ort(save(file, [node], constants, opset=18))
    assert graph.nodes[0].op == ops.Pad(before=(0, 0, 2, 1), after=(0, 0, 4, 3))


@pytest.mark.parametrize("opset", [11, 17])
def test_pad_folds_into_conv(file, opset):
    nodes = [NODE("Pad", ["x", "counts"], ["p"]), NODE("Conv", ["p", "w", "b"], ["y"], strides=[2, 2], pads=[1, 0, 0, 1])]
    constants = {**CONV, "counts": np.array([0, 0, 0, 1, 0, 0, 1, 1], INT)}
    graph = prepare(same_as_ort(save(file, nodes, constants, opset=opset)))
    assert [node.op for node in graph.nodes] == [ops.Conv(strides=(2, 2), pads=(1, 1, 1, 2))]


SLICES = (
    ([1], [3], [1], [1]),
    ([0, 1], [2**31 - 1, -1], [2, 3], [2, 2]),
    ([-3, 2], [9, 2**63 - 1], [-1, 2], [1, 1]),
    ([0, 0, 0, 0], [1, 3, 8, 7], None, [1, 1, 2, 2]),
)


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize(("starts", "ends", "axes", "steps"), SLICES)
def test_slice(file, opset, starts, ends, axes, steps):
    values = {"starts": starts, "ends": ends, "axes": axes, "steps": steps}
    if opset < 10 and axes and min(axes) < 0:
        pytest.skip("negative axes of Slice came with opset 10")
    if axes is None and opset < 10:
        pytest.skip("without axes every axis is sliced, the free batch axis too")
    if opset < 10:
        given = {k: v for k, v in values.items() if k != "steps" and v is not None}
        path = save(file, [NODE("Slice", ["x"], ["y"], **given)], opset=opset)
        steps = [1] * len(starts)
    else:
        if axes is None:
            values["ends"] = [2**31 - 1, *ends[1:]]
        names = ["x", *(name if value is not None else "" for name, value in values.items())]
        constants = {name: np.array(value, INT) for name, value in values.items() if value is not None}
        path = save(file, [NODE("Slice", names, ["y"])], constants, opset=opset)
    graph = same_as_ort(path)
    assert set(graph.nodes[0].op.steps) >= set(steps)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_slice_and_pad(tmp_path, data):
    size = IMAGE[3]
    start, end = data.draw(st.integers(-size, size - 1)), data.draw(st.integers(-size, size + 3))
    step = data.draw(st.integers(1, 3))
    assume(len(range(*slice(start, end, step).indices(size))) > 0)
    before, after = data.draw(st.integers(0, 3)), data.draw(st.integers(0, 3))
    constants = {k: np.array([v], INT) for k, v in (("s", start), ("e", end), ("a", 3), ("t", step))}
    constants["p"] = np.array([0, 0, 0, before, 0, 0, 0, after], INT)
    nodes = [NODE("Slice", ["x", "s", "e", "a", "t"], ["c"]), NODE("Pad", ["c", "p"], ["y"])]
    same_as_ort(save(tmp_path / "m.onnx", nodes, constants), count=2)


def test_option_a_shortcut(file):
    constants = {"w": weights(6, 3, 3, 3), "starts": np.array([0, 0], INT), "ends": np.array([2**63 - 1] * 2, INT)}
    constants |= {"axes": np.array([2, 3], INT), "steps": np.array([2, 2], INT)}
    constants["counts"] = np.array([0, 1, 0, 0, 0, 2, 0, 0], INT)
    nodes = [
        NODE("Conv", ["x", "w"], ["c"], strides=[2, 2], pads=[1, 1, 1, 1]),
        NODE("Slice", ["x", "starts", "ends", "axes", "steps"], ["half"]),
        NODE("Pad", ["half", "counts"], ["wide"]),
        NODE("Add", ["c", "wide"], ["s"]),
        NODE("Relu", ["s"], ["y"]),
    ]
    assert kinds(prepare(same_as_ort(save(file, nodes, constants)))) == ["Conv", "Slice", "Pad", "Add"]


@pytest.mark.parametrize("opset", OPSETS)
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_concat(file, opset, axis):
    if axis < 0 and opset < 11:
        pytest.skip("negative axes of Concat came with opset 11")
    nodes = [NODE("Relu", ["x"], ["r"]), NODE("Concat", ["x", "r", "x"], ["y"], axis=axis)]
    assert same_as_ort(save(file, nodes, opset=opset)).nodes[1].op == ops.Concat(axis=axis % 4)


@pytest.mark.parametrize("opset", OPSETS)
def test_softmax_at_the_end_is_dropped(file, opset):
    nodes = [NODE("Gemm", ["x", "w", "b"], ["g"]), NODE("Softmax", ["g"], ["y"], axis=1)]
    constants = {"w": weights(6, 5), "b": weights(5)}
    graph = load_onnx(save(file, nodes, constants, (1, 6), opset))
    assert kinds(graph) == ["Gemm", "Softmax"]
    assert kinds(prepare(graph)) == ["Gemm"]
    same_as_ort(save(file, nodes[:1] + [NODE("Identity", ["g"], ["y"])], constants, (1, 6), opset), (1, 6))


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


def test_every_supported_operator_is_in_this_file():
    source = Path(__file__).read_text(encoding="utf-8")
    assert [name for name in SUPPORTED if f'"{name}"' not in source and "Linear" not in name] == []
