"""Float biases of ONNX files, which imported graphs round to the grids of their accumulators."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import torch

from quant.formats import Array


def float_biases(model: Any) -> dict[str, torch.Tensor]:
    """Return the biases that a file has as float constants, by their names in the graph."""
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm") and len(node.input) > 2]
    normed = {name for node in model.graph.node if node.op_type == "BatchNormalization" for name in node.input}
    return {
        f"{node.name or node.output[0]}.bias": torch.from_numpy(
            constants[node.input[2]] * _spread(model, constants, node.output[0])
        )
        for node in layers
        if node.input[2] in constants and node.output[0] not in normed
    }


def _spread(model: Any, constants: Mapping[str, Array], name: str) -> Array:
    """Return the largest of the scales per channel that a layer's output gets over each of them; ones as a rule."""
    readers = [node for node in model.graph.node if name in node.input]
    while len(readers) == 1 and readers[0].op_type in ("Relu", "Clip"):
        readers = [node for node in model.graph.node if readers[0].output[0] in node.input]
    if not readers or readers[0].op_type != "QuantizeLinear":
        return np.ones(1, np.float32)
    scales = constants[readers[0].input[1]]
    return (scales.max() / scales).reshape(-1)
