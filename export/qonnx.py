"""QONNX: the quantised graph as real-valued ONNX with `Quant` and `FloatQuant` nodes, which FPGA tools read.

The file says what is computed, not how it is rounded: executors sum in float32 and round each sum once, half to even,
where the reference rounds integers by TFLite's Q31 rule, which rounds twice. docs/importing.md says how far that is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from export.errors import ExportError
from export.onnx_fragment import Fragment, Port, join
from export.onnx_ops import clip, keep_mean_dims, limits_on_grid, operator
from export.qonnx_nodes import BIAS_BITS, bias, model, quantiser, weight
from quant import operators as ops
from quant.formats import Array
from quant.graph import Graph, Node, check
from quant.onnx_quant import bias_units
from quant.program import clip_ordinals

#: What becomes of a layer's bias: (its codes, units of its accumulator) -> (codes, units, bits of their quantiser).
Biases = Callable[[Graph, Node, Array, Array], tuple[Array, Array, int | None]]


def plain_biases(graph: Graph, node: Node, codes: Array, units: Array) -> tuple[Array, Array, int | None]:
    """Leave a bias as it is, in 32 bits; a real value where a minifloat takes part."""
    wide = any(graph.quant(name).format.is_minifloat for name in node.inputs[:2])
    return codes, units, None if wide else BIAS_BITS


def qonnx_model(graph: Graph, biases: Biases = plain_biases) -> Any:
    """Return a quantised graph as a QONNX ModelProto: opset 13, a batch of 1, the shape of every tensor.

    Args:
        graph: quantised; any formats, any operators, also minifloats whose exact accumulator fits no reference.
        biases: how biases are written.

    Raises:
        ExportError: the graph is a float graph, or ONNX's checker refuses the result.
        QuantError: the graph is not well formed.
    """
    if not graph.is_quantised:
        raise ExportError(
            f"graph '{graph.name}' is a float graph; QONNX holds quantised ones. Quantise it first: edgemill quantize "
            "MODEL --scheme w8a8 --calib DATA -o OUT.graph"
        )
    graph = limits_on_grid(keep_mean_dims(check(graph)))
    start = quantiser(graph.input, on_grid(graph, graph.input), graph.quant(graph.input))
    shapes = {on_grid(graph, graph.input): graph.shape(graph.input)}
    parts = [start]
    for node in graph.nodes:
        parts.append(_node(graph, node, biases))
        shapes |= _shapes(parts[-1], graph.shape(node.output))
    ports = [Port(name, graph.shape(name)) for name in (graph.input, graph.output)]
    return model(graph.name, join(parts), ports[0], ports[1], shapes)


def on_grid(graph: Graph, tensor: str) -> str:
    """Return the ONNX name of an activation's real values on its grid."""
    return f"{tensor}_quantised" if tensor == graph.input else tensor


def _shapes(part: Fragment, made: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of what a node's ONNX nodes make: parameters keep theirs, all else has the output's."""
    constants = {item.name: tuple(item.dims) for item in part.constants}
    return {node.output[0]: constants.get(node.input[0], made) for node in part.nodes}


def _node(graph: Graph, node: Node, biases: Biases) -> Fragment:
    """Return a node on values of their grids: its parameters, the operator, its clip, its output's quantiser."""
    parameters = _parameters(graph, node, biases) if isinstance(node.op, ops.Conv | ops.Gemm) else Fragment()
    names = tuple(
        f"{parameter_name(graph, node, name)}_quantised" if name in graph.weights else on_grid(graph, name)
        for name in node.inputs
    )
    if isinstance(node.op, ops.MOVES) and not isinstance(node.op, ops.AveragePool):
        # Values of the grid stay values of the grid.
        return operator(graph, node, names, node.output)
    parts, source = [parameters], names[0]
    if not isinstance(node.op, ops.Requantize | ops.Clip):
        source = f"{node.output}_real"
        parts.append(operator(graph, node, names, source))
    limits = _limits(graph, node)
    if limits is not None:
        parts.append(clip(source, f"{node.output}_clipped", limits))
        source = f"{node.output}_clipped"
    return join((*parts, quantiser(source, node.output, graph.quant(node.output))))


def parameter_name(graph: Graph, node: Node, tensor: str) -> str:
    """Return the ONNX name of a weight or bias; one that several nodes read is written once for each."""
    return tensor if len(graph.consumers(tensor)) == 1 else f"{tensor}_{node.name}"


def _limits(graph: Graph, node: Node) -> tuple[float, float] | None:
    """Return a node's clip with its limits on the output's grid, where the reference has them; 0 and inf stay."""
    given = (node.op.low, node.op.high) if isinstance(node.op, ops.Clip) else node.clip
    if given is None:
        return None
    quant = graph.quant(node.output)
    low, high = (
        float((quant.format.units_of_ordinal(ordinal) - quant.zero) * quant.format.unit * quant.scale[0])
        for ordinal in clip_ordinals(quant, given)
    )
    return (0.0 if given[0] == 0 else low, high if given[1] < float("inf") else given[1])


def _parameters(graph: Graph, node: Node, biases: Biases) -> Fragment:
    """Return weight and bias of a layer with their quantisers."""
    x, w = graph.quant(node.inputs[0]), graph.quant(node.inputs[1])
    names = [parameter_name(graph, node, name) for name in node.inputs[1:]]
    outputs = [f"{name}_quantised" for name in names]
    codes, units, bits = biases(graph, node, graph.weights[node.inputs[2]], bias_units(x, w))
    weights = weight(names[0], outputs[0], graph.weights[node.inputs[1]], w)
    return join((weights, bias(names[1], outputs[1], codes, units, bits)))
