"""Back from codes to real values: the float network that a quantised graph stands for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph, Node, Tensor, check, with_nodes
from quant.onnx_quant import bias_units
from quant.operators import MOVES, Clip, Conv, Gemm, Requantize
from quant.passes.fuse_clip import meet

RELU = (0.0, float("inf"))


def dequantise(graph: Graph) -> Graph:
    """Return a float graph with the real values of all weights and biases, for quantising it another way.

    Fused clips stay, and a grid that begins at 0 is a Relu (writers leave out what saturation does anyway). Other
    roundings and saturations are gone: they belong to the formats.

    Raises:
        QuantError: the graph is not quantised, or computes nothing but roundings.
    """
    if not graph.is_quantised:
        raise QuantError(f"graph '{graph.name}' is a float graph; there is nothing to turn back.")
    weights = {name: _real(graph, name) for name in graph.weights}
    weights |= {node.inputs[2]: _bias(graph, node) for node in graph.nodes if isinstance(node.op, Conv | Gemm)}
    tensors = {name: Tensor(tensor.shape) for name, tensor in graph.tensors.items()}
    source: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        clip, inputs = _clip(graph, node), tuple(source.get(name, name) for name in node.inputs)
        if isinstance(node.op, Requantize) and clip is None:
            source[node.output] = inputs[0]
        elif isinstance(node.op, Requantize | Clip) and clip is not None:
            nodes.append(replace(node, op=Clip(low=clip[0], high=clip[1]), clip=None, inputs=inputs))
        else:
            nodes.append(replace(node, clip=clip, inputs=inputs))
    if not nodes:
        raise QuantError(f"graph '{graph.name}' computes nothing but roundings.")
    ends = replace(graph, output=source.get(graph.output, graph.output))
    return check(with_nodes(ends, tuple(nodes), tensors=tensors, weights=weights))


def _clip(graph: Graph, node: Node) -> tuple[float, float] | None:
    """Return a node's clip, its grid's lower end at 0 included."""
    clip = (node.op.low, node.op.high) if isinstance(node.op, Clip) else node.clip
    known = isinstance(node.op, MOVES) or (isinstance(node.op, Requantize) and _starts_at_0(graph, node.inputs[0]))
    return clip if known or not _starts_at_0(graph, node.output) else meet(clip, RELU)


def _starts_at_0(graph: Graph, tensor: str) -> bool:
    quant = graph.quant(tensor)
    return not quant.format.is_minifloat and quant.zero == quant.format.min_ordinal


def _real(graph: Graph, name: str) -> Array:
    quant = graph.tensors[name].quant
    if quant is None:
        return graph.weights[name]
    scale = np.array(quant.scale).reshape(-1, *(1 for _ in graph.shape(name)[1:]))
    values: Array = (quant.format.decode(graph.weights[name]) * scale).astype(np.float32)
    return values


def _bias(graph: Graph, layer: Node) -> Array:
    x, weight, bias = layer.inputs
    units = bias_units(graph.quant(x), graph.quant(weight))
    values: Array = (graph.weights[bias].astype(np.float64) * units).astype(np.float32)
    return values
