"""Import ONNX into a `Graph`: float models, and models quantised elsewhere.

Understood are QDQ (ONNX Runtime, NNCF), QCDQ (Brevitas: fewer bits as clipped codes), operators on codes (the QOperator
files of ONNX Runtime) and QONNX (`Quant`, `FloatQuant`; `BipolarQuant` of weights).

QDQ: each QuantizeLinear -> DequantizeLinear pair names the number format of the tensor it reads; both vanish, and the
readers of the pair read the codes. uint8 codes become int8 (zero point - 128), which is the same function. A
tensor whose dequantised values are quantised again with other parameters gets a Requantize node. Scales that are
missing are an error, never guessed; only the output may be left in real values (`quant.onnx_output`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from quant import onnx_nodes as convert
from quant import operators as ops
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph, Quant, check
from quant.onnx_build import Build, start
from quant.onnx_codes import clip_constant, dequantize, on_codes, quantize
from quant.onnx_complete import complete
from quant.onnx_fold import DAMAGED, first_line
from quant.onnx_quant import finish_bias, quantise_constant
from quant.onnx_read import read_onnx


def load_onnx(path: Path) -> Graph:
    """Import a float or QDQ ONNX model.

    Raises:
        QuantError: the file cannot be read, or holds something that is not understood; the message names the node,
            its op, input shapes and opset, and lists what is supported.
    """
    build = start(read_onnx(path))
    for node in build.model.nodes:
        try:
            _add_node(build, node)
        except DAMAGED as error:
            # What the ONNX checker lets pass: attributes of the wrong length, constants of the wrong type, ...
            why = f"its attributes and inputs do not fit together ({type(error).__name__}: {first_line(error)})."
            raise convert.refuse(build.model, node, why) from error
    if not build.nodes:
        raise QuantError(f"{path}: the model computes nothing.")
    graph = build.graph()
    return check(complete(graph) if build.quants or build.constants else graph)


def _add_node(build: Build, node: Any) -> None:
    plain = node.domain in ("", "ai.onnx")
    if not plain or node.op_type not in convert.SUPPORTED:
        raise convert.refuse(
            build.model,
            node,
            f"this operator is not supported{'' if plain else f' (domain {node.domain})'}. "
            f"Supported: {', '.join(convert.SUPPORTED)}. Rewrite it with these, or cut the model before it.",
        )
    if node.op_type == "DequantizeLinear":
        dequantize(build, node)
    elif any(name in build.codes for name in node.input):
        on_codes(build, node)
    elif node.op_type == "QuantizeLinear":
        quantize(build, node)
    elif node.op_type == "Clip" and build.is_constant(node.input[0]):
        clip_constant(build, node)
    else:
        _add_float(build, node)


def _add_float(build: Build, node: Any) -> None:
    match node.op_type:
        case "Identity" | "Dropout":
            if node.op_type == "Dropout" and convert.number(build.model, node, 2):
                raise convert.refuse(build.model, node, "training_mode is on; export the model in evaluation mode.")
            build.alias[node.output[0]] = build.activation(node, 0)
        case "Conv":
            _conv(build, node)
        case "Gemm" | "MatMul":
            _gemm(build, node)
        case "Add":
            _add(build, node)
        case "BatchNormalization":
            _batch_norm(build, node)
        case _:
            count = len(node.input) if node.op_type == "Concat" else 1
            names = tuple(build.activation(node, i) for i in range(count))
            build.emit(node, convert.simple(build.model, node), names)
            build.pass_grid()


def _weight(build: Build, node: Any, index: int) -> tuple[Array, Quant | None]:
    """Return a weight as float values, or as codes with their format."""
    name = node.input[index]
    if not build.is_constant(name):
        raise convert.refuse(build.model, node, f"weight input {index} ('{name}') must be a constant.")
    value = build.model.constants[build.source(name)]
    return quantise_constant(build.model, node, value, build.constants.get(name))


def _bias(build: Build, node: Any, weight: Array, quant: Quant | None) -> Array:
    """Return the bias [out] as float values, or in accumulator units of a layer with quantised weights."""
    out, name = weight.shape[0], node.input[2] if len(node.input) > 2 else ""
    value, stored = np.zeros(out, dtype=np.float32), None
    if name:
        if not build.is_constant(name):
            raise convert.refuse(build.model, node, f"bias input 2 ('{name}') must be a constant.")
        value, stored = build.model.constants[build.source(name)], build.constants.get(name)
        if value.size not in (1, out) or value.size != (value.shape or (1,))[-1]:
            raise convert.refuse(build.model, node, f"bias of shape {list(value.shape)} for {out} outputs.")
    value = np.broadcast_to(value.reshape(-1), (out,))
    x = build.quants.get(build.source(node.input[0]))
    return finish_bias(build.model, node, value, stored, x, quant)


def _layer(build: Build, node: Any, op: ops.Operator, weight: Array, quant: Quant | None) -> None:
    if quant is not None and quant.axis != 0:
        raise convert.refuse(build.model, node, "weight scales must run along the output channels.")
    x, bias, label = build.activation(node, 0), _bias(build, node, weight, quant), build.label(node)
    names = build.parameter(f"{label}.weight", weight), build.parameter(f"{label}.bias", bias)
    if quant is not None:
        build.quants[names[0]] = quant
    build.emit(node, op, (x, *names), label)


def _conv(build: Build, node: Any) -> None:
    weight, quant = _weight(build, node, 1)
    if weight.ndim != 4:
        raise convert.refuse(build.model, node, "only 2-D convolutions are supported.")
    strides, pads, dilations = convert.window(build.model, node, (weight.shape[2], weight.shape[3]))
    groups, channels = int(convert.attributes(node).get("group", 1)), build.model.shapes[node.input[0]][1]
    if groups < 1 or weight.shape[0] % groups or weight.shape[1] * groups != channels:
        raise convert.refuse(build.model, node, f"weights {list(weight.shape)} do not fit {groups} groups.")
    op = ops.Conv(strides=strides, pads=pads, dilations=dilations, groups=groups)
    _layer(build, node, op, weight, quant)


def _gemm(build: Build, node: Any) -> None:
    attrs = convert.attributes(node)
    if attrs.get("alpha", 1.0) != 1.0 or attrs.get("beta", 1.0) != 1.0 or attrs.get("transA", 0):
        raise convert.refuse(build.model, node, "only alpha = beta = 1 and transA = 0 are supported.")
    if len(build.model.shapes[node.input[0]]) != 2:
        raise convert.refuse(build.model, node, "only [batch, features] inputs are supported; put a Flatten before.")
    weight, quant = _weight(build, node, 1)
    if weight.ndim != 2:
        raise convert.refuse(build.model, node, "only a matrix of weights is supported.")
    if not attrs.get("transB", 0):
        weight = np.ascontiguousarray(weight.T)
        if quant is not None and len(quant.scale) > 1:
            quant = Quant(quant.format, quant.scale, quant.zero, 1 - (quant.axis or 0))
    if weight.shape[1] != (features := build.model.shapes[node.input[0]][1]):
        raise convert.refuse(build.model, node, f"weights for {weight.shape[1]} features, its input has {features}.")
    _layer(build, node, ops.Gemm(), weight, quant)


def _add(build: Build, node: Any) -> None:
    fixed = [i for i in (0, 1) if build.is_constant(node.input[i])]
    if fixed:
        _add_bias(build, node, fixed[0])
        return
    names = (build.activation(node, 0), build.activation(node, 1))
    if build.shapes[names[0]] != build.shapes[names[1]]:
        raise convert.refuse(build.model, node, "broadcasting is not supported.")
    build.emit(node, ops.Add(), names)


def _add_bias(build: Build, node: Any, index: int) -> None:
    """Fold an added constant into the bias of the Gemm or Conv before it (MatMul + Add)."""
    source, value = build.source(node.input[1 - index]), build.model.constants[build.source(node.input[index])]
    last = build.nodes[-1] if build.nodes else None
    if last is None or last.output != source or not isinstance(last.op, ops.Gemm | ops.Conv):
        raise convert.refuse(build.model, node, "adding a constant is supported right behind MatMul, Gemm or Conv.")
    if build.readers[source] > 1:
        raise convert.refuse(build.model, node, f"something else reads '{source}' without the added constant.")
    bias, shape = build.weights[last.inputs[2]], build.shapes[source]
    channels = (1, bias.size, *(1 for _ in shape[2:]))
    aligned = (1,) * (len(shape) - value.ndim) + value.shape
    if source in build.quants or node.input[index] in build.constants or aligned not in (channels, (1,) * len(shape)):
        raise convert.refuse(build.model, node, "only one float constant per output channel can be added.")
    if bias.dtype.kind != "f":
        raise convert.refuse(build.model, node, "its weights are quantised; add the constant as the layer's bias.")
    build.weights[last.inputs[2]] = bias + value.reshape(-1).astype(np.float32)
    build.alias[node.output[0]] = source
    # Its only reader was this node: who reads the sum now reads the tensor.
    build.readers[source] = build.readers[node.output[0]]


def _batch_norm(build: Build, node: Any) -> None:
    x, label, attrs = build.activation(node, 0), build.label(node), convert.attributes(node)
    if attrs.get("training_mode", 0) or not attrs.get("spatial", 1):
        raise convert.refuse(build.model, node, "only inference with one mean and variance per channel is supported.")
    if len(build.shapes[x]) not in (2, 4):
        raise convert.refuse(build.model, node, "only [batch, features] and 2-D images are supported.")
    names = []
    for index, part in enumerate(("gamma", "beta", "mean", "variance"), start=1):
        value = convert.constant(build.model, node, index)
        if value is None or value.shape != (build.shapes[x][1],):
            raise convert.refuse(build.model, node, f"its {part} must have one value per channel.")
        names.append(build.parameter(f"{label}.{part}", value.astype(np.float32)))
    build.emit(node, ops.BatchNorm(epsilon=float(attrs.get("epsilon", 1e-5))), (x, *names), label)
