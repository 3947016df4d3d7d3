"""ONNX Runtime's own post-training quantisation, as the importer meets it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from quant.formats import Array
from quant.graph import Graph
from quant.operators import Conv, Gemm

TYPES = {"u8": QuantType.QUInt8, "s8": QuantType.QInt8, "u16": QuantType.QUInt16, "s16": QuantType.QInt16}


class Batches(CalibrationDataReader):  # type: ignore[misc]
    """Feeds calibration inputs in batches of 8."""

    def __init__(self, name: str, inputs: Array):
        self.feeds = iter([{name: inputs[i : i + 8]} for i in range(0, len(inputs), 8)])

    def get_next(self) -> dict[str, Array] | None:
        """Return the next batch, or None at the end."""
        return next(self.feeds, None)


def static(path: Path, out: Path, inputs: Array, activation: str = "u8", **more: Any) -> Path:
    """Quantise a float file; `more`: form (QDQ), weight, per_channel, method, and extra options by ORT's names."""
    quantize_static(
        str(path),
        str(out),
        Batches(onnx.load(path).graph.input[0].name, inputs),
        quant_format=QuantFormat[more.pop("form", "QDQ")],
        per_channel=more.pop("per_channel", True),
        activation_type=TYPES[activation],
        weight_type=TYPES[more.pop("weight", "s8")],
        calibrate_method=getattr(CalibrationMethod, more.pop("method", "MinMax")),
        extra_options=more,
    )
    return out


def stored_weights(path: Path) -> list[Array]:
    """Return the weights of Conv and Gemm as the file stores them, [O, ...], float ones included, in node order."""
    model = onnx.load(path)
    values = {item.name: numpy_helper.to_array(item) for item in model.graph.initializer}
    makers = {node.output[0]: node for node in model.graph.node}
    found = []
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            name = node.input[1]
            while name not in values:
                name = makers[name].input[0]
            attributes = {item.name: item.i for item in node.attribute}
            turned = node.op_type != "Conv" and not attributes.get("transB", 0)
            found.append(values[name].T if turned else values[name])
    return found


def assert_same_codes(path: Path, graph: Graph) -> None:
    """Assert that every weight code of a graph is the code in the file (unsigned ones shifted)."""
    layers = [node for node in graph.nodes if isinstance(node.op, Conv | Gemm)]
    stored = stored_weights(path)
    assert len(layers) == len(stored)
    for node, codes in zip(layers, stored, strict=True):
        assert codes.dtype.kind in "iu"
        shift = 128 if codes.dtype == np.uint8 else 0
        assert np.array_equal(graph.weights[node.inputs[1]].astype(int), codes.astype(int) - shift), node.name
        assert len(np.unique(codes)) > 8
