"""The host's QDQ dialect: what the file holds, what is refused, and that ONNX Runtime keeps to the reference."""

from __future__ import annotations

import numpy as np
import pytest

from export.errors import ExportError
from export.host import TARGET
from export.parity import check_part
from quant.formats import INT8, UINT8, find_format
from tests.host_parts import fitted_codes, host_part, source
from tests.toys import random_codes, toy_graph
from tests.toys_fitted import fitted_graph

onnx = pytest.importorskip("onnx", reason="onnx is not installed")

from export.onnx_fragment import save  # noqa: E402  (needs onnx)
from export.onnx_qdq import code_clip, graph_codes, qdq_model, stored_codes  # noqa: E402
from export.runtimes import ort  # noqa: E402

GRAPHS = {
    "toy int8": toy_graph(),
    "fitted int8": fitted_graph(INT8, INT8),
    "fitted uint8": fitted_graph(UINT8, INT8),
    "fitted int6 int4": fitted_graph(find_format("int6"), find_format("int4")),
    "fitted int4": fitted_graph(find_format("int4"), find_format("int4")),
    "fitted uint5 int2": fitted_graph(find_format("uint5"), find_format("int2")),
}
EIGHT_BITS = ("toy int8", "fitted int8", "fitted uint8")
FLOAT_OPERATORS = ("Conv", "Gemm", "Add", "GlobalAveragePool", "AveragePool", "MaxPool", "Concat", "Pad", "Slice")


def codes_of(name: str, count: int = 8):
    graph = GRAPHS[name]
    return random_codes(graph, count) if name.startswith("toy") else fitted_codes(graph, count)


@pytest.fixture(params=GRAPHS, ids=lambda name: name.replace(" ", "-"))
def name(request) -> str:
    return request.param


class View:
    """Constants, producers and readers of one ONNX graph, by name."""

    def __init__(self, model):
        self.nodes = list(model.graph.node)
        self.constants = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
        self.producer = {output: node for node in self.nodes for output in node.output}

    def readers(self, tensor):
        return [node for node in self.nodes if tensor in node.input]

    def named(self, node):
        return next(n for n in self.nodes if n.name == node)


def test_the_file_is_plain_onnx_of_opset_17(name):
    model = qdq_model(GRAPHS[name])
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 17)]
    assert model.ir_version == 8
    assert {node.domain for node in model.graph.node} == {""}
    assert not model.functions


def test_input_and_output_keep_their_names_are_float32_and_have_a_dynamic_batch(name):
    graph, model = GRAPHS[name], qdq_model(GRAPHS[name])
    for port, tensor in ((model.graph.input, graph.input), (model.graph.output, graph.output)):
        assert [value.name for value in port] == [tensor]
        kind = port[0].type.tensor_type
        assert kind.elem_type == onnx.TensorProto.FLOAT
        assert kind.shape.dim[0].dim_param == "N"
        assert tuple(d.dim_value for d in kind.shape.dim[1:]) == graph.shape(tensor)[1:]


def test_every_operator_stands_between_dequantise_and_quantise(name):
    view = View(qdq_model(GRAPHS[name]))
    checked = [node for node in view.nodes if node.op_type in FLOAT_OPERATORS]
    for node in checked:
        data = node.input if node.op_type in ("Conv", "Gemm", "Add", "Concat") else node.input[:1]
        assert {view.producer[tensor].op_type for tensor in data} == {"DequantizeLinear"}, node.name
        assert [reader.op_type for reader in view.readers(node.output[0])] == ["QuantizeLinear"], node.name
    assert {"Conv", "Gemm", "Add", "GlobalAveragePool"} <= {node.op_type for node in checked}
    assert not [node for node in view.nodes if node.op_type in ("Relu", "ReduceMean", "Cast")]


def test_activations_are_uint8_on_the_scale_and_shifted_zero_point_of_the_graph(name):
    graph, view = GRAPHS[name], View(qdq_model(GRAPHS[name]))
    pairs = [node for node in view.nodes if node.op_type == "QuantizeLinear"]
    assert {view.constants[node.input[2]].dtype for node in pairs} == {np.dtype(np.uint8)}
    made = {node.output[0]: node for node in pairs}
    for tensor in graph.activations():
        quant, node = graph.quant(tensor), made[f"{tensor}_QuantizeLinear_Output"]
        assert view.constants[node.input[1]] == np.float32(quant.scale[0])
        assert view.constants[node.input[2]] == quant.zero + (128 if quant.format.signed else 0)


def test_weights_are_int8_per_channel_and_biases_int32_on_the_accumulator_grid(name):
    graph, view = GRAPHS[name], View(qdq_model(GRAPHS[name]))
    layers = [node for node in graph.nodes if node.kind in ("Conv", "Gemm")]
    for node in layers:
        weight, bias = (view.producer[tensor] for tensor in view.named(node.name).input[1:])
        codes, scale, zero = (view.constants[tensor] for tensor in weight.input)
        assert (codes.dtype, scale.dtype, zero.dtype) == (np.int8, np.float32, np.int8)
        assert np.array_equal(codes, graph.weights[node.inputs[1]])
        assert np.array_equal(scale, np.float32(graph.quant(node.inputs[1]).scale))
        assert not zero.any()
        assert [a.i for a in weight.attribute if a.name == "axis"] == [0]
        wide, wide_scale, wide_zero = (view.constants[tensor] for tensor in bias.input)
        assert (wide.dtype, wide_scale.dtype, wide_zero.dtype) == (np.int32, np.float32, np.int32)
        assert np.array_equal(wide, graph.weights[node.inputs[2]])
        assert np.array_equal(wide_scale, np.float32(graph.quant(node.inputs[0]).scale[0]) * scale)
        assert not wide_zero.any()
    assert len(layers) >= 3


def test_the_same_graph_gives_the_same_bytes(name, tmp_path):
    files = [tmp_path / "first.onnx", tmp_path / "second.onnx"]
    for file in files:
        save(qdq_model(GRAPHS[name]), file)
    assert files[0].read_bytes() == files[1].read_bytes()
    changed = toy_graph(seed=5)
    save(qdq_model(changed), files[1])
    assert files[0].read_bytes() != files[1].read_bytes()


@pytest.mark.parametrize(
    ("act", "weight", "what"),
    [
        ("int16", "int8", "activation 'x' is int16"),
        ("e4m3", "e4m3", "activation 'x' is e4m3"),
        ("int8", "int16", "weight 'conv_w' is int16"),
        ("int8", "e2m1", "weight 'conv_w' is e2m1"),
    ],
)
def test_formats_the_file_cannot_hold_are_refused_before_anything_is_written(act, weight, what, tmp_path):
    graph = toy_graph(find_format(act), find_format(weight))
    with pytest.raises(ExportError, match=f"host: {what}; this target takes integers of 2 to 8 bits"):
        TARGET.write(source(graph, random_codes(graph, 1)), tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_zero_point_that_uint8_cannot_store_is_refused():
    with pytest.raises(ExportError, match=r"activation 'x' \(uint8\) has zero point -3, .* allowed is 0 to 255"):
        qdq_model(toy_graph(UINT8))


def test_stored_codes_come_back(name):
    quant = GRAPHS[name].quant("a")
    every = quant.format.from_ordinals(np.array(quant.format.ordinals()))
    stored = stored_codes(quant, every)
    assert stored.dtype == np.uint8
    assert np.array_equal(graph_codes(quant, stored), every)
    assert graph_codes(quant, stored).dtype == quant.format.dtype


def without_clips(model):
    """Return the file's bytes with every Clip replaced by its input."""
    for node in model.graph.node:
        if node.op_type == "Clip":
            node.op_type = "Identity"
            del node.input[1:]
    return model.SerializeToString()


def largest_excess(graph, model: bytes, codes) -> int:
    """Return how far the codes of any tensor leave their format in ONNX Runtime; 0 when none does."""
    held = onnx.load_from_string(model)
    names = [n.input[0] for n in held.graph.node if n.op_type == "DequantizeLinear" and n.input[1].endswith("_scale")]
    shown = {
        f"{tensor}_{suffix}_Output": tensor for tensor in graph.activations() for suffix in ("QuantizeLinear", "Clip")
    }
    names = [n for n in names if n in shown]
    held.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    quant = graph.quant(graph.input)
    real = ((codes.astype(np.float32) - quant.zero) * np.float32(quant.scale[0])).astype(np.float32)
    values = ort.open_ort(held.SerializeToString()).run(names, {graph.input: real * 3})
    excess = [0]
    for n, stored in zip(names, values, strict=True):
        fmt = graph.quant(shown[n]).format
        code = stored.astype(int) - (128 if fmt.signed else 0)
        excess += [int(code.max()) - fmt.max_ordinal, fmt.min_ordinal - int(code.min())]
    return max(excess)


@pytest.mark.parametrize("name", ["fitted int4", "fitted int6 int4", "fitted uint5 int2"])
def test_narrow_activations_stay_within_their_format_through_the_clip_alone(name):
    graph, codes = GRAPHS[name], codes_of(name)
    assert largest_excess(graph, qdq_model(graph).SerializeToString(), codes) == 0
    assert largest_excess(graph, without_clips(qdq_model(graph)), codes) > 0


def test_a_clip_of_codes_stands_only_where_saturation_does_not_clamp():
    graph = GRAPHS["toy int8"]
    # relu with zero point -128 is saturation; relu6 of 'c' is codes -10..90 of int8, stored with 128 added.
    assert {t: code_clip(graph, t) for t in graph.activations()} == dict.fromkeys("xabmy") | {"c": (118, 218)}
    narrow = GRAPHS["fitted int4"]
    assert code_clip(narrow, "x") == (120, 135)
    assert code_clip(narrow, "p") is None


def test_onnx_runtime_keeps_every_layer_within_a_step_on_its_own_inputs(name, tmp_path):
    reason = ort.missing()
    if reason:
        pytest.skip(reason)
    part = host_part(tmp_path, GRAPHS[name], codes_of(name))
    result = check_part(part, ort.RUNTIME)
    assert result.status in ("bit-exact", "bounded"), result.reason
    if result.status == "bounded":
        assert result.reason.startswith("every layer within 1 step of the reference on the runtime's own inputs")
    assert result.vectors == 8
    assert result.labels > 1
    assert (part.outputs != part.outputs[0]).any()
    if name in EIGHT_BITS:
        assert result.top1_agreement == 1.0
        assert result.max_steps <= 3
