"""Operators on codes as ONNX Runtime writes them (QOperator), against ONNX Runtime itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("torch", reason="torch is not installed")

from quant.errors import QuantError  # noqa: E402
from quant.onnx_import import load_onnx  # noqa: E402
from tests.foreign import agreement, run_ort  # noqa: E402
from tests.onnx_models import NODE, images, save, weights  # noqa: E402
from tests.ort_static import static  # noqa: E402
from tests.test_quant_onnx_qdq import SHAPE, real, small_net  # noqa: E402

# torch warns of its own deprecated parts.
pytestmark = pytest.mark.filterwarnings("ignore")
WAYS: dict[str, dict[str, Any]] = {
    "u8 per channel": {},
    "u8 per tensor": {"per_channel": False},
    "s8": {"activation": "s8"},
    "s8 symmetric": {"activation": "s8", "ActivationSymmetric": True},
    "u8 weights": {"weight": "u8", "WeightSymmetric": True, "per_channel": False},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_small_net(tmp_path, way):
    x = images(SHAPE, 96) * 2
    path = static(small_net(tmp_path / "float.onnx"), tmp_path / "codes.onnx", x[:64], form="QOperator", **WAYS[way])
    found = agreement(path, x[64:], run_ort(path, x[64:]))
    print(f"{way}: {found}")
    # ONNX Runtime sums integers, multiplies in float and rounds half to even; the Q31 rule rounds twice.
    assert found.steps <= 1
    assert found.share <= 0.006
    assert found.emulated_steps <= 1
    assert found.emulated_share <= 5e-5
    assert found.labels >= 0.9


def test_the_same_graph_as_from_qdq(tmp_path):
    """Both forms of one calibration: the same codes, scales and zero points of weights."""
    x = images(SHAPE, 64) * 2
    source = small_net(tmp_path / "float.onnx")
    qdq = load_onnx(static(source, tmp_path / "qdq.onnx", x))
    codes = load_onnx(static(source, tmp_path / "codes.onnx", x, form="QOperator"))
    layers = [[n for n in graph.nodes if n.kind in ("Conv", "Gemm") and "avg" not in n.name] for graph in (qdq, codes)]
    assert [n.op for n in layers[0]] == [n.op for n in layers[1]]
    for ours, theirs in zip(*layers, strict=True):
        assert np.array_equal(qdq.weights[ours.inputs[1]], codes.weights[theirs.inputs[1]])
        assert np.array_equal(qdq.weights[ours.inputs[2]], codes.weights[theirs.inputs[2]])
        assert qdq.quant(ours.output) == codes.quant(theirs.output)


@pytest.mark.parametrize("activation", ["u8", "u16"])
def test_quantisers_of_the_microsoft_domain(tmp_path, activation):
    """What ONNX Runtime wrote before standard ONNX had 16-bit codes."""
    x = images(SHAPE, 64) * 2
    path = tmp_path / "qdq.onnx"
    static(small_net(tmp_path / "float.onnx"), path, x[:32], activation=activation, UseQDQContribOps=True)
    assert {n.domain for n in onnx.load(path).graph.node if n.op_type == "QuantizeLinear"} == {"com.microsoft"}
    found = agreement(path, x[32:], run_ort(path, x[32:]))
    print(f"{activation}: {found}")
    assert found.steps <= 1
    assert found.emulated_steps <= 1
    assert load_onnx(path).quant("x").format.name == f"int{activation[1:]}"


@pytest.mark.parametrize("name", ["resnet8", "kws"])
def test_a_real_network(tmp_path, name):
    source, calibration, x = real(name)
    path = static(source, tmp_path / "codes.onnx", calibration, form="QOperator")
    found = agreement(path, x[:16], run_ort(path, x[:16]))
    print(f"{name}: {found}")
    assert found.steps <= 1
    assert found.share <= 0.004
    assert found.emulated_share <= 1e-5
    assert found.labels >= 0.9


def linear(kind: str, x: str, weight: str, bias: str = "", **attributes: Any) -> Any:
    """An operator on codes with the grids of `codes_model`."""
    inputs = [x, "s", "z", weight, "ws", "wz"]
    inputs += [bias, "s", "z"] if kind == "QGemm" else ["s", "z", *([bias] if bias else [])]
    domain = (
        "" if (kind.startswith("QLinearC") and kind != "QLinearConcat") or kind == "QLinearMatMul" else "com.microsoft"
    )
    return NODE(kind, inputs, ["y_q"], name="layer", domain=domain, **attributes)


def codes_model(path: Path, node: Any, weight: Any, shape: tuple[int, ...], **more: Any) -> Path:
    constants = {
        "s": np.float32(0.05),
        "z": np.uint8(120),
        "ws": np.float32(0.01),
        "wz": np.int8(0),
        "w": weight,
        **more,
    }
    nodes = [
        NODE("QuantizeLinear", ["x", "s", "z"], ["x_q"], name="q"),
        node,
        NODE("DequantizeLinear", ["y_q", "s", "z"], ["y"], name="dq"),
    ]
    return save(path, nodes, constants, shape, domains=("com.microsoft",), check=False)


MATRIX = np.clip(np.rint(weights(6, 5) / 0.01), -127, 127).astype(np.int8)
CASES: dict[str, Any] = {
    "QLinearMatMul": (linear("QLinearMatMul", "x_q", "w"), MATRIX, (1, 6), {}),
    "QLinearMatMul per column": (
        linear("QLinearMatMul", "x_q", "w"),
        MATRIX,
        (1, 6),
        {"ws": np.linspace(0.01, 0.03, 5).astype(np.float32), "wz": np.zeros(5, np.int8)},
    ),
    "QGemm": (
        linear("QGemm", "x_q", "w", "b", transB=1),
        MATRIX.T.copy(),
        (1, 6),
        {"b": np.arange(5, dtype=np.int32) * 99},
    ),
    "QLinearConv": (
        linear("QLinearConv", "x_q", "w", "b", pads=[1, 1, 1, 1], strides=[2, 2]),
        np.clip(np.rint(weights(4, 3, 3, 3) / 0.01), -127, 127).astype(np.int8),
        (1, 3, 6, 6),
        {"b": np.arange(4, dtype=np.int32) * 300},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_single_operators(tmp_path, name):
    node, weight, shape, more = CASES[name]
    path = codes_model(tmp_path / "model.onnx", node, weight, shape, **more)
    graph = load_onnx(path)
    assert [n.kind for n in graph.nodes] == ["Conv" if "Conv" in name else "Gemm"]
    x = images(shape, 64) * 2
    values = run_ort(path, x)
    theirs = values["y_q"].astype(int) - 128
    from quant.program import lower
    from quant.reference import quantise_input, run

    ours = run(lower(graph), quantise_input(graph.quant(graph.input), x))[graph.output].astype(int)
    assert len(np.unique(ours)) > 20
    assert np.abs(ours - theirs).max() <= 1
    assert (ours != theirs).mean() <= 0.01


REFUSED = {
    "channels_last=1 is not supported; use NCHW": NODE(
        "QLinearGlobalAveragePool", ["x_q", "s", "z", "s", "z"], ["y_q"], domain="com.microsoft", channels_last=1
    ),
    "dynamic quantisation computes scales": NODE("ConvInteger", ["x_q", "w", "z", "wz"], ["y_q"], name="layer"),
    "op QLinearSoftmax": NODE("QLinearSoftmax", ["x_q", "s", "z", "s", "z"], ["y_q"], domain="com.microsoft"),
    "its weights 'y_q.1.real' have zero point 5; only symmetric": linear("QLinearConv", "x_q", "w"),
    "its scale 's' must be a constant": linear("QLinearConv", "x_q", "w", "b"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(tmp_path, message):
    more: dict[str, Any] = {"wz": np.int8(5)} if "zero point" in message else {}
    path = codes_model(
        tmp_path / "model.onnx", REFUSED[message], weights(4, 3, 3, 3).astype(np.int8), (1, 3, 6, 6), **more
    )
    if "constant" in message:
        model = onnx.load(path)
        kept = [item for item in model.graph.initializer if item.name != "s"]
        del model.graph.initializer[:]
        model.graph.initializer.extend([*kept, onnx.numpy_helper.from_array(np.zeros(4, np.int32), "b")])
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(0.05), "s0"))
        model.graph.node.insert(0, NODE("Abs", ["s0"], ["s"], name="abs"))
        path.write_bytes(model.SerializeToString())
    with pytest.raises(QuantError) as error:
        load_onnx(path)
    assert message in str(error.value)
    assert "node '" in str(error.value)
    assert "\n" not in str(error.value)
