"""CONV_2D, DEPTHWISE_CONV_2D and FULLY_CONNECTED of a `.tflite` file as Conv and Gemm, with the file's own codes."""

from __future__ import annotations

import numpy as np

from quant import operators as ops
from quant.formats import Array, Format, integer
from quant.graph import Node, Quant, Tensor
from quant.tflite_build import MAX_SCALE, UNSIGNED, Build, Place, activation_quant, default_order, refuse
from quant.tflite_read import FileOp, FileTensor
from quant.tflite_windows import CONV, DEPTHWISE, Fields, fused, options, window

#: Types of weights, and the bits of their codes.
WEIGHT_BITS = {"INT4": 4, "INT8": 8, UNSIGNED: 8}
#: How far a bias's scale may be from s_x * s_w, relative to the output's scale (TFLite's own limit).
BIAS_SCALE_SLACK = 0.02


def conv(build: Build, op: FileOp) -> None:
    """Import CONV_2D, in groups when the weights have fewer input channels than the image."""
    x, weight = image(build, op), _weight(build, op, 4)
    channels, out, per_group = build.tensors[x.name].shape[1], weight.shape[0], weight.shape[3]
    if channels % per_group or out % (channels // per_group):
        raise refuse(op, f"weights {list(weight.shape)} do not divide {channels} input channels into groups.")
    _convolve(build, op, x, CONV, _parameters(build, op, 0, (0, 3, 1, 2)), channels // per_group)


def depthwise(build: Build, op: FileOp) -> None:
    """Import DEPTHWISE_CONV_2D as a convolution with one group per input channel."""
    x, weight = image(build, op), _weight(build, op, 4)
    channels, out, many = build.tensors[x.name].shape[1], weight.shape[3], options(op).integer(3, "i")
    if weight.shape[0] != 1 or out != channels * many:
        raise refuse(
            op, f"weights {list(weight.shape)} and multiplier {many} do not belong to {channels} input channels."
        )
    _convolve(build, op, x, DEPTHWISE, _parameters(build, op, 3, (3, 0, 1, 2)), channels)


def fully_connected(build: Build, op: FileOp) -> None:
    """Import FULLY_CONNECTED; weights follow the order in which the graph flattens an image."""
    if options(op).integer(1, "b"):
        raise refuse(op, "its weights are shuffled (weightsFormat); only plain ones are imported.")
    place, weight = build.read(op, 0), _weight(build, op, 2)
    x, order = _flattened(build, op, place)
    (out, count), given = weight.shape, build.tensors[x].shape[1]
    found = build.output(op)
    if count != given or found.shape[-1:] != (out,) or int(np.prod(found.shape)) != out:
        raise refuse(op, f"weights {list(weight.shape)} do not lead from {given} values to {list(found.shape)}.")
    codes, quant, bias = _parameters(build, op, 0, (0, 1))
    turned = np.empty_like(codes)
    turned[:, order] = codes
    names, clip = _store(build, op, turned, quant, bias), fused(op, 0)
    if len(found.shape) == 2:
        build.emit(op, ops.Gemm(), (x, *names), (1, out), clip=clip)
        return
    name = build.name(f"{found.name}/vector")
    build.tensors[name] = Tensor((1, out), activation_quant(found))
    build.nodes.append(Node(name, ops.Gemm(), (x, *names), name, clip))
    shape = (1, out, *(1,) * (len(found.shape) - 2))
    build.emit(op, ops.Reshape(shape=shape), (name,), shape)


def image(build: Build, op: FileOp) -> Place:
    """Return where an operator's first input is; it must be an image with channels last in the file."""
    place = build.read(op, 0)
    if len(place.order) != 4 or place.order != default_order(4):
        raise refuse(op, f"its input {build.tensor(op.inputs[0]).what} must be an image, channels last.")
    return place


def _convolve(
    build: Build, op: FileOp, x: Place, fields: Fields, parameters: tuple[Array, Quant, Array], groups: int
) -> None:
    codes, quant, bias = parameters
    _, _, height, width = build.tensors[x.name].shape
    found = window(op, fields, (height, width), (codes.shape[2], codes.shape[3]))
    conv = ops.Conv(strides=found.strides, pads=found.pads, dilations=found.dilations, groups=groups)
    names, shape = _store(build, op, codes, quant, bias), (1, len(codes), *found.out)
    build.emit(op, conv, (x.name, *names), shape, clip=fused(op, fields.activation))


def _store(build: Build, op: FileOp, codes: Array, quant: Quant, bias: Array) -> tuple[str, str]:
    """Add weights and bias to the graph; return their names."""
    weight, made = build.tensor(op.inputs[1]).name, build.tensor(op.output).name
    names = build.name(weight), build.name(f"{made}/bias")
    build.tensors[names[0]], build.weights[names[0]] = Tensor(codes.shape, quant), np.array(codes, order="C")
    build.tensors[names[1]], build.weights[names[1]] = Tensor(bias.shape), bias
    return names


def _flattened(build: Build, op: FileOp, place: Place) -> tuple[str, Array]:
    """Return the graph's vector of an input, and where in it each value of the file's vector is."""
    shape, order = place.flat if place.flat is not None else (build.tensors[place.name].shape, place.order)
    count = int(np.prod(shape))
    index = np.arange(count).reshape(shape).transpose(order).ravel()
    if len(build.tensors[place.name].shape) == 2:
        return place.name, index
    tensor = Tensor((1, count), build.tensors[place.name].quant)
    name = f"{build.tensor(op.output).name}/flat"
    return build.add(name, ops.Reshape(shape=(1, count)), (place.name,), tensor), index


def _weight(build: Build, op: FileOp, rank: int) -> FileTensor:
    build.constant(op, 1, tuple(WEIGHT_BITS))
    found = build.tensor(op.inputs[1])
    if len(found.shape) != rank:
        raise refuse(op, f"its weights, {found.what}, must have {rank} axes.")
    return found


def _parameters(build: Build, op: FileOp, axis: int, turn: tuple[int, ...]) -> tuple[Array, Quant, Array]:
    """Return an operator's weights (axes turned so that outputs come first), their format, and its bias."""
    found, x = build.tensor(op.inputs[1]), build.tensor(op.inputs[0])
    if (x.dtype == UNSIGNED) != (found.dtype == UNSIGNED):
        raise refuse(op, f"{x.what} and {found.what} mix signed and unsigned codes.")
    out = found.shape[axis]
    if len(found.scale) not in (1, out) or (len(found.scale) > 1 and found.axis != axis):
        raise refuse(
            op,
            f"its weights, {found.what}, have {len(found.scale)} scales along axis {found.axis}; "
            f"1, or {out} along axis {axis}, belong there.",
        )
    if not ((found.scale > 0) & (found.scale <= MAX_SCALE)).all():
        raise refuse(op, f"its weights, {found.what}, have a scale that is not positive, or above 2^60.")
    codes, fmt = _codes(build, op, found)
    quant = Quant(fmt, _scales(build, op, found), 0, 0 if len(found.scale) > 1 else None)
    return codes.transpose(turn), quant, _bias(build, op, out)


def _codes(build: Build, op: FileOp, found: FileTensor) -> tuple[Array, Format]:
    """Return symmetric codes: those of uint8 weights minus their zero point need 9 bits where int8 is too narrow."""
    data = build.constant(op, 1, tuple(WEIGHT_BITS))
    if found.dtype != UNSIGNED:
        if found.zero.any():
            raise refuse(op, f"its weights, {found.what}, have zero points; signed weights are symmetric.")
        return data, integer(WEIGHT_BITS[found.dtype])
    zero = int(found.zero[0])
    if not 0 <= zero <= 255 or len(found.scale) != 1:
        raise refuse(op, f"its weights, {found.what}, must have 1 scale and a zero point of 0 to 255.")
    codes = data.astype(np.int16) - zero
    fits = codes.min() >= -128 and codes.max() <= 127
    return (codes.astype(np.int8), integer(8)) if fits else (codes, integer(9))


def _scales(build: Build, op: FileOp, found: FileTensor) -> tuple[float, ...]:
    """Return the weights' scales.

    TFLite rounds s_x * s_w of unsigned layers to float32 before it makes the multiplier. The scale here has that
    rounding in it: s_x times it is the rounded product (in double).
    """
    if found.dtype != UNSIGNED:
        return tuple(float(scale) for scale in found.scale)
    x = float(build.tensor(op.inputs[0]).scale[0])
    product = float(np.float32(x * float(found.scale[0])))
    if product == 0:
        raise refuse(op, f"the scales of its input and of its weights, {found.what}, are too small for float32.")
    return (product / x,)


def _bias(build: Build, op: FileOp, out: int) -> Array:
    """Return the bias as int32; zeros when it is left out."""
    absent = len(op.inputs) < 3 or op.inputs[2] < 0
    if build.tensor(op.inputs[0]).dtype == "INT16":
        _check_wide(build, op, absent=absent)
    if absent:
        return np.zeros(out, np.int32)
    data, found = build.constant(op, 2, ("INT32",)), build.tensor(op.inputs[2])
    if data.size != out or len(found.scale) not in (1, out) or found.zero.any():
        raise refuse(op, f"its bias, {found.what}, must have {out} values, 1 or {out} scales, and zero points of 0.")
    weight, x, y = (build.tensor(i) for i in (op.inputs[1], op.inputs[0], op.output))
    product = x.scale[:1].astype(np.float64) * weight.scale
    away, slack = np.abs(found.scale.astype(np.float64) - product), BIAS_SCALE_SLACK * activation_quant(y).scale[0]
    if not (away <= slack).all():
        raise refuse(op, f"the scale of its bias, {found.what}, is not that of its sums (input times weight).")
    return np.array(data, np.int32).ravel()


def _check_wide(build: Build, op: FileOp, *, absent: bool) -> None:
    """Refuse layers of int16 codes with the usual int64 bias: they are rounded once, with a 16-bit multiplier."""
    if op.code == "DEPTHWISE_CONV_2D" or absent or build.tensor(op.inputs[2]).dtype != "INT32":
        raise refuse(
            op,
            "layers of int16 codes are imported as CONV_2D and FULLY_CONNECTED with an int32 bias; with int64 biases "
            "runtimes round otherwise than a graph. Convert with int32 biases (quantized_bias_type), or with int8.",
        )
