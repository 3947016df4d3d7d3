"""A float graph as FP16 ONNX: float16 constants and arithmetic between a Cast of the input and a Cast of the output."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

from export.errors import ExportError
from export.onnx_fragment import Fragment, Port, constant, join, model, operation
from export.onnx_ops import clip, keep_mean_dims, operator
from quant.formats import Array
from quant.graph import Graph, Node

HALF: np.dtype[Any] = np.dtype(np.float16)


def half_model(graph: Graph, opset: int) -> Any:
    """Return a float graph as an ONNX model of batch 1 with float32 input and output.

    Raises:
        ExportError: the graph is quantised, a weight is beyond float16, or the ONNX checker refuses the result.
    """
    if graph.is_quantised:
        raise ExportError(f"graph '{graph.name}' is quantised; FP16 is written from the float graph.")
    graph = keep_mean_dims(graph)
    first, last = f"{graph.input}_half", f"{graph.output}_half"
    weights = (constant(name, half(name, values)) for name, values in graph.weights.items())
    nodes = (_node(graph, node, {graph.input: first, graph.output: last}) for node in graph.nodes)
    to_half = operation("Cast", (graph.input,), first, {"to": onnx.TensorProto.FLOAT16})
    to_float = operation("Cast", (last,), graph.output, {"to": onnx.TensorProto.FLOAT})
    ports = [Port(name, graph.shape(name)) for name in (graph.input, graph.output)]
    return model(graph.name, join((*weights, to_half, *nodes, to_float)), ports[0], ports[1], opset)


def half(name: str, values: Array) -> Array:
    """Return float weights as float16; a weight that becomes infinite is refused."""
    limit = float(np.finfo(np.float16).max)
    largest = float(np.abs(values).max(initial=0.0))
    if largest > limit:
        raise ExportError(
            f"weight '{name}' holds {largest:g}, beyond float16 ({limit:g}). Rescale the layer, or use a board that "
            "executes int8."
        )
    return values.astype(np.float16)


def _node(graph: Graph, node: Node, renamed: dict[str, str]) -> Fragment:
    inputs = tuple(renamed.get(name, name) for name in node.inputs)
    output = renamed.get(node.output, node.output)
    if node.clip is None:
        return operator(graph, node, inputs, output, HALF)
    raw = f"{output}_{node.kind}_Output"
    return join((operator(graph, node, inputs, raw, HALF), clip(raw, output, node.clip, HALF)))
