"""Activations with a scale per channel before depthwise convolutions, and biases that fill int32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("torch", reason="torch is not installed")

from quant.errors import QuantError
from quant.onnx_import import load_onnx
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from tests.foreign import run_ort
from tests.onnx_models import NODE, images, save, weights

SHAPE = (1, 3, 6, 6)
SCALES = np.array([0.004, 0.01, 0.0235294122248888, 0.007], np.float32)
CONSTANTS: dict[str, Any] = {
    "s": np.float32(0.03),
    "z": np.uint8(120),
    "o": np.float32(0.02),
    "w": np.clip(np.rint(weights(4, 3, 3, 3) / 0.01), -127, 127).astype(np.int8),
    "ws": np.linspace(0.002, 0.004, 4).astype(np.float32),
    "wz": np.zeros(4, np.int8),
    "b": weights(4),
    "d": np.clip(np.rint(weights(8, 1, 3, 3) / 0.01), -127, 127).astype(np.int8),
    "ds": np.linspace(0.01, 0.02, 8).astype(np.float32),
    "dz": np.zeros(8, np.int8),
    "c": SCALES,
    "cz": np.zeros(4, np.uint8),
    "low": np.float32(0),
    "high": np.float32(6),
    "tight": np.float32(1),
    "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
}
HEAD = [
    NODE("QuantizeLinear", ["x", "s", "z"], ["x_q"], name="q_x"),
    NODE("DequantizeLinear", ["x_q", "s", "z"], ["x_d"]),
    NODE("DequantizeLinear", ["w", "ws", "wz"], ["w_d"], axis=0),
    NODE("Conv", ["x_d", "w_d", "b"], ["t"], name="stem"),
]


def channels(source: str, axis: int = 1) -> list[Any]:
    return [
        NODE("QuantizeLinear", [source, "c", "cz"], ["t_q"], name="q_t", axis=axis),
        NODE("DequantizeLinear", ["t_q", "c", "cz"], ["t_d"], axis=axis),
    ]


def depthwise(source: str) -> list[Any]:
    return [
        NODE("DequantizeLinear", ["d", "ds", "dz"], ["d_d"], axis=0),
        NODE("Conv", [source, "d_d"], ["u"], name="depthwise", group=4, pads=[1, 1, 1, 1]),
        NODE("QuantizeLinear", ["u", "o", "z"], ["u_q"]),
        NODE("DequantizeLinear", ["u_q", "o", "z"], ["y"]),
    ]


def model(path: Path, nodes: list[Any], **constants: Any) -> Path:
    return save(path, [*HEAD, *nodes], {**CONSTANTS, **constants}, SHAPE, check=False)


#: Behind the convolution -> the reader of the tensor with a scale per channel.
CASES = {
    "relu": [NODE("Relu", ["t"], ["r"]), *channels("r"), *depthwise("t_d")],
    "relu6": [NODE("Clip", ["t", "low", "high"], ["r"]), *channels("r"), *depthwise("t_d")],
    "pad": [
        NODE("Relu", ["t"], ["r"]),
        *channels("r"),
        NODE("Pad", ["t_d", "pads"], ["p"], name="pad"),
        *depthwise("p"),
    ],
    "no clip": [*channels("t"), *depthwise("t_d")],
}


@pytest.mark.parametrize("name", CASES)
def test_the_very_codes(tmp_path, name):
    path = model(tmp_path / "model.onnx", CASES[name])
    graph, x = load_onnx(path), images(SHAPE, 32) * 2
    values = run_ort(path, x)
    codes = run(lower(graph), quantise_input(graph.quant("x"), x), fast_dot)
    stem, final = ("stem", graph.output)
    made = next(node.output for node in graph.nodes if node.name == stem)
    # 6 is code 255 of the channel with the largest scale, and beyond the codes of the others: no clip is left.
    assert next(node.clip for node in graph.nodes if node.name == stem) in (None, (0.0, float("inf")))
    for tensor, theirs in ((made, values["t_q"]), (final, values["u_q"])):
        ours = codes[tensor].astype(int) + 128
        assert len(np.unique(theirs)) > 50
        assert np.abs(ours - theirs.astype(int)).max() <= 1
        assert (ours != theirs).mean() <= 0.01
    assert graph.quant(made).scale == (float(SCALES.max()),)


REFUSED: dict[str, list[Any]] = {
    "a clip to [0.0, 1.0] that codes exceed": [
        NODE("Clip", ["t", "low", "tight"], ["r"]),
        *channels("r"),
        *depthwise("t_d"),
    ],
    "activation scales must run along axis 1": [*channels("t", 2), *depthwise("t_d")],
    "supported right behind a layer": [
        NODE("GlobalAveragePool", ["t"], ["r"]),
        *channels("r"),
        NODE("MaxPool", ["t_d"], ["y"], kernel_shape=[1, 1]),
    ],
    "that nothing else reads": [*channels("t"), NODE("Concat", ["t_d", "t"], ["y"], axis=1)],
    "which only a depthwise convolution can read": [*channels("t"), NODE("Add", ["t_d", "t_d"], ["y"], name="add")],
    "which only a depthwise convolution can read.": [
        *channels("t"),
        NODE("DequantizeLinear", ["k", "ws", "wz"], ["k_d"], axis=0),
        NODE("Conv", ["t_d", "k_d"], ["y"], name="full"),
    ],
}


@pytest.mark.parametrize("message", REFUSED)
def test_refusals(tmp_path, message):
    constants = {"k": np.ones((4, 4, 1, 1), np.int8)}
    with pytest.raises(QuantError) as error:
        load_onnx(model(tmp_path / "model.onnx", REFUSED[message], **constants))
    assert message.rstrip(".") in str(error.value)
    assert "node '" in str(error.value)
    assert "one scale" in str(error.value)


def test_a_bias_that_fills_int32(tmp_path):
    """A channel whose weights are all but zero: its scale is doubled, and no output moves by a step."""
    scale = np.array([0.002, 0.002, 1e-9, 0.002], np.float32)
    bias = np.array([0, 100, (1 << 31) - 1, -50], np.int32)
    nodes = [
        *HEAD[:3],
        NODE("DequantizeLinear", ["bias", "bs", "bz"], ["b_d"], axis=0),
        NODE("Conv", ["x_d", "w_d", "b_d"], ["t"], name="stem"),
        NODE("QuantizeLinear", ["t", "o", "z"], ["t_q"]),
        NODE("DequantizeLinear", ["t_q", "o", "z"], ["y"]),
    ]
    constants = {"ws": scale, "bias": bias, "bs": scale * np.float32(0.03), "bz": np.zeros(4, np.int32)}
    path = save(tmp_path / "model.onnx", nodes, {**CONSTANTS, **constants}, SHAPE, check=False)
    graph, x = load_onnx(path), images(SHAPE, 16) * 2
    ours = run(lower(graph), quantise_input(graph.quant("x"), x), fast_dot)[graph.output].astype(int) + 128
    theirs = run_ort(path, x)["t_q"].astype(int)
    assert len(np.unique(theirs)) > 50
    assert np.abs(ours - theirs).max() <= 1
    # The other channels keep their codes.
    others = [0, 1, 3]
    assert np.array_equal(graph.weights["stem.weight"][others], CONSTANTS["w"][others])
    assert graph.quant("stem.weight").scale[2] == pytest.approx(2e-9)
    assert graph.weights["stem.bias"].tolist() == [0, 100, 1 << 30, -50]
