"""The QDQ dialect of the target `host`: opset 17, unsigned activations, int32 biases, a Q/DQ pair behind every node.

ONNX Runtime turns this dialect into integer kernels without a rest. What that takes:

* int8 activation codes are stored as uint8 (code + 128), which its x86 kernels prefer; weights stay int8;
* biases are int32 with scale s_x * s_w, so that DequantizeLinear -> Conv -> QuantizeLinear has no float input;
* nothing stands between an operator and its QuantizeLinear. An activation that saturation does not already give is
  a Clip of the *codes* behind QuantizeLinear; this clamps exactly as the reference does, and also holds activations
  of fewer than 8 bits, which are stored as uint8.

Names follow ONNX Runtime's own tools: tensor `t` is `t_QuantizeLinear_Output` as codes and `t_DequantizeLinear_Output`
as real values; the graph's input and output keep their names and are float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from export.errors import ExportError
from export.onnx_fragment import Fragment, Port, constant, join, model, operation, scalar
from export.onnx_ops import keep_mean_dims, limits_on_grid, operator
from quant import operators as ops
from quant.formats import Array, Format
from quant.graph import Graph, Node, Quant
from quant.program import clip_ordinals

OPSET = 17
#: Added to signed activation codes to store them as uint8.
SHIFT = 128


def code_shift(fmt: Format) -> int:
    """Return what is added to activation codes of a format to store them as uint8."""
    return SHIFT if fmt.signed else 0


def codes_name(graph: Graph, tensor: str) -> str:
    """Return the ONNX name of an activation's stored codes (code + `code_shift`)."""
    return f"{tensor}_Clip_Output" if code_clip(graph, tensor) else f"{tensor}_QuantizeLinear_Output"


def real_name(graph: Graph, tensor: str) -> str:
    """Return the ONNX name of an activation's dequantised values."""
    return tensor if tensor == graph.output else f"{tensor}_DequantizeLinear_Output"


def qdq_model(graph: Graph) -> Any:
    """Return a quantised integer graph as an ONNX model with a dynamic batch axis `N`.

    Raises:
        ExportError: a zero point does not fit uint8, or the ONNX checker refuses the result.
    """
    graph = limits_on_grid(keep_mean_dims(graph))
    body = join((_quantise(graph, graph.input, graph.input), *(_node(graph, node) for node in graph.nodes)))
    ports = [Port(name, ("N", *graph.shape(name)[1:])) for name in (graph.input, graph.output)]
    return model(graph.name, body, ports[0], ports[1], OPSET)


def code_clip(graph: Graph, tensor: str) -> tuple[int, int] | None:
    """Return the limits of the stored codes of a tensor where uint8 saturation alone does not give them."""
    quant, producer = graph.quant(tensor), graph.producer(tensor)
    if producer is not None and isinstance(producer.op, ops.MOVES):
        return None
    limits = None if producer is None else _activation(producer)
    low, high = (limit + code_shift(quant.format) for limit in clip_ordinals(quant, limits))
    return None if (low, high) == (0, 255) else (low, high)


def _activation(node: Node) -> tuple[float, float] | None:
    return (node.op.low, node.op.high) if isinstance(node.op, ops.Clip) else node.clip


def _node(graph: Graph, node: Node) -> Fragment:
    """Return the node between its dequantised inputs and its own Q/DQ pair."""
    if isinstance(node.op, ops.Requantize | ops.Clip):
        return _quantise(graph, node.output, real_name(graph, node.inputs[0]))
    raw = f"{node.output}_QuantizeLinear_Input" if node.output == graph.output else node.output
    parameters = _parameters(graph, node) if isinstance(node.op, ops.Conv | ops.Gemm) else Fragment()
    names = tuple(
        parameter_name(graph, node, name) + "_DequantizeLinear_Output"
        if name in graph.weights
        else real_name(graph, name)
        for name in node.inputs
    )
    return join((parameters, operator(graph, node, names, raw), _quantise(graph, node.output, raw)))


def _quantise(graph: Graph, tensor: str, source: str) -> Fragment:
    """Return QuantizeLinear, the Clip of the codes where needed, and DequantizeLinear of an activation."""
    quant, limits = graph.quant(tensor), code_clip(graph, tensor)
    grid = (f"{tensor}_scale", f"{tensor}_zero_point")
    quantised, codes = f"{tensor}_QuantizeLinear_Output", codes_name(graph, tensor)
    parts = [
        scalar(grid[0], quant.scale[0], np.dtype(np.float32)),
        scalar(grid[1], _stored_zero(quant, tensor), np.dtype(np.uint8)),
        operation("QuantizeLinear", (source, *grid), quantised),
    ]
    if limits:
        bounds = (f"{tensor}_code_min", f"{tensor}_code_max")
        parts += [scalar(n, v, np.dtype(np.uint8)) for n, v in zip(bounds, limits, strict=True)]
        parts.append(operation("Clip", (quantised, *bounds), codes))
    parts.append(operation("DequantizeLinear", (codes, *grid), real_name(graph, tensor)))
    return join(parts)


def _stored_zero(quant: Quant, tensor: str) -> int:
    """Return the zero point as the file stores it; numpy would wrap one that does not fit."""
    stored = quant.zero + code_shift(quant.format)
    if not 0 <= stored <= 255:
        raise ExportError(
            f"activation '{tensor}' ({quant.format.name}) has zero point {quant.zero}, which uint8 cannot store as "
            f"{stored}; allowed is {-code_shift(quant.format)} to {255 - code_shift(quant.format)}. Quantise again."
        )
    return stored


def parameter_name(graph: Graph, node: Node, tensor: str) -> str:
    """Return the ONNX name of a weight or bias; one that several nodes read is written once for each."""
    return tensor if len(graph.consumers(tensor)) == 1 else f"{tensor}_{node.name}"


def _parameters(graph: Graph, node: Node) -> Fragment:
    x, w = graph.quant(node.inputs[0]), graph.quant(node.inputs[1])
    names = [parameter_name(graph, node, tensor) for tensor in node.inputs[1:]]
    weight, bias = (graph.weights[tensor] for tensor in node.inputs[1:])
    scale = np.array(w.scale, dtype=np.float32)
    bias_scale = np.float32(x.scale[0]) * scale
    return join(
        (
            dequantised_constant(names[0], weight.astype(np.int8), scale),
            dequantised_constant(names[1], bias.astype(np.int32), bias_scale),
        )
    )


def dequantised_constant(name: str, codes: Array, scale: Array) -> Fragment:
    """Return integer codes and their DequantizeLinear, per channel of axis 0 when there are several scales.

    Args:
        name: the tensor's name; the codes become `name_quantized`.
        codes: int8 or int32 codes.
        scale: float32, one element or one per index of axis 0.
    """
    several = scale.size > 1
    shape = scale.shape if several else ()
    names = (f"{name}_quantized", f"{name}_scale", f"{name}_zero_point")
    return join(
        (
            constant(names[0], codes),
            Fragment((), constant(names[1], scale).constants) if several else scalar(names[1], scale[0], scale.dtype),
            constant(names[2], np.zeros(shape, codes.dtype)) if several else scalar(names[2], 0, codes.dtype),
            operation("DequantizeLinear", names, f"{name}_DequantizeLinear_Output", {"axis": 0} if several else {}),
        )
    )


def stored_codes(quant: Quant, codes: Array) -> Array:
    """Return activation codes as the file stores them (uint8)."""
    return (codes.astype(np.int64) + code_shift(quant.format)).astype(np.uint8)


def graph_codes(quant: Quant, stored: Array) -> Array:
    """Return stored uint8 codes as codes of the graph's format."""
    return (stored.astype(np.int64) - code_shift(quant.format)).astype(quant.format.dtype)
