"""ONNX files that cannot be imported: one QuantError that says what, where and what to do; never a traceback."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from quant.errors import QuantError  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from quant.onnx_nodes import SUPPORTED  # noqa: E402
from quant.ptq import prepare  # noqa: E402
from tests.onnx_models import NODE, save, weights  # noqa: E402

INT = np.int64
CONV = {"w": weights(4, 3, 3, 3), "b": weights(4)}
IMAGE = [1, 3, 8, 7]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "model.onnx"


def refusal(path: Path) -> str:
    """Load a file that must be refused; return the message, which is one line."""
    with pytest.raises(QuantError) as error:
        load_onnx(path)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_an_unknown_operator_is_named_with_shape_opset_and_what_is_supported(file):
    nodes = [NODE("Conv", ["x", "w"], ["c"], name="stem"), NODE("Erf", ["c"], ["y"], name="gate")]
    message = refusal(save(file, nodes, CONV))
    assert message == (
        "node 'gate' (op Erf, inputs [1, 4, 6, 5], opset 17): this operator is not supported. "
        f"Supported: {', '.join(SUPPORTED)}, QONNX's quantisers and ONNX Runtime's QLinear operators. "
        "Rewrite it with these, or cut the model before it."
    )


def test_what_follows_an_unknown_operator_does_not_matter(file):
    nodes = [
        NODE("NonZero", ["x"], ["n"], name="where"),
        NODE("Cast", ["n"], ["f"], to=1),
        NODE("Conv", ["f", "w"], ["y"]),
    ]
    # ONNX's own shape inference does not survive the NonZero.
    path = save(file, nodes, CONV, check=False)
    assert "node 'where' (op NonZero, inputs [1, 3, 8, 7], opset 17): this" in refusal(path)


def test_a_node_without_a_name_is_called_by_its_output(file):
    assert "node 'y' (op Erf" in refusal(save(file, [NODE("Erf", ["x"], ["y"])]))


@pytest.mark.parametrize("kind", ["Sigmoid", "Conv"])
def test_other_domains_are_refused_even_for_known_names(file, kind):
    node = NODE(kind, ["x", "w"], ["y"], domain="com.example", name="n")
    message = refusal(save(file, [node], CONV, domains=["com.example"]))
    assert f"(op {kind}, inputs [1, 3, 8, 7] [4, 3, 3, 3], opset 17)" in message
    assert "not supported (domain com.example)" in message


def test_two_inputs_two_outputs_and_none(file):
    add, relu = NODE("Add", ["x", "z"], ["y"]), NODE("Relu", ["x"], ["y"])
    assert "one input and one output; this model has ['x', 'z'] and ['y']" in refusal(save(file, [add], inputs=["z"]))
    both = save(file, [relu, NODE("Neg", ["x"], ["z"])], outputs=["y", "z"])
    assert "this model has ['x'] and ['y', 'z']" in refusal(both)
    model = onnx.load(save(file, [relu]))
    del model.graph.output[:]
    file.write_bytes(model.SerializeToString())
    assert "this model has ['x'] and []" in refusal(file)


def test_unknown_sizes(file):
    path = save(file, [NODE("Relu", ["x"], ["y"])], shape=[1, 3, "H", "W"])
    assert "tensor 'x' has an unknown or zero size (known: [1, 3, 0, 0], 0 is unknown)" in refusal(path)
    model = onnx.load(path)
    model.graph.input[0].type.tensor_type.shape.ClearField("dim")
    file.write_bytes(model.SerializeToString())
    assert "input 'x' has no shape; export the model with a known input shape" in refusal(file)


@pytest.mark.parametrize(("value", "count"), [(np.nan, 1), (np.inf, 2), (-np.inf, 1)])
@pytest.mark.parametrize("kind", [np.float32, np.float16])
def test_weights_that_are_no_numbers(file, value, count, kind):
    bad = weights(4, 3, 3, 3).astype(kind)
    bad.reshape(-1)[:count] = value
    onnx_type = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    path = save(file, [NODE("Conv", ["x", "w"], ["y"])], {"w": bad}, input_type=onnx_type)
    assert f"weight 'w' has {count} NaN or infinite values of 108; train again." in refusal(path)


def test_computed_weights_that_are_no_numbers(file):
    nodes = [NODE("Div", ["w", "zero"], ["v"]), NODE("Conv", ["x", "v"], ["y"])]
    assert "weight 'v' has 108 NaN or infinite" in refusal(save(file, nodes, {**CONV, "zero": np.float32(0)}))


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"pads": [-1, 0, 0, 0]}, "pads must be four numbers of at least 0, not [-1, 0, 0, 0]"),
        ({"strides": [2, 0]}, "strides must be at least 1, not [2, 0]"),
        ({"dilations": [0, 1]}, "dilations must be at least 1"),
        ({"group": 2}, "weights [4, 3, 3, 3] do not fit 2 groups"),
        ({"pads": [1, 1]}, "shapes do not fit a batch of 1"),
        ({"strides": [1]}, "shapes do not fit a batch of 1"),
    ],
)
def test_convolutions(file, attributes, message):
    assert message in refusal(save(file, [NODE("Conv", ["x", "w"], ["y"], **attributes)], CONV, check=False))


@pytest.mark.parametrize(
    ("kind", "rank"),
    [
        *((kind, 5) for kind in ("Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "BatchNormalization")),
        ("BatchNormalization", 3),
    ],
)
def test_only_images_of_one_or_two_dimensions(file, rank, kind):
    shape, kernel = (1, 4, *([8] * (rank - 2))), [3] * (rank - 2)
    constants = {"w": weights(4, 4, *kernel), "g": weights(4)}
    names = {"Conv": ["x", "w"], "BatchNormalization": ["x", *"gggg"]}.get(kind, ["x"])
    attributes = {"kernel_shape": kernel} if "xPool" in kind or kind == "AveragePool" else {}
    message = refusal(save(file, [NODE(kind, names, ["y"], **attributes)], constants, shape))
    assert "only 1-D and 2-D" in message or "and 2-D images" in message or "a mean over axes [2, 3] of" in message


NODES = [
    (NODE("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], ceil_mode=1), "ceil_mode=1 is not supported; export with"),
    (NODE("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], ceil_mode=1), "ceil_mode=1 is not supported"),
    (NODE("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], dilations=[2, 1]), "dilated max pooling is not supported"),
    (
        NODE("AveragePool", ["x"], ["y"], kernel_shape=[2, 2], pads=[1, 0, 0, 0], count_include_pad=1),
        "average pooling that counts its padding is not supported; put a Pad node before it",
    ),
    (NODE("MaxPool", ["x"], ["y"], kernel_shape=[2, 2], pads=[0, 0, -1, 0]), "pads must be four numbers of at least 0"),
    (NODE("Pad", ["x", "negative"], ["y"]), "negative counts and padding of the batch axis are not supported"),
    (NODE("Pad", ["x", "batch"], ["y"]), "padding of the batch axis"),
    (NODE("Pad", ["x", "one", "half"], ["y"]), "only padding with zeros is supported"),
    (NODE("Pad", ["x", "one"], ["y"], mode="reflect"), "mode reflect; only constant padding is supported"),
    (NODE("Pad", ["x", "x"], ["y"]), "tensor 'y', made by node 'y' (op Pad), has an unknown or zero size"),
    (NODE("Slice", ["x", "i3", "i0", "i2", "back"], ["y"]), "step -1; only positive steps are supported"),
    (NODE("Slice", ["x", "i0", "i0", "i0"], ["y"]), "unknown or zero size"),
    (NODE("Concat", ["x", "x"], ["y"], axis=0), "joining along the batch axis is not supported"),
    (NODE("Concat", ["x", "image"], ["y"], axis=1), "input 1 ('image') must be computed, not a constant"),
    (NODE("Flatten", ["x"], ["y"], axis=2), "the result [3, 56] does not keep the batch axis"),
    (NODE("Reshape", ["x", "pairs"], ["y"]), "the result [56, 3] does not keep the batch axis"),
    (NODE("Softmax", ["x"], ["y"], axis=1), "softmax over axis 1; only the last axis is supported"),
    (NODE("ReduceMean", ["x"], ["y"], axes=[1]), "a mean over axes [1] of 4; only height and width (2, 3)"),
    (NODE("ReduceMean", ["x"], ["y"]), "a mean over axes [] of 4"),
    (NODE("Clip", ["x", "half", "zero"], ["y"]), "its limits 0.5 and 0.0 are not a range"),
    (NODE("Clip", ["x", "nan"], ["y"]), "its limits nan and inf are not a range"),
    (NODE("Add", ["x", "image"], ["y"]), "adding a constant is supported right behind MatMul, Gemm or Conv"),
    (NODE("Add", ["x", "half"], ["y"]), "adding a constant is supported right behind"),
    (NODE("MatMul", ["x", "square"], ["y"]), "only [batch, features] inputs are supported; put a Flatten before"),
    (NODE("Conv", ["x", "x"], ["y"]), "weight input 1 ('x') must be a constant"),
    (NODE("Conv", ["image", "w"], ["y"]), "must be computed, not a constant"),
    (NODE("Conv", ["x", "w", "one_number"], ["y"]), "bias of shape [3, 1] for 4 outputs"),
    (NODE("BatchNormalization", ["x", *"vvvv"], ["y"]), "shapes do not fit a batch of 1"),
    (NODE("BatchNormalization", ["x", *"xxxx"], ["y"]), "shapes do not fit a batch of 1"),
    (NODE("ReduceMean", ["x"], ["y"], axes=[2, 3, 3]), "a mean over axes [2, 3, 3] of 4"),
    (NODE("Dropout", ["x", "half", "true"], ["y"]), "training_mode is on; export the model in evaluation mode"),
    (NODE("Identity", ["image"], ["y"]), "the model computes nothing"),
    (NODE("Identity", ["x"], ["y"]), "the model computes nothing"),
]


@pytest.mark.parametrize(("node", "message"), NODES, ids=lambda value: getattr(value, "op_type", ""))
def test_nodes(file, node, message):
    constants = {
        **CONV,
        "image": weights(1, 3, 8, 7),
        "square": weights(7, 7),
        "one_number": weights(3, 1),
        "v": weights(4),
    }
    constants |= {"half": np.float32(0.5), "zero": np.float32(0), "nan": np.float32("nan"), "true": np.array(True)}
    lists = {"negative": [0, 0, -1, 0] * 2, "batch": [1, 0, 0, 0] * 2, "one": [0, 0, 0, 1] * 2, "pairs": [-1, 3]}
    lists |= {"i3": [3], "i0": [0], "i2": [2], "back": [-1]}
    constants |= {name: np.array(value, INT) for name, value in lists.items()}
    assert message in refusal(save(file, [node], constants))


def test_layers_of_vectors(file):
    constants = {"w": weights(6, 5), "cube": weights(1, 6, 5), "c": weights(5), "tall": weights(5, 1)}
    for attributes in ({"alpha": 0.5}, {"beta": 2.0}, {"transA": 1}):
        path = save(file, [NODE("Gemm", ["x", "w"], ["y"], **attributes)], constants, (1, 6), check=False)
        assert "only alpha = beta = 1 and transA = 0" in refusal(path) or "do not fit" in refusal(path)
    assert "only a matrix" in refusal(save(file, [NODE("MatMul", ["x", "cube"], ["y"])], constants, (1, 6)))
    wrong = save(file, [NODE("Gemm", ["x", "w"], ["y"])], constants, (1, 7), check=False)
    assert "weights for 6 features, its input has 7" in refusal(wrong)
    nodes = [NODE("MatMul", ["x", "w"], ["m"]), NODE("Add", ["m", "c"], ["a"]), NODE("Add", ["a", "m"], ["y"])]
    assert "something else reads 'm' without the added constant" in refusal(save(file, nodes, constants, (1, 6)))
    nodes = [NODE("MatMul", ["x", "w"], ["m"]), NODE("Add", ["m", "tall"], ["y"])]
    assert "only one constant per output channel" in refusal(save(file, nodes, constants, (1, 6)))


def test_a_constant_along_another_axis_than_channels(file):
    nodes = [NODE("Conv", ["x", "w"], ["c"]), NODE("Add", ["c", "row"], ["y"])]
    path = save(file, nodes, {**CONV, "row": weights(4)}, (1, 3, 6, 6))
    assert "only one constant per output channel can be added" in refusal(path)


def test_broadcasting(file):
    nodes = [NODE("GlobalAveragePool", ["x"], ["g"]), NODE("Add", ["x", "g"], ["y"])]
    assert "broadcasting is not supported" in refusal(save(file, nodes))


def test_training_batch_norm_and_negative_variance(file):
    constants = {name: np.abs(weights(3)) for name in "gomv"}
    node = NODE("BatchNormalization", ["x", *"gomv"], ["y", "m2", "v2"], training_mode=1)
    assert "only inference with one mean and variance" in refusal(save(file, [node], constants))
    path = save(file, [NODE("BatchNormalization", ["x", *"gomv"], ["y"])], {**constants, "v": -constants["v"]})
    with pytest.raises(QuantError, match=r"pass fold_batch_norm: node 'y' \(BatchNorm\): variance plus epsilon"):
        prepare(load_onnx(path))


@pytest.mark.parametrize("kind", ["INT64", "INT32", "BOOL", "STRING"])
def test_input_types(file, kind):
    path = save(file, [NODE("Identity", ["x"], ["y"])], input_type=getattr(onnx.TensorProto, kind), check=False)
    assert f"input 'x' is of type {kind}; supported: float32, float16, float64, uint8" in refusal(path)


def test_integer_inputs_need_a_scale(file):
    path = save(file, [NODE("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])], input_type=onnx.TensorProto.UINT8)
    assert "input 'x' holds integers; put a DequantizeLinear behind it" in refusal(path)


def test_a_fixed_batch_is_explained(file):
    nodes = [NODE("Reshape", ["x", "shape"], ["y"])]
    path = save(file, nodes, {"shape": np.array([4, 168], INT)}, check=False)
    assert "the result [4, 168] does not keep the batch axis" in refusal(path)
    nodes = [NODE("Conv", ["x", "w"], ["c"]), NODE("Concat", ["x", "shape"], ["y"], axis=1)]
    path = save(file, nodes, {**CONV, "shape": weights(4, 3, 8, 7)}, check=False)
    assert "shapes do not fit a batch of 1 (" in refusal(path)
    assert refusal(path).endswith("export with a free batch axis.")


def test_old_and_missing_opsets(file):
    path = save(file, [NODE("Relu", ["x"], ["y"])], opset=6)
    assert "opset 6 is too old; export with opset 7 or later (best 17)" in refusal(path)
    path = save(file, [NODE("Relu", ["x"], ["y"])], opset=999, check=False)
    assert "999" in refusal(path)


def test_computed_limits_counts_and_sizes(file):
    nodes = [NODE("ReduceMean", ["x"], ["m"], axes=[0, 1, 2, 3], keepdims=0), NODE("Clip", ["x", "m"], ["y"])]
    message = refusal(save(file, nodes))
    assert "node 'm' (op ReduceMean" in message


def test_damaged_constants(file):
    nodes = [NODE("Concat", ["w", "b"], ["c"], axis=0, name="join"), NODE("Conv", ["x", "c"], ["y"])]
    assert "node 'join' (op Concat) cannot be computed from its constants" in refusal(
        save(file, nodes, CONV, check=False)
    )
    huge = {"shape": np.array([1 << 40, 1 << 10], INT)}
    nodes = [NODE("ConstantOfShape", ["shape"], ["c"]), NODE("Conv", ["x", "c"], ["y"])]
    assert "a constant of 1125899906842624 elements; at most" in refusal(save(file, nodes, huge, check=False))
    pads = {"pads": np.array([0, 0, 1 << 30, 0, 0, 0, 0, 1 << 30], INT)}
    assert "is too large" in refusal(save(file, [NODE("Pad", ["x", "pads"], ["y"])], pads))


def test_no_file_no_model(tmp_path):
    assert refusal(tmp_path / "absent.onnx").endswith("absent.onnx is not a readable ONNX model: no such file")
    assert "it is not a regular file" in refusal(tmp_path)
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    assert "empty.onnx is not a readable ONNX model" in refusal(empty)
    text = tmp_path / "text.onnx"
    text.write_text("not an ONNX model\n" * 50)
    assert "is not a readable ONNX model" in refusal(text)


def test_a_huge_file_is_not_read(tmp_path):
    huge = tmp_path / "huge.onnx"
    with huge.open("wb") as handle:
        handle.truncate(1 << 33)
    assert "8589934592 bytes; an ONNX file has at most 2147483647" in refusal(huge)


def test_missing_and_escaping_external_data(file):
    for place, says in (("weights.bin", ""), ("../outside.bin", ""), ("/etc/hostname", "")):
        model = onnx.load(save(file, [NODE("Conv", ["x", "w"], ["y"])], CONV))
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, value in (("location", place), ("offset", "0"), ("length", "432")):
            entry = tensor.external_data.add()
            entry.key, entry.value = key, value
        target = file.with_name("external.onnx")
        target.write_bytes(model.SerializeToString())
        message = refusal(target)
        assert "external.onnx is not a readable ONNX model" in message
        assert says in message


def rich_model(path: Path) -> bytes:
    """Return a file with most operators."""
    nodes = [
        NODE("Pad", ["x", "pads"], ["p"], name="pad"),
        NODE("Conv", ["p", "w", "b"], ["c"], strides=[2, 2], name="conv"),
        NODE("BatchNormalization", ["c", *"gomv"], ["n"]),
        NODE("Clip", ["n", "low", "high"], ["r"]),
        NODE("MaxPool", ["r"], ["q"], kernel_shape=[2, 2]),
        NODE("Slice", ["q", "i0", "i3", "i1"], ["s"]),
        NODE("Concat", ["s", "s"], ["j"], axis=1),
        NODE("ReduceMean", ["j"], ["e"], axes=[2, 3], keepdims=1),
        NODE("Shape", ["e"], ["sh"]),
        NODE("Gather", ["sh", "first"], ["ga"]),
        NODE("Unsqueeze", ["ga", "i0"], ["un"]),
        NODE("Concat", ["un", "minus"], ["t"], axis=0),
        NODE("Reshape", ["e", "t"], ["f"]),
        NODE("Gemm", ["f", "fw", "fb"], ["ge"], transB=1),
        NODE("Softmax", ["ge"], ["y"]),
    ]
    constants = {**CONV, **{name: np.abs(weights(4)) for name in "gomv"}, "fw": weights(5, 6), "fb": weights(5)}
    constants |= {"low": np.float32(0), "high": np.float32(6), "first": np.array(0, INT)}
    lists = {"pads": [0, 0, 1, 1] * 2, "i0": [0], "i1": [1], "i3": [3], "minus": [-1]}
    constants |= {name: np.array(value, INT) for name, value in lists.items()}
    return save(path, nodes, constants).read_bytes()


def load_or_refuse(path: Path) -> bool:
    """Import and prepare; whether that worked. Anything but a QuantError fails the test."""
    try:
        prepare(load_onnx(path))
    except QuantError:
        return False
    return True


def test_a_file_cut_anywhere_is_refused_or_read(file):
    content = rich_model(file)
    assert load_or_refuse(file)
    worked = []
    for size in range(len(content)):
        file.write_bytes(content[:size])
        if load_or_refuse(file):
            worked.append(size)
    # The last fields are the opset and producer: without them protobuf still sees a whole model at most there.
    assert all(size > len(content) - 40 for size in worked)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_are_refused_or_read(file, seed):
    content, rng = rich_model(file), random.Random(seed)
    outcomes = set()
    for _ in range(400):
        damaged = bytearray(content)
        for _ in range(rng.choice((1, 1, 3))):
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        outcomes.add(load_or_refuse(file))
    assert outcomes == {True, False}
