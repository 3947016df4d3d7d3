"""Layers of an ONNX file: convolutions and matrices with weights and biases, sums, batch norms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from quant import onnx_nodes as convert
from quant import operators as ops
from quant.formats import Array
from quant.graph import Node, Quant
from quant.onnx_build import Build
from quant.onnx_channels import scaled, weight_factors
from quant.onnx_quant import bias_units, finish_bias, quantise_constant


def transpose(build: Build, node: Any) -> None:
    """Turn a quantised constant; plain ones are folded before (quant.onnx_fold)."""
    name, output = node.input[0], node.output[0]
    if not build.is_constant(name) or name in build.turned:
        raise convert.refuse(
            build.model, node, "only constants are transposed, once; export with activations in NCHW throughout."
        )
    value, stored = build.model.constants[build.source(name)], build.constants.get(name)
    order = tuple(int(axis) for axis in convert.attributes(node).get("perm", range(value.ndim)[::-1]))
    build.turned[output], build.alias[output] = order, build.source(name)
    if stored is not None:
        axis = None if stored.quant.axis is None else order.index(stored.quant.axis)
        build.constants[output] = replace(stored, quant=replace(stored.quant, axis=axis))


def _weight(build: Build, node: Any, index: int) -> tuple[Array, Quant | None]:
    """Return a weight as float values, or as codes with their format."""
    name = node.input[index]
    if not build.is_constant(name):
        raise convert.refuse(build.model, node, f"weight input {index} ('{name}') must be a constant.")
    value = build.model.constants[build.source(name)]
    if name in build.turned:
        value = np.transpose(value, build.turned[name])
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
    factors = weight_factors(build, node, len(weight))
    if quant is not None and factors is not None:
        quant = scaled(quant, factors)
    x, bias, label = build.activation(node, 0), _bias(build, node, weight, quant), build.label(node)
    if quant is not None and bias.dtype == np.int32:
        weight, quant, bias = _fit_int32(build.quants[x], weight, quant, bias)
    names = build.parameter(f"{label}.weight", weight), build.parameter(f"{label}.bias", bias)
    if quant is not None:
        build.quants[names[0]] = quant
    build.emit(node, op, (x, *names), label)


def _fit_int32(x: Quant, weight: Array, quant: Quant, bias: Array) -> tuple[Array, Quant, Array]:
    """Double the weight scale of channels whose sum could leave int32, and halve their codes and bias.

    Tools that sum in float let the bias of an all but dead channel fill int32 (ONNX Runtime scales weights until it
    just fits). Beside such a bias the weights hardly count, so that rounding their halves moves no output by a step.
    """
    codes, sums, fmt = weight.astype(np.int64), bias.astype(np.int64), x.format
    reach = max(abs(fmt.min_ordinal - x.zero), abs(fmt.max_ordinal - x.zero))
    scale = np.broadcast_to(np.array(quant.scale), (len(weight),)).copy()
    while True:
        most = np.abs(codes.reshape(len(codes), -1)).sum(axis=1) * reach + np.abs(sums)
        over = most >= 1 << 31
        if not over.any():
            break
        codes[over], sums[over] = np.rint(codes[over] / 2), np.rint(sums[over] / 2)
        scale[over] *= 2
    if np.array_equal(sums, bias):
        return weight, quant, bias
    return codes.astype(weight.dtype), replace(quant, scale=tuple(scale.tolist()), axis=0), sums.astype(np.int32)


def conv(build: Build, node: Any) -> None:
    """Add a convolution."""
    weight, quant = _weight(build, node, 1)
    if weight.ndim != 4:
        raise convert.refuse(build.model, node, "only 1-D and 2-D convolutions are supported.")
    strides, pads, dilations = convert.window(build.model, node, (weight.shape[2], weight.shape[3]))
    groups, channels = int(convert.attributes(node).get("group", 1)), build.model.shapes[node.input[0]][1]
    if groups < 1 or weight.shape[0] % groups or weight.shape[1] * groups != channels:
        raise convert.refuse(build.model, node, f"weights {list(weight.shape)} do not fit {groups} groups.")
    op = ops.Conv(strides=strides, pads=pads, dilations=dilations, groups=groups)
    _layer(build, node, op, weight, quant)


def gemm(build: Build, node: Any) -> None:
    """Add a fully connected layer (Gemm, MatMul)."""
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


def add(build: Build, node: Any) -> None:
    """Add a sum of two tensors, or a constant to the layer before it."""
    fixed = [i for i in (0, 1) if build.is_constant(node.input[i])]
    if fixed:
        _add_bias(build, node, fixed[0])
        return
    names = (build.activation(node, 0), build.activation(node, 1))
    if build.shapes[names[0]] != build.shapes[names[1]]:
        raise convert.refuse(build.model, node, "broadcasting is not supported.")
    build.emit(node, ops.Add(), names)


def mul(build: Build, node: Any) -> None:
    """Add a product of two tensors, the second perhaps one value per channel (squeeze and excite)."""
    fixed = [i for i in (0, 1) if build.is_constant(node.input[i])]
    if fixed:
        raise convert.refuse(
            build.model,
            node,
            f"input {fixed[0]} is a constant; only products of two activations are supported. "
            "Write a factor per channel as BatchNormalization, or fold it into the layer before.",
        )
    names = (build.activation(node, 0), build.activation(node, 1))
    whole = build.model.shapes[node.output[0]]
    if build.shapes[names[0]] != whole:
        names = (names[1], names[0])
    if build.shapes[names[0]] != whole or build.shapes[names[1]] not in (whole, (*whole[:2], 1, 1)):
        raise convert.refuse(
            build.model, node, "only factors of one shape, or one of [1, C, 1, 1] beside an image, are supported."
        )
    build.emit(node, ops.Mul(), names)


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
    stored = build.constants.get(node.input[index])
    if source in build.quants or aligned not in (channels, (1,) * len(shape)):
        raise convert.refuse(build.model, node, "only one constant per output channel can be added.")
    added = np.broadcast_to(value.reshape(-1), bias.shape)
    quants = build.quants.get(last.inputs[0]), build.quants.get(last.inputs[1])
    build.weights[last.inputs[2]] = bias + finish_bias(build.model, node, added, stored, *quants)
    build.alias[node.output[0]] = source
    # Its only reader was this node: who reads the sum now reads the tensor.
    build.readers[source] = build.readers[node.output[0]]


def batch_norm(build: Build, node: Any) -> None:
    """Add a batch norm; behind quantised weights it is folded into their scales."""
    x, label, attrs = build.activation(node, 0), build.label(node), convert.attributes(node)
    if attrs.get("training_mode", 0) or not attrs.get("spatial", 1):
        raise convert.refuse(build.model, node, "only inference with one mean and variance per channel is supported.")
    if len(build.shapes[x]) not in (2, 4):
        raise convert.refuse(build.model, node, "only [batch, features] and 2-D images are supported.")
    values, parts = [], ("gamma", "beta", "mean", "variance")
    for index, part in enumerate(parts, start=1):
        value = convert.constant(build.model, node, index)
        if value is None or value.shape != (build.shapes[x][1],):
            raise convert.refuse(build.model, node, f"its {part} must have one value per channel.")
        values.append(value.astype(np.float32))
    epsilon, last = float(attrs.get("epsilon", 1e-5)), build.nodes[-1] if build.nodes else None
    if last is not None and last.output == x and _has_codes(build, last) and x not in build.quants:
        _fold_batch_norm(build, node, last, values, epsilon)
        return
    names = [build.parameter(f"{label}.{part}", value) for part, value in zip(parts, values, strict=True)]
    build.emit(node, ops.BatchNorm(epsilon=epsilon), (x, *names), label)


def _has_codes(build: Build, node: Node) -> bool:
    return isinstance(node.op, ops.Conv | ops.Gemm) and node.inputs[1] in build.quants


def _fold_batch_norm(build: Build, node: Any, last: Node, values: list[Array], epsilon: float) -> None:
    """Scale a layer's sums per channel: scales times |factor|, codes times its sign, and another bias.

    y = factor * (sum - mean) + beta with factor = gamma / sqrt(variance + epsilon).
    """
    x, quant = build.quants[last.inputs[0]], build.quants[last.inputs[1]]
    gamma, beta, mean, variance = (value.astype(np.float64) for value in values)
    factor = gamma / np.sqrt(variance + epsilon)
    if build.readers[last.output] > 1 or (factor == 0).any():
        why = "something else reads its input" if build.readers[last.output] > 1 else "a channel has gamma 0"
        raise convert.refuse(
            build.model, node, f"{why}, so it cannot be folded into quantised weights; fold it before."
        )
    codes, bias = build.weights[last.inputs[1]], build.weights[last.inputs[2]].astype(np.float64)
    ordinals = quant.format.to_ordinals(codes) * np.sign(factor).astype(np.int64).reshape(-1, *[1] * (codes.ndim - 1))
    if ordinals.max() > quant.format.max_ordinal:
        raise convert.refuse(
            build.model,
            node,
            f"its negative gamma turns weight code {quant.format.min_ordinal} into {ordinals.max()}, which "
            f"{quant.format.name} does not have; quantise the weights in the narrow range.",
        )
    real = factor * (bias * bias_units(x, quant) - mean) + beta
    scale = np.broadcast_to(np.array(quant.scale), factor.shape) * np.abs(factor)
    folded = replace(quant, scale=tuple(float(s) for s in scale.astype(np.float32)), axis=0)
    build.weights[last.inputs[1]], build.quants[last.inputs[1]] = quant.format.from_ordinals(ordinals), folded
    build.weights[last.inputs[2]] = finish_bias(build.model, node, real, None, x, folded)
    build.alias[node.output[0]] = last.output
    build.readers[last.output] = build.readers[node.output[0]]
