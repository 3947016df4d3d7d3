"""What the `.tflite` exporter writes: structure, padding, activations, refusals, and the same bytes every time."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from export.arm_a import TARGET
from export.errors import ExportError
from export.target import Source
from export.tflite import encode
from export.tflite_layout import file_axis, file_shape, to_file, to_graph
from export.tflite_windows import Window, tflite_padding
from quant import operators as ops
from quant.errors import QuantError
from quant.formats import E4M3, INT8, UINT8, Format, integer
from quant.graph import Graph, Node, Tensor, check
from quant.program import lower
from quant.reference import run
from tests import tflite_cases as cases
from tests.toys import random_codes, toy_graph

schema = pytest.importorskip("ai_edge_litert.schema_py_generated", reason="ai-edge-litert is not installed")
INF = float("inf")
RNG = np.random.default_rng(5)


def source(graph: Graph, name: str = "model") -> Source:
    codes = random_codes(graph, 2)
    return Source(name, graph, codes, run(lower(graph), codes)[graph.output])


def model(data: bytes):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data)))


def operators(data: bytes) -> list[tuple[str, object]]:
    names = {value: name for name, value in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    read = model(data)
    codes = [names[code.builtinCode] for code in read.operatorCodes]
    return [(codes[op.opcodeIndex], op.builtinOptions) for op in read.subgraphs[0].operators]


def image(size: int, scale: float = 0.02, zero: int = 3, channels: int = 4) -> Tensor:
    return Tensor((1, channels, size, size), cases.quant(scale, zero))


def test_one_graph_gives_the_same_bytes_and_another_graph_others():
    assert encode(toy_graph()) == encode(toy_graph())
    assert encode(toy_graph()) != encode(toy_graph(seed=1))


def test_a_part_is_one_file_with_its_facts(tmp_path):
    facts = TARGET.write(source(toy_graph(), "toy"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["toy.tflite"]
    data = (tmp_path / "toy.tflite").read_bytes()
    assert data[4:8] == b"TFL3"
    assert facts == {
        "layout": "NHWC",
        "file": "toy.tflite",
        "file_bytes": len(data),
        "operators": ["ADD", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "MEAN"],
        "input_shape": [1, 8, 8, 3],
        "input_scale": float(np.float32(0.02)),
        "input_zero": -3,
        "output_shape": [1, 10],
        "output_scale": float(np.float32(0.1)),
        "output_zero": 3,
    }


def test_tensors_carry_the_scales_of_the_graph():
    graph = toy_graph()
    written = model(encode(graph)).subgraphs[0].tensors
    tensors = {tensor.name.decode(): tensor for tensor in written}
    for name in graph.activations():
        quant = graph.quant(name)
        assert tensors[name].quantization.scale.tolist() == list(quant.scale)
        assert tensors[name].quantization.zeroPoint.tolist() == [quant.zero]
        assert tuple(tensors[name].shape) == file_shape(graph.shape(name))
    weight, bias = tensors["b/weight"], tensors["b/bias"]
    assert weight.quantization.quantizedDimension == 3
    assert weight.quantization.scale.tolist() == list(graph.quant("dw_w").scale)
    assert tuple(weight.shape) == (1, 3, 3, 8)
    products = np.float32(graph.quant("a").scale[0]) * np.array(graph.quant("dw_w").scale, np.float32)
    np.testing.assert_array_equal(bias.quantization.scale, products)
    assert bias.type == schema.TensorType.INT32


def test_constant_data_is_aligned_as_the_schema_asks():
    data = encode(toy_graph())
    graph = toy_graph()
    for raw in (graph.weights["dw_b"].tobytes(), graph.weights["conv_b"].tobytes()):
        assert data.find(raw) % 16 == 0


def padding_of(stride: int, size: int, pads: tuple[int, int, int, int], dilation: int = 1) -> list[str]:
    op = ops.Conv(strides=(stride, stride), pads=pads, dilations=(dilation, dilation))
    written = operators(encode(cases.conv(RNG, op, image(size), (2, 3, 3))))
    paddings = [("SAME", "VALID")[options.padding] for code, options in written if code == "CONV_2D"]
    return [code for code, _ in written if code != "CONV_2D"] + paddings


def test_onnx_pads_become_same_valid_or_a_pad_operator():
    assert padding_of(1, 8, (0, 0, 0, 0)) == ["VALID"]
    assert padding_of(1, 8, (1, 1, 1, 1)) == ["SAME"]
    assert padding_of(2, 8, (0, 0, 1, 1)) == ["SAME"]
    assert padding_of(2, 9, (1, 1, 1, 1)) == ["SAME"]
    assert padding_of(1, 8, (2, 2, 2, 2), dilation=2) == ["SAME"]
    assert padding_of(2, 8, (1, 1, 1, 1)) == ["PAD", "VALID"]
    assert padding_of(1, 8, (2, 0, 0, 2)) == ["PAD", "VALID"]
    # One axis VALID and the other SAME is neither.
    assert padding_of(1, 8, (0, 1, 0, 1)) == ["PAD", "VALID"]


def test_padding_that_no_window_reaches_needs_no_operator():
    assert tflite_padding(Window((8, 8), (4, 4), (2, 2), (2, 2), (0, 0, 1, 1))) == "VALID"
    assert tflite_padding(Window((9, 9), (5, 5), (3, 3), (2, 2), (1, 1, 1, 1))) == "SAME"
    assert tflite_padding(Window((8, 8), (4, 4), (3, 3), (2, 2), (1, 1, 1, 1))) is None


def activation_of(clip: tuple[float, float] | None, scale: float, zero: int) -> list[str | int]:
    op, y = ops.Conv(), cases.quant(scale, zero)
    graph = cases.conv(RNG, op, image(4), (2, 1, 1), clip=clip)
    tensors = {**graph.tensors, "y": replace(graph.tensors["y"], quant=y)}
    written = operators(encode(replace(graph, tensors=tensors)))
    return [written[0][1].fusedActivationFunction, *(code for code, _ in written[1:])]


def test_clips_become_the_fused_activation_with_the_same_codes():
    kind = schema.ActivationFunctionType
    assert activation_of(None, 0.1, 0) == [kind.NONE]
    assert activation_of((0.0, INF), 0.1, 5) == [kind.RELU]
    assert activation_of((0.0, 6.0), 0.1, -60) == [kind.RELU6]
    assert activation_of((-1.0, 1.0), 0.1, 5) == [kind.RELU_N1_TO_1]
    # The format saturates where the clip would.
    assert activation_of((0.0, INF), 0.1, -128) == [kind.NONE]
    assert activation_of((0.0, 6.0), 0.02, -128) == [kind.NONE]
    assert activation_of((0.0, 6.0), 0.02, 0) == [kind.RELU]
    assert activation_of((0.0, 4.0), 0.1, 5) == [kind.NONE, "MAXIMUM", "MINIMUM"]
    assert activation_of((-INF, 4.0), 0.1, 5) == [kind.NONE, "MINIMUM"]


def test_grouped_and_single_channel_convolutions_choose_their_operator():
    for groups, channels, code in (
        (1, 4, "CONV_2D"),
        (2, 4, "CONV_2D"),
        (4, 4, "DEPTHWISE_CONV_2D"),
        (1, 1, "CONV_2D"),
    ):
        graph = cases.conv(RNG, ops.Conv(groups=groups), image(5, channels=channels), (4, 3, 3))
        assert [name for name, _ in operators(encode(graph))] == [code]


def test_flattening_an_image_transposes_first_and_a_pixel_does_not():
    def codes(size: int) -> list[str]:
        x = image(size)
        flat = cases.one(ops.Reshape(shape=(1, 4 * size**2)), x, Tensor((1, 4 * size**2), x.quant))
        return [code for code, _ in operators(encode(flat))]

    assert codes(3) == ["TRANSPOSE", "RESHAPE"]
    assert codes(1) == ["RESHAPE"]


@pytest.mark.parametrize("fmt", [INT8, UINT8])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 7)])
def test_layouts_there_and_back_are_the_same_codes(fmt: Format, shape: tuple[int, ...]):
    codes = fmt.from_ordinals(RNG.integers(fmt.min_ordinal, fmt.max_ordinal + 1, shape))
    written = to_file(codes, fmt)
    assert written.dtype == np.int8
    assert written.shape == (2, *file_shape((1, *shape[1:]))[1:])
    np.testing.assert_array_equal(to_graph(written, fmt), codes)
    assert file_axis(1, 4) == 3
    assert file_axis(-1, 2) == 1


def refusal(graph: Graph) -> str:
    with tempfile.TemporaryDirectory() as folder, pytest.raises(ExportError) as caught:
        TARGET.write(Source("model", graph, np.zeros(0), np.zeros(0)), Path(folder))
    return str(caught.value)


def test_formats_that_tflite_lacks_are_refused():
    assert "activation 'x' is e4m3" in refusal(toy_graph(E4M3, E4M3))
    assert "weight 'conv_w' is e4m3" in refusal(with_weight_format(toy_graph(), E4M3))
    assert "activation 'x' is int12" in refusal(toy_graph(integer(12), INT8))
    assert "tensor 'x' of node 'conv' is int16 with zero point -3" in refusal(toy_graph(integer(16), INT8))


def with_weight_format(graph: Graph, fmt: Format) -> Graph:
    quant = replace(graph.quant("conv_w"), format=fmt)
    return replace(graph, tensors={**graph.tensors, "conv_w": replace(graph.tensors["conv_w"], quant=quant)})


def test_a_weight_of_minus_128_is_refused():
    graph = toy_graph()
    weight = graph.weights["conv_w"].copy()
    weight.flat[0] = -128
    message = refusal(replace(graph, weights={**graph.weights, "conv_w": weight}))
    assert "'conv_w'" in message
    assert "-127..127" in message


def average(x: Tensor, pads: tuple[int, int, int, int]) -> Graph:
    op = ops.AveragePool(kernel=(3, 3), strides=(2, 2), pads=pads)
    size = cases.window_out(x.shape[2], 3, 2, pads[::2])
    return cases.one(op, x, Tensor((1, 4, size, size), x.quant))


def test_average_pools_that_would_round_or_count_otherwise_are_refused():
    assert "AveragePool" in refusal(average(image(8), (1, 1, 1, 1)))
    unsigned = Tensor((1, 4, 8, 8), cases.quant(0.1, 4, UINT8))
    assert "uint8" in refusal(average(unsigned, (0, 0, 1, 1)))
    assert [code for code, _ in operators(encode(average(image(8), (0, 0, 1, 1))))] == ["AVERAGE_POOL_2D"]


def test_what_tflite_micro_cannot_join_and_what_cannot_be_clipped_is_refused():
    x = image(2)
    join = Node("join", ops.Concat(axis=1), ("x",) * 11, "y")
    tensors = {"x": x, "y": Tensor((1, 44, 2, 2), x.quant)}
    assert "at most 10" in refusal(check(Graph("g", "x", "y", (join,), tensors)))
    pool = Node("pool", ops.MaxPool(kernel=(1, 1), strides=(1, 1)), ("x",), "y", (0.0, INF))
    assert "'pool' (MaxPool) carries a clip" in refusal(Graph("g", "x", "y", (pool,), {"x": x, "y": x}))
    with pytest.raises(ExportError, match="no nodes"):
        encode(Graph("g", "x", "x", (), {"x": x}))


def test_names_that_meet_names_of_the_exporter_are_refused():
    x = image(4)
    nodes = (
        Node("first", ops.Requantize(), ("x",), "y/weight"),
        cases.conv(RNG, ops.Conv(), x, (2, 1, 1)).nodes[0],
    )
    graph = cases.conv(RNG, ops.Conv(), x, (2, 1, 1))
    clash = replace(graph, nodes=nodes, tensors={**graph.tensors, "y/weight": x})
    with pytest.raises(ExportError, match="'y/weight'"):
        encode(check(clash))


def test_bad_names_float_graphs_and_unwritable_folders_leave_nothing(tmp_path):
    graph = toy_graph()
    with pytest.raises(ExportError, match="cannot name a part"):
        TARGET.write(source(graph, "Bad Name"), tmp_path)
    with pytest.raises(ExportError, match="missing"):
        TARGET.write(source(graph), tmp_path / "missing")
    floats = replace(graph, tensors={name: replace(t, quant=None) for name, t in graph.tensors.items()})
    with pytest.raises(QuantError, match="quantise"):
        encode(floats)
    assert list(tmp_path.iterdir()) == []
