"""What is wrong with a `.tflite` file is named; no damage to a file is worse than a refusal."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from export.tflite import encode
from quant.errors import QuantError
from quant.flatbuffer import Table, root
from quant.graph import Graph
from quant.program import lower
from quant.tflite_import import graph_of, load_tflite
from quant.tflite_read import parse
from tests.tflite_files import DATA, Maker, mixture, packed
from tests.toys import toy_graph

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")
FILE = encode(toy_graph())
#: Tensors of the toy by name: x, a (conv), b (depthwise), c (add), m (mean), y (fully connected).
NAMES = {
    t.name.decode(): i
    for i, t in enumerate(schema.ModelT.InitFromObj(schema.Model.GetRootAs(FILE)).subgraphs[0].tensors)
}
CONV, DEPTHWISE, ADD, MEAN, DENSE = range(5)
DTYPES = {"scale": np.float32, "zeroPoint": np.int64}


def changed(change: Callable[[Any, Any], object], data: bytes = FILE) -> bytes:
    """The file after `change(model, network)`."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data)))
    change(model, model.subgraphs[0])
    return packed(model)


def imported(data: bytes) -> Graph:
    return graph_of(parse(data, "net"))


def refusal(data: bytes) -> str:
    with pytest.raises(QuantError) as caught:
        imported(data)
    return str(caught.value)


def put(table: str, index: int, **values: Any) -> Callable[[Any, Any], None]:
    """Set fields of a tensor, an operator, its options or a tensor's quantisation."""

    def change(_: Any, network: Any) -> None:
        found = {
            "tensor": lambda: network.tensors[index],
            "quant": lambda: network.tensors[index].quantization,
            "operator": lambda: network.operators[index],
            "options": lambda: network.operators[index].builtinOptions,
        }[table]()
        for name, value in values.items():
            assert hasattr(found, name)
            setattr(found, name, np.array(value, DTYPES.get(name, np.int32)) if isinstance(value, list) else value)

    return change


def code(index: int, name: str, custom: bytes | None = None) -> Callable[[Any, Any], None]:
    def change(model: Any, network: Any) -> None:
        entry = model.operatorCodes[network.operators[index].opcodeIndex]
        entry.builtinCode = getattr(schema.BuiltinOperator, name)
        entry.deprecatedBuiltinCode, entry.customCode = min(entry.builtinCode, 127), custom

    return change


def tensor(name: str) -> int:
    return NAMES[name]


INT16, FLOAT32, UINT8 = schema.TensorType.INT16, schema.TensorType.FLOAT32, schema.TensorType.UINT8
REFUSALS = (
    (code(CONV, "SIN"), "operator 0 (SIN): this operator is not imported. Imported are ADD, AVERAGE_POOL_2D"),
    (code(MEAN, "CUSTOM", b"Mine"), "operator 3 (custom operator 'Mine'): this operator is not imported"),
    (put("tensor", tensor("x"), type=FLOAT32), "tensor 0 'x' (FLOAT32 [1, 8, 8, 3]) is not quantised"),
    (put("tensor", tensor("a"), type=FLOAT32), "tensor 1 'a' (FLOAT32 [1, 4, 4, 8]) is not quantised"),
    (put("tensor", tensor("x"), shape=[1, -1, 8, 3]), "tensor 0 'x' (INT8 [1, -1, 8, 3]) has a dynamic shape"),
    (put("tensor", tensor("x"), shapeSignature=[-1, 8, -1, 3]), "has a dynamic shape ([-1, 8, -1, 3])"),
    (put("tensor", tensor("x"), shape=[2, 8, 8, 3]), "its first axis is the batch and must be 1"),
    (put("tensor", tensor("x"), shape=[1, 0, 8, 3]), "holds nothing"),
    (
        put("tensor", tensor("x"), shape=[1 << 11, 1 << 10, 1 << 10]),
        "has 2147483648 values; a tensor has fewer than 2^31",
    ),
    (put("tensor", tensor("x"), shape=[1] * 6), "has 6 axes"),
    (put("tensor", tensor("a"), shape=[1, 4, 8, 4]), "should have shape [1, 4, 4, 8]"),
    (put("tensor", tensor("a"), isVariable=True), "is a variable"),
    (put("tensor", tensor("a"), sparsity=schema.SparsityParametersT()), "is sparse"),
    (put("tensor", tensor("a"), buffer=99), "has buffer 99; the file has"),
    (put("tensor", tensor("a/weight"), shape=[8, 3, 3, 4]), "has 216 bytes of data; 288 belong to its shape"),
    (put("tensor", tensor("b"), type=INT16), "has zero point 5; allowed is 0"),
    (put("tensor", tensor("c"), type=UINT8), "its inputs and output have different types"),
    (put("quant", tensor("a"), scale=[0.1, 0.1], zeroPoint=[0, 0]), "has 2 scales; an activation has 1"),
    (put("quant", tensor("a"), scale=[0.1, 0.1]), "has 2 scales and 1 zero points"),
    (put("quant", tensor("a"), scale=[0.0]), "has scale 0.0"),
    (put("quant", tensor("a"), scale=[-1.0]), "has scale -1.0"),
    (put("quant", tensor("a"), scale=[float("nan")]), "has a scale that is no finite number"),
    (put("quant", tensor("a"), zeroPoint=[128]), "has zero point 128; allowed is -128 to 127"),
    (put("tensor", tensor("a"), quantization=None), "has 0 scales; an activation has 1"),
    (
        put("quant", tensor("a/weight"), scale=[0.1] * 7, zeroPoint=[0] * 7),
        "have 7 scales along axis 0; 1, or 8 along axis 0",
    ),
    (put("quant", tensor("b/weight"), quantizedDimension=0), "have 8 scales along axis 0; 1, or 8 along axis 3"),
    (put("quant", tensor("a/weight"), zeroPoint=[1] * 8), "have zero points; signed weights are symmetric"),
    (put("quant", tensor("a/weight"), scale=[-0.1] * 8), "have a scale that is not positive"),
    (put("quant", tensor("a/bias"), scale=[0.1] * 8), "is not that of its sums"),
    (put("quant", tensor("a/bias"), zeroPoint=[3] * 8), "and zero points of 0"),
    (put("tensor", tensor("a/bias"), type=schema.TensorType.UINT32), "must be INT32"),
    (put("tensor", tensor("a/weight"), type=UINT8), "mix signed and unsigned codes"),
    (put("options", CONV, fusedActivationFunction=4), "its fused activation is number 4; allowed are NONE, RELU"),
    (put("options", CONV, padding=2), "its padding is 2; allowed are SAME (0) and VALID (1)"),
    (put("options", CONV, strideH=0), "must be at least 1"),
    (put("options", CONV, dilationHFactor=9, padding=1), "its kernel reaches over 19 of 8 values"),
    (put("options", DEPTHWISE, depthMultiplier=2), "multiplier 2 do not belong to 8 input channels"),
    (put("options", DENSE, weightsFormat=1), "its weights are shuffled"),
    (put("operator", CONV, builtinOptionsType=5), "operator 0 (CONV_2D) lacks its own options"),
    (put("operator", CONV, builtinOptions=None), "operator 0 (CONV_2D) lacks its own options"),
    (put("operator", CONV, inputs=[0]), "operator 0 (CONV_2D): input 1 is missing"),
    (put("operator", CONV, inputs=[0, 99, 1]), "operator 0 (CONV_2D) names tensors [0, 99, 1, 1]; the file has"),
    (put("operator", CONV, inputs=[2, 6, 7]), "is not made yet"),
    (put("operator", ADD, inputs=[1, tensor("b/weight")]), "is a constant; it must be computed"),
    (put("operator", ADD, inputs=[1, 0]), "both must be the same, broadcasting is not imported"),
    (put("operator", ADD, outputs=[1]), "which exists already"),
    (put("operator", ADD, outputs=[3, 4]), "operator 2 (ADD) has 2 outputs"),
    (put("operator", CONV, opcodeIndex=77), "operator 0 has code 77; the file lists 5"),
    (lambda model, _: setattr(model, "version", 2), "its schema version is 2; 3 is read"),
    (lambda model, _: setattr(model, "subgraphs", []), "it holds 0 networks"),
    (lambda model, network: setattr(model, "subgraphs", [network, network]), "it holds 2 networks"),
    (lambda _, network: setattr(network, "inputs", np.array([0, 1], np.int32)), "the network has 2 inputs; 1 is read"),
    (lambda _, network: setattr(network, "outputs", np.array([], np.int32)), "the network has 0 outputs; 1 is read"),
    (lambda _, network: setattr(network, "outputs", np.array([1000], np.int32)), "the network's output is tensor 1000"),
    (lambda _, network: setattr(network, "operators", []), "nothing makes the output"),
    (lambda _, network: setattr(network, "inputs", np.array([tensor("b/bias")], np.int32)), "is a constant"),
)


@pytest.mark.parametrize(("change", "message"), REFUSALS, ids=[message[:50] for _, message in REFUSALS])
def test_what_is_wrong_is_named(change: Callable[[Any, Any], object], message: str):
    assert message in refusal(changed(change))


def test_the_file_that_was_changed_is_right_before():
    assert imported(changed(lambda model, network: None)).output == "y"


def flattened() -> Maker:
    maker = Maker((1, 3, 2, 4))
    maker.add("RESHAPE", (1, 24), (maker.counts(1, 24),), "ReshapeOptions")
    return maker


def test_orders_of_values_that_a_graph_cannot_have_are_refused():
    assert "is a flattened image" in refusal(flattened().data())
    again = flattened()
    again.add("RESHAPE", (1, 6, 2, 2), (again.counts(1, 6, 2, 2),), "ReshapeOptions")
    assert "it makes an image of a flattened one" in refusal(again.data())
    joined = flattened()
    joined.add("CONCATENATION", (1, 48), ("t0",), "ConcatenationOptions", axis=1)
    assert "in another order, or is a flattened image" in refusal(joined.data())
    mixed = Maker((1, 3, 2, 4))
    mixed.add("QUANTIZE", (1, 3, 2, 4), (), "QuantizeOptions", scale=0.1)
    mixed.add("RESHAPE", (1, 6, 2, 2), (mixed.counts(1, 6, 2, 2),), "ReshapeOptions")
    assert "it mixes channels and pixels" in refusal(mixed.data())
    turned = Maker((1, 3, 2, 4))
    turned.add("TRANSPOSE", (1, 2, 3, 4), (turned.counts(0, 2, 1, 3),), "TransposeOptions")
    turned.add("MEAN", (1, 4), (turned.counts(1, 2),), "ReducerOptions")
    assert "must be an image, channels last" in refusal(turned.data())


def test_values_behind_the_end_may_not_be_computed_on():
    maker = Maker((1, 6))
    maker.add("SOFTMAX", (1, 6), (), "SoftmaxOptions", beta=1.0)
    maker.add("RELU", (1, 6))
    assert "stands behind the end of the integer network" in refusal(maker.data())
    assert "computes nothing" in refusal(Maker.data(softmax(beta=1.0)))
    assert "its beta is 0.0" in refusal(Maker.data(softmax(beta=0.0)))


def softmax(beta: float) -> Maker:
    maker = Maker((1, 6))
    maker.add("SOFTMAX", (1, 6), (), "SoftmaxOptions", beta=beta)
    return maker


MOVES = (
    ("MEAN", (1, 8, 3), [(1,)], "ReducerOptions", {}, "height and width, [1, 2], are imported"),
    ("PAD", (1, 8, 6, 3), [(0, 0, 0, -1)], "PadOptions", {}, "allowed is one non-negative pair per axis"),
    ("SLICE", (1, 1, 1, 1), [(0, 7, 0, 0), (1, 2, 1, 1)], "SliceOptions", {}, "do not lie in [1, 8, 6, 3]"),
    (
        "STRIDED_SLICE",
        (1, 8, 6, 3),
        [(0,) * 4, (1, 8, 6, 3), (1, 1, 1, -1)],
        "StridedSliceOptions",
        {},
        "strides above 0",
    ),
    (
        "STRIDED_SLICE",
        (1, 8, 6),
        [(0,) * 4, (1, 8, 6, 3), (1,) * 4],
        "StridedSliceOptions",
        {"shrinkAxisMask": 8},
        "masks",
    ),
    (
        "STRIDED_SLICE",
        (1, 8, 6, 3),
        [(0,) * 4, (1, 0, 6, 3), (1,) * 4],
        "StridedSliceOptions",
        {},
        "no axis may be empty",
    ),
    ("TRANSPOSE", (8, 1, 6, 3), [(1, 0, 2, 3)], "TransposeOptions", {}, "the batch axis stays first"),
    ("TRANSPOSE", (1, 3, 8, 2, 3), [(0, 3, 1, 2)], "TransposeOptions", {}, "has another shape than its input"),
    ("RESHAPE", (1, 8, 6, 4), [(1, 8, 6, 4)], "ReshapeOptions", {}, "other numbers of values"),
    ("CONCATENATION", (1, 8, 6, 3), [], "ConcatenationOptions", {"axis": 0}, "the batch axis cannot be joined"),
    ("CONCATENATION", (1, 8, 6, 3), [], "ConcatenationOptions", {"axis": 4}, "along axis 4 of 4"),
    ("AVERAGE_POOL_2D", (1, 7, 5, 3), [], "Pool2DOptions", {"scale": 0.3}, "put a QUANTIZE there"),
    ("RELU6", (1, 8, 6, 3), [], "", {"scale": 0.3}, "put a QUANTIZE there"),
    ("PADV2", (1, 8, 6, 3), [(0, 0, 0, 0)], "PadV2Options", {}, "allowed is one non-negative pair per axis"),
    ("LOGISTIC", (1, 8, 6, 3), [], "", {}, "must have scale 0.00390625 and zero point -128"),
    ("LEAKY_RELU", (1, 8, 6, 3), [], "LeakyReluOptions", {"alpha": -0.5}, "its slope alpha is -0.5"),
    ("MUL", (1, 8, 6, 3), [], "MulOptions", {}, "it has 1 inputs; 2 are imported"),
)


@pytest.mark.parametrize(("code_", "shape", "counts", "options", "fields", "message"), MOVES)
def test_operators_that_do_more_than_a_graph_says(code_, shape, counts, options, fields, message):
    maker = Maker((1, 8, 6, 3))
    extra = tuple(maker.counts(*values) for values in counts)
    maker.add(code_, shape, extra, options, **fields)
    assert message in refusal(maker.data())


def test_float_files_are_refused():
    path = DATA / "cifar10" / "mlperf_tiny_resnet8_float.tflite"
    if not path.exists():
        pytest.skip(f"there is no {path.name}")
    with pytest.raises(QuantError, match=r"mlperf_tiny_resnet8_float.tflite: tensor 0 .*FLOAT32.* is not quantised"):
        load_tflite(path)


def test_files_that_are_none(tmp_path: Path):
    assert "no .tflite file" in refusal(b"")
    assert "no .tflite file" in refusal(FILE[:4] + b"ONNX" + FILE[8:])
    for path, message in ((tmp_path / "missing.tflite", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(QuantError, match=message):
            load_tflite(path)


def table(fields: bytes, vtable: bytes) -> Table:
    """A root table behind its vtable."""
    start = 8 + len(vtable)
    data = struct.pack("<I4s", start, b"TEST") + vtable + struct.pack("<i", len(vtable)) + fields
    return root(data, b"TEST", "test file")


def test_tables_are_read_within_their_bounds_only():
    fine = table(struct.pack("<I", 7), struct.pack("<HHH", 6, 8, 4))
    assert (fine.has(0), fine.integer(0, "I"), fine.integer(1, "I", 5)) == (True, 7, 5)
    for vtable, message in (
        (struct.pack("<HHH", 6, 9, 4), "table has 9 bytes"),
        (struct.pack("<HHH", 5, 8, 4), "vtable has 5 bytes"),
        (struct.pack("<HHH", 99, 8, 4), "vtable has 99 bytes"),
        (struct.pack("<HHH", 6, 8, 8), "a field lies outside its table"),
        (struct.pack("<HHH", 6, 8, 2), "a field lies outside its table"),
    ):
        with pytest.raises(QuantError, match=message):
            table(struct.pack("<I", 7), vtable)
    late = table(struct.pack("<I", 7), struct.pack("<HHH", 6, 8, 6))
    with pytest.raises(QuantError, match="field 0 reaches beyond the table"):
        late.integer(0, "I")
    for offset, message in ((4, "7 items, more than the file holds"), (1 << 30, "points to byte")):
        found = table(struct.pack("<II", offset, 7), struct.pack("<HHH", 6, 8, 4))
        with pytest.raises(QuantError, match=message):
            found.array(0, "u1")


BASES = st.sampled_from([FILE, mixture().data()])
#: Taken modulo the length of the file.
positions = st.integers(0, 1 << 16)
FUZZ = settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])


def survives(data: bytes) -> None:
    """Import and lower a file, or refuse it; any other exception (or warning) fails the test."""
    try:
        lower(imported(data))
    except QuantError as error:
        assert len(str(error)) > 20


@FUZZ
@given(BASES, st.lists(st.tuples(positions, st.integers(0, 7)), min_size=1, max_size=8))
def test_flipped_bits_are_refused_or_imported(base: bytes, flips: list[tuple[int, int]]):
    data = bytearray(base)
    for place, bit in flips:
        data[place % len(data)] ^= 1 << bit
    survives(bytes(data))


EXTREMES = st.sampled_from([b"\xff" * 4, b"\x00" * 4, b"\xff\xff\xff\x7f", b"\x80", b"\x05"])


@FUZZ
@given(BASES, st.lists(st.tuples(positions, EXTREMES), min_size=1, max_size=4))
def test_extreme_numbers_are_refused_or_imported(base: bytes, changes: list[tuple[int, bytes]]):
    data = bytearray(base)
    for place, values in changes:
        start = place % len(data)
        data[start : start + len(values)] = values
    survives(bytes(data))


def test_every_truncation_is_refused_or_imported():
    for base in (FILE, mixture().data()):
        for length in range(0, len(base), 7):
            survives(base[:length])
        assert "damaged" in refusal(base[: len(base) // 2])
