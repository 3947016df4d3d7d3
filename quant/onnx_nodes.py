"""Turn single ONNX nodes into operators: attributes and constant inputs become plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant import operators as ops
from quant.errors import QuantError
from quant.formats import Array
from quant.onnx_read import OnnxModel

INF = float("inf")
#: ONNX operators the importer understands.
SUPPORTED = (
    "Add",
    "AveragePool",
    "BatchNormalization",
    "Clip",
    "Concat",
    "Conv",
    "DequantizeLinear",
    "Dropout",
    "Flatten",
    "Gemm",
    "GlobalAveragePool",
    "Identity",
    "MatMul",
    "MaxPool",
    "Pad",
    "QuantizeLinear",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Slice",
    "Softmax",
)


def describe(model: OnnxModel, node: Any) -> str:
    """Name a node for an error message: name, op, input shapes, opset."""
    shapes = [str(list(model.shapes[name])) for name in node.input if name in model.shapes]
    label = node.name or (node.output[0] if node.output else "?")
    return f"node '{label}' (op {node.op_type}, inputs {' '.join(shapes)}, opset {model.opset})"


def refuse(model: OnnxModel, node: Any, why: str) -> QuantError:
    """Build the error for a node that cannot be imported."""
    return QuantError(f"{describe(model, node)}: {why}")


def attributes(node: Any) -> dict[str, Any]:
    """Return a node's attributes as Python values."""
    import onnx

    return {item.name: onnx.helper.get_attribute_value(item) for item in node.attribute}


def constant(model: OnnxModel, node: Any, index: int) -> Array | None:
    """Return a constant input, or None when it is absent; a computed one is refused."""
    if index >= len(node.input) or not node.input[index]:
        return None
    name = node.input[index]
    if name not in model.constants:
        raise refuse(model, node, f"input {index} ('{name}') must be a constant.")
    return model.constants[name]


def _same_pads(size: int, kernel: int, stride: int, dilation: int, *, upper: bool) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if upper else (large, small)


def window(model: OnnxModel, node: Any, kernel: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Return strides, pads (top, left, bottom, right) and dilations of a convolution or pooling."""
    attrs, shape = attributes(node), model.shapes[node.input[0]]
    if len(shape) != 4:
        raise refuse(model, node, "only 2-D images (4-D tensors, NCHW) are supported.")
    if attrs.get("ceil_mode", 0):
        raise refuse(model, node, "ceil_mode=1 is not supported; export with ceil_mode=0.")
    strides, dilations = tuple(attrs.get("strides", (1, 1))), tuple(attrs.get("dilations", (1, 1)))
    mode = attrs.get("auto_pad", b"NOTSET").decode()
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        pairs = [
            _same_pads(shape[2 + i], kernel[i], strides[i], dilations[i], upper=mode == "SAME_UPPER") for i in (0, 1)
        ]
        return strides, (pairs[0][0], pairs[1][0], pairs[0][1], pairs[1][1]), dilations
    return strides, tuple(attrs.get("pads", (0, 0, 0, 0))) if mode == "NOTSET" else (0, 0, 0, 0), dilations


def max_pool(model: OnnxModel, node: Any) -> ops.MaxPool:
    """Convert MaxPool."""
    kernel = tuple(attributes(node)["kernel_shape"])
    strides, pads, dilations = window(model, node, kernel)
    if dilations != (1, 1):
        raise refuse(model, node, "dilated max pooling is not supported.")
    return ops.MaxPool(kernel=kernel, strides=strides, pads=pads)


def average_pool(model: OnnxModel, node: Any) -> ops.AveragePool:
    """Convert AveragePool that does not count its padding."""
    attrs = attributes(node)
    kernel = tuple(attrs["kernel_shape"])
    strides, pads, dilations = window(model, node, kernel)
    if any(pads) and attrs.get("count_include_pad", 0):
        raise refuse(model, node, "average pooling that counts its padding is not supported; put a Pad node before it.")
    if dilations != (1, 1):
        raise refuse(model, node, "dilated average pooling is not supported.")
    return ops.AveragePool(kernel=kernel, strides=strides, pads=pads)


def clip(model: OnnxModel, node: Any) -> ops.Clip:
    """Convert Relu and Clip, whose limits are inputs or (before opset 11) attributes."""
    if node.op_type == "Relu":
        return ops.Clip(low=0.0, high=INF)
    attrs = attributes(node)
    low, high = constant(model, node, 1), constant(model, node, 2)
    return ops.Clip(
        low=float(low) if low is not None else float(attrs.get("min", -INF)),
        high=float(high) if high is not None else float(attrs.get("max", INF)),
    )


def mean(model: OnnxModel, node: Any) -> ops.Mean:
    """Convert GlobalAveragePool, and ReduceMean over height and width."""
    if node.op_type == "GlobalAveragePool":
        return ops.Mean(keep_dims=True)
    attrs, axes = attributes(node), constant(model, node, 1)
    over = [int(a) for a in (axes if axes is not None else attrs.get("axes", ()))]
    rank = len(model.shapes[node.input[0]])
    if rank != 4 or sorted(a % rank for a in over) != [2, 3]:
        raise refuse(
            model, node, f"a mean over axes {over} of {rank}; only height and width (2, 3) of 4 are supported."
        )
    return ops.Mean(keep_dims=bool(attrs.get("keepdims", 1)))


def pad(model: OnnxModel, node: Any) -> ops.Pad:
    """Convert constant-zero Pad (counts as input, or attribute before opset 11)."""
    attrs = attributes(node)
    counts, value = constant(model, node, 1), constant(model, node, 2)
    if attrs.get("mode", b"constant") != b"constant":
        raise refuse(model, node, f"mode {attrs['mode'].decode()}; only constant padding is supported.")
    if float(value if value is not None and np.size(value) else attrs.get("value", 0.0)) != 0.0:
        raise refuse(model, node, "only padding with zeros is supported.")
    if len(node.input) > 3 and node.input[3]:
        raise refuse(model, node, "padding with an axes input is not supported; give counts for every axis.")
    flat = [int(c) for c in (counts if counts is not None else attrs["pads"])]
    rank = len(flat) // 2
    if min(flat) < 0 or flat[0] or flat[rank]:
        raise refuse(model, node, f"counts {flat}: negative counts and padding of the batch axis are not supported.")
    return ops.Pad(before=tuple(flat[:rank]), after=tuple(flat[rank:]))


def slice_(model: OnnxModel, node: Any) -> ops.Slice:
    """Convert Slice with constant bounds and positive steps to one start, end and step per axis."""
    shape, attrs = model.shapes[node.input[0]], attributes(node)
    starts, ends, axes, steps = (constant(model, node, i) for i in (1, 2, 3, 4))
    first = list(starts if starts is not None else attrs["starts"])
    last = list(ends if ends is not None else attrs["ends"])
    over = list(axes if axes is not None else attrs.get("axes", range(len(first))))
    by = list(steps if steps is not None else [1] * len(first))
    bounds = [(0, size, 1) for size in shape]
    for axis, a, b, step in zip(over, first, last, by, strict=True):
        if step < 1:
            raise refuse(model, node, f"step {step}; only positive steps are supported.")
        bounds[int(axis) % len(shape)] = slice(int(a), int(b), int(step)).indices(shape[int(axis)])
    if bounds[0] != (0, shape[0], 1):
        raise refuse(model, node, "slicing the batch axis is not supported.")
    return ops.Slice(
        starts=tuple(b[0] for b in bounds), ends=tuple(b[1] for b in bounds), steps=tuple(b[2] for b in bounds)
    )


def concat(model: OnnxModel, node: Any) -> ops.Concat:
    """Convert Concat."""
    axis = int(attributes(node)["axis"]) % len(model.shapes[node.output[0]])
    if axis == 0:
        raise refuse(model, node, "joining along the batch axis is not supported.")
    return ops.Concat(axis=axis)


def reshape(model: OnnxModel, node: Any) -> ops.Reshape:
    """Convert Reshape and Flatten that keep the batch axis."""
    shape = model.shapes[node.output[0]]
    if not shape or shape[0] != 1:
        raise refuse(model, node, f"the result {list(shape)} does not keep the batch axis.")
    return ops.Reshape(shape=shape)


def softmax(model: OnnxModel, node: Any) -> ops.Softmax:
    """Convert Softmax over the last axis."""
    rank = len(model.shapes[node.input[0]])
    axis = int(attributes(node).get("axis", -1 if model.opset >= 13 else 1)) % rank
    if axis != rank - 1:
        raise refuse(model, node, f"softmax over axis {axis}; only the last axis is supported.")
    return ops.Softmax()
