"""Float biases of ONNX files, which imported graphs round to the grids of their accumulators."""

from __future__ import annotations

from typing import Any

import onnx
import torch


def float_biases(model: Any) -> dict[str, torch.Tensor]:
    """Return the biases that a file has as float constants, by their names in the graph."""
    constants = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    layers = [node for node in model.graph.node if node.op_type in ("Conv", "Gemm") and len(node.input) > 2]
    normed = {name for node in model.graph.node if node.op_type == "BatchNormalization" for name in node.input}
    found = {f"{n.name or n.output[0]}.bias": constants.get(n.input[2]) for n in layers if n.output[0] not in normed}
    return {name: torch.from_numpy(value.copy()) for name, value in found.items() if value is not None}
