"""Operators of a `.tflite` file that compute on single values or windows: sums, pools, means, roundings, ends."""

from __future__ import annotations

from dataclasses import replace

from quant import operators as ops
from quant.formats import UINT8
from quant.graph import Quant, Tensor
from quant.tflite_build import UNSIGNED, Build, Place, activation_quant, refuse
from quant.tflite_layers import image
from quant.tflite_read import FileOp
from quant.tflite_schema import INF
from quant.tflite_windows import POOL, fused, options, window

#: Operators that clamp, and to what.
CLAMPS = {"RELU": (0.0, INF), "RELU_N1_TO_1": (-1.0, 1.0), "RELU6": (0.0, 6.0)}


def add(build: Build, op: FileOp) -> None:
    """Import ADD of two activations of one shape."""
    places = [build.read(op, position) for position in range(len(op.inputs))]
    if len(places) != 2:
        raise refuse(op, f"it has {len(places)} inputs; 2 are imported.")
    a, b = places
    if (a.order, a.flat) != (b.order, b.flat) or build.tensors[a.name].shape != build.tensors[b.name].shape:
        shapes = [list(build.tensor(i).shape) for i in op.inputs]
        raise refuse(op, f"its inputs have shapes {shapes}; both must be the same, broadcasting is not imported.")
    if len({build.tensor(i).dtype for i in (*op.inputs, op.output)}) > 1:
        raise refuse(op, "its inputs and output have different types.")
    build.emit(op, ops.Add(), (a.name, b.name), build.tensors[a.name].shape, a, fused(op, 0))


def pool(build: Build, op: FileOp) -> None:
    """Import AVERAGE_POOL_2D and MAX_POOL_2D; padding is never counted and never wins."""
    place, table = image(build, op), options(op)
    x, y = build.tensors[place.name], build.output(op)
    _same_quant(build, op, place)
    kernel = table.integer(4, "i"), table.integer(3, "i")
    top, left, bottom, right = build.padded.get(op.inputs[0], (0, 0, 0, 0))
    found = window(op, POOL, (x.shape[2] + top + bottom, x.shape[3] + left + right), kernel)
    shape, clip = (1, x.shape[1], *found.out), fused(op, POOL.activation)
    if op.code == "MAX_POOL_2D":
        pads = tuple(a + b for a, b in zip(found.pads, (top, left, bottom, right), strict=True))
        largest = ops.MaxPool(kernel=kernel, strides=found.strides, pads=(pads[0], pads[1], pads[2], pads[3]))
        build.emit(op, largest, (place.name,), shape, clip=clip)
        return
    mean = ops.AveragePool(kernel=kernel, strides=found.strides, pads=found.pads)
    if build.tensor(op.inputs[0]).dtype != UNSIGNED:
        build.emit(op, mean, (place.name,), shape, clip=clip)
        return
    # Halves are rounded away from zero: of unsigned codes always up, of shifted ones not. So the codes go back for it.
    quant = Quant(UINT8, activation_quant(y).scale, int(y.zero[0]))
    codes = build.add(f"{y.name}/unsigned", ops.Requantize(), (place.name,), Tensor(x.shape, quant))
    pooled = build.add(f"{y.name}/pooled", mean, (codes,), Tensor(shape, quant))
    build.emit(op, ops.Requantize(), (pooled,), shape, clip=clip)


def mean(build: Build, op: FileOp) -> None:
    """Import MEAN over height and width."""
    place = image(build, op)
    axes = build.constant(op, 1, ("INT32",)).ravel().tolist()
    shape = build.tensors[place.name].shape
    if sorted(axis % 4 if -4 <= axis < 4 else axis for axis in axes) != [1, 2]:
        raise refuse(op, f"it takes the mean over axes {axes}; height and width, [1, 2], are imported.")
    _signed(build, op)
    keep = bool(options(op).integer(0, "?"))
    build.emit(op, ops.Mean(keep_dims=keep), (place.name,), (1, shape[1], 1, 1) if keep else (1, shape[1]))


def quantize(build: Build, op: FileOp) -> None:
    """Import QUANTIZE: between integers a Requantize; of the float input, or behind the end, nothing."""
    place, found = build.read(op, 0, final=True), build.output(op)
    x = build.tensor(op.inputs[0])
    if place.final:
        build.alias(op, place)
        return
    if x.dtype == "FLOAT32":
        if activation_quant(found) != build.tensors[place.name].quant:
            raise refuse(
                op, f"its output, {found.what}, has another scale than another QUANTIZE gives the float input."
            )
        if found.shape != x.shape:
            raise refuse(op, f"its output, {found.what}, has another shape than its input.")
        build.alias(op, place)
        return
    build.emit(op, ops.Requantize(), (place.name,), build.tensors[place.name].shape, place)


def clamp(build: Build, op: FileOp) -> None:
    """Import RELU, which may change the scale, and RELU6 and RELU_N1_TO_1, which do not."""
    place = build.read(op, 0)
    _signed(build, op)
    if op.code != "RELU":
        _same_quant(build, op, place)
    low, high = CLAMPS[op.code]
    build.emit(op, ops.Clip(low=low, high=high), (place.name,), build.tensors[place.name].shape, place)


def limit(build: Build, op: FileOp) -> None:
    """Import MAXIMUM and MINIMUM with one constant; a MINIMUM may have one value per channel."""
    place = build.read(op, 0)
    _signed(build, op)
    _same_quant(build, op, place)
    value, x = build.constant(op, 1, (build.tensor(op.inputs[0]).dtype,)), build.tensor(op.inputs[0])
    bound = build.tensor(op.inputs[1])
    shape = build.tensors[place.name].shape
    on_channels = place.order[-1:] == (1,) and place.flat is None
    per_channel = op.code == "MINIMUM" and on_channels and value.shape[-1:] == shape[1:2] == (value.size,)
    grids = [(tensor.scale.tolist(), tensor.zero.tolist()) for tensor in (bound, x)]
    if (value.size != 1 and not per_channel) or grids[0] != grids[1]:
        raise refuse(
            op,
            f"its limit, {bound.what}, must be one value (of a MINIMUM also one per channel) with the scale and zero "
            "point of its input.",
        )
    reals = tuple((int(code) - int(x.zero[0])) * float(x.scale[0]) for code in value.ravel())
    low, high = (reals[0], INF) if op.code == "MAXIMUM" else (-INF, reals[0])
    made = ops.Clip(low=low, high=high) if value.size == 1 else ops.Minimum(limits=reals)
    build.emit(op, made, (place.name,), shape, place)


def softmax(build: Build, op: FileOp) -> None:
    """Leave out a SOFTMAX: only the end may follow, and labels (the arg max) do not change."""
    place = build.read(op, 0, final=True)
    beta = options(op).real(0, 0.0)
    if not beta > 0 or len(place.order) != 2:
        raise refuse(
            op, f"its beta is {beta} and its input {build.tensor(op.inputs[0]).what}; a vector of logits ends here."
        )
    build.alias(op, replace(place, final=True))


def dequantize(build: Build, op: FileOp) -> None:
    """Leave out a DEQUANTIZE: what follows may only end the network."""
    build.alias(op, replace(build.read(op, 0, final=True), final=True))


def _same_quant(build: Build, op: FileOp, place: Place) -> None:
    found = build.tensor(op.output)
    if activation_quant(found) != build.tensors[place.name].quant:
        raise refuse(
            op, f"its output, {found.what}, has another scale or zero point than its input; put a QUANTIZE there."
        )


def _signed(build: Build, op: FileOp) -> None:
    if build.tensor(op.inputs[0]).dtype == UNSIGNED:
        raise refuse(op, "it works on uint8 codes, for which only convolutions, pools, sums and moves are imported.")
