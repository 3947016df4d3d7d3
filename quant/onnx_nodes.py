"""Turn single ONNX nodes into operators: attributes and constant inputs become plain values."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant import operators as ops
from quant.errors import QuantError
from quant.formats import Array
from quant.onnx_read import OnnxModel

INF = float("inf")
#: Exporters write "no limit" as the largest float32.
FLOAT32_MAX = 3.4028234e38
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
    "HardSigmoid",
    "HardSwish",
    "Identity",
    "LeakyRelu",
    "MatMul",
    "MaxPool",
    "Min",
    "Mul",
    "Pad",
    "QuantizeLinear",
    "ReduceMean",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Slice",
    "Softmax",
    "Squeeze",
    "Swish",
    "Tanh",
    "Transpose",
    "Unsqueeze",
)
#: QONNX's quantisers, and the domains they come in; the second is what older Brevitas wrote.
QONNX = ("BipolarQuant", "FloatQuant", "IntQuant", "Quant")
QONNX_DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas")


def is_qonnx(node: Any) -> bool:
    """Whether a node is one of QONNX's quantisers."""
    return node.domain in QONNX_DOMAINS and node.op_type in QONNX


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


def number(model: OnnxModel, node: Any, index: int) -> float | None:
    """Return a constant input of one element, or None when it is absent."""
    value = constant(model, node, index)
    if value is None or value.size == 0:
        return None
    if value.size != 1:
        raise refuse(model, node, f"input {index} must be one number, not {list(value.shape)}.")
    return float(value.reshape(-1)[0])


def integers(model: OnnxModel, node: Any, index: int, attribute: str) -> list[int] | None:
    """Return a list of whole numbers that is an input in newer opsets and an attribute in older ones."""
    value = constant(model, node, index)
    if value is None:
        stored = attributes(node).get(attribute)
        return None if stored is None else [int(v) for v in stored]
    return [int(v) for v in value.reshape(-1)]


def _pair(model: OnnxModel, node: Any, name: str, default: tuple[int, int] | None = None) -> tuple[int, int]:
    found = attributes(node).get(name, default)
    if found is None or len(found) != 2 or min(found) < 1:
        raise refuse(model, node, f"{name} must be two positive numbers, not {found and list(found)}.")
    return int(found[0]), int(found[1])


def kernel_shape(model: OnnxModel, node: Any) -> tuple[int, int]:
    """Return the window of a pooling operator."""
    _check_image(model, node)
    return _pair(model, node, "kernel_shape")


def _check_image(model: OnnxModel, node: Any) -> None:
    if len(model.shapes[node.input[0]]) != 4:
        raise refuse(model, node, "only 1-D and 2-D images ([N, C, L], [N, C, H, W]) are supported.")


def _same_pads(size: int, kernel: int, stride: int, dilation: int, *, upper: bool) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    small, large = total // 2, total - total // 2
    return (small, large) if upper else (large, small)


def window(model: OnnxModel, node: Any, kernel: tuple[int, int]) -> tuple[Any, Any, Any]:
    """Return strides, pads (top, left, bottom, right) and dilations of a convolution or pooling."""
    _check_image(model, node)
    attrs, shape = attributes(node), model.shapes[node.input[0]]
    if attrs.get("ceil_mode", 0):
        raise refuse(model, node, "ceil_mode=1 is not supported; export with ceil_mode=0.")
    strides, dilations = _pair(model, node, "strides", (1, 1)), _pair(model, node, "dilations", (1, 1))
    mode = attrs.get("auto_pad", b"NOTSET")
    if mode in (b"SAME_UPPER", b"SAME_LOWER"):
        upper = mode == b"SAME_UPPER"
        top, left = (_same_pads(shape[2 + i], kernel[i], strides[i], dilations[i], upper=upper) for i in (0, 1))
        return strides, (top[0], left[0], top[1], left[1]), dilations
    pads = tuple(attrs.get("pads", (0, 0, 0, 0))) if mode == b"NOTSET" else (0, 0, 0, 0)
    if len(pads) != 4 or min(pads) < 0:
        raise refuse(model, node, f"pads must be four numbers of at least 0, not {list(pads)}.")
    return strides, pads, dilations


def max_pool(model: OnnxModel, node: Any) -> ops.MaxPool:
    """Convert MaxPool."""
    kernel = kernel_shape(model, node)
    strides, pads, dilations = window(model, node, kernel)
    if dilations != (1, 1):
        raise refuse(model, node, "dilated max pooling is not supported.")
    return ops.MaxPool(kernel=kernel, strides=strides, pads=pads)


def average_pool(model: OnnxModel, node: Any) -> ops.AveragePool:
    """Convert AveragePool that does not count its padding."""
    kernel = kernel_shape(model, node)
    strides, pads, dilations = window(model, node, kernel)
    if any(pads) and attributes(node).get("count_include_pad", 0):
        raise refuse(model, node, "average pooling that counts its padding is not supported; put a Pad node before it.")
    if dilations != (1, 1):
        raise refuse(model, node, "dilated average pooling is not supported.")
    return ops.AveragePool(kernel=kernel, strides=strides, pads=pads)


def limits(model: OnnxModel, node: Any) -> tuple[float, float]:
    """Return the limits of Relu and Clip; they are inputs or (before opset 11) attributes."""
    if node.op_type == "Relu":
        return 0.0, INF
    attrs, low, high = attributes(node), number(model, node, 1), number(model, node, 2)
    low = float(attrs.get("min", -INF)) if low is None else low
    high = float(attrs.get("max", INF)) if high is None else high
    if not low <= high:
        raise refuse(model, node, f"its limits {low} and {high} are not a range.")
    return low if low > -FLOAT32_MAX else -INF, high if high < FLOAT32_MAX else INF


def clip(model: OnnxModel, node: Any) -> ops.Clip:
    """Convert Relu and Clip."""
    low, high = limits(model, node)
    return ops.Clip(low=low, high=high)


def minimum(model: OnnxModel, node: Any) -> ops.Minimum | ops.Clip:
    """Convert Min of a tensor and a constant: one number, or one per channel."""
    value, shape = constant(model, node, 1), model.shapes[node.input[0]]
    if value is None or len(node.input) != 2:
        raise refuse(model, node, "only Min of a tensor and one constant is supported.")
    per_channel = np.ones((1, *shape[1:2], *(1,) * (len(shape) - 2)))
    if value.size != 1 and np.broadcast_shapes(value.shape, per_channel.shape) != per_channel.shape:
        raise refuse(model, node, f"a limit of shape {list(value.shape)}; only one number, or one per channel.")
    if value.size == 1:
        return ops.Clip(low=-INF, high=float(value.reshape(-1)[0]))
    limits = (value * per_channel).reshape(-1)
    return ops.Minimum(limits=tuple(float(limit) for limit in limits))


def function(model: OnnxModel, node: Any) -> ops.Function:
    """Convert a function of one value; the defaults are ONNX's."""
    attrs = attributes(node)
    match node.op_type:
        case "HardSigmoid":
            found = ops.Function(
                name="hard_sigmoid", alpha=float(attrs.get("alpha", 0.2)), beta=float(attrs.get("beta", 0.5))
            )
        case "LeakyRelu":
            found = ops.Function(name="leaky_relu", alpha=float(attrs.get("alpha", 0.01)))
        case "HardSwish":
            found = ops.Function(name="hard_swish")
        case _:
            found = ops.Function(name=node.op_type.lower())
    if found.name == "swish" and attrs.get("alpha", 1.0) != 1.0:
        raise refuse(model, node, f"alpha {attrs['alpha']}; only x * sigmoid(x), alpha 1, is supported.")
    if found.name in ("hard_sigmoid", "leaky_relu") and not found.alpha > 0:
        raise refuse(model, node, f"alpha {found.alpha}; it must be above 0.")
    if found.name == "leaky_relu" and found.alpha >= 1:
        raise refuse(model, node, f"alpha {found.alpha}; it must be below 1.")
    return found


def mean(model: OnnxModel, node: Any) -> ops.Mean:
    """Convert GlobalAveragePool, and ReduceMean over height and width."""
    rank = len(model.shapes[node.input[0]])
    over = [2, 3] if node.op_type == "GlobalAveragePool" else integers(model, node, 1, "axes") or []
    if rank != 4 or sorted(axis % rank for axis in over) != [2, 3]:
        raise refuse(
            model, node, f"a mean over axes {over} of {rank}; only height and width (2, 3) of 4 are supported."
        )
    return ops.Mean(keep_dims=node.op_type == "GlobalAveragePool" or bool(attributes(node).get("keepdims", 1)))


def pad(model: OnnxModel, node: Any, neutral: float = 0.0) -> ops.Pad:
    """Convert constant Pad with the value `neutral` (counts as input, or attribute before opset 11)."""
    attrs, counts, value = attributes(node), integers(model, node, 1, "pads") or [], number(model, node, 2)
    if attrs.get("mode", b"constant") != b"constant":
        raise refuse(model, node, f"mode {attrs['mode'].decode(errors='replace')}; only constant padding is supported.")
    if (float(attrs.get("value", 0.0)) if value is None else value) != neutral:
        raise refuse(model, node, "only padding with zeros is supported.")
    shape = model.shapes[node.input[0]]
    rank = len(shape)
    axes = integers(model, node, 3, "axes")
    axes = list(range(rank)) if axes is None else [axis % rank for axis in axes]
    if len(counts) != 2 * len(axes):
        raise refuse(model, node, f"{len(counts)} pad counts for {len(axes)} axes; it must be two for each.")
    before, after = [0] * rank, [0] * rank
    for index, axis in enumerate(axes):
        before[axis], after[axis] = counts[index], counts[index + len(axes)]
    if min((*counts, 0)) < 0 or before[0] or after[0]:
        raise refuse(model, node, f"counts {counts}: negative counts and padding of the batch axis are not supported.")
    return ops.Pad(before=tuple(before), after=tuple(after))


def slice_(model: OnnxModel, node: Any) -> ops.Slice:
    """Convert Slice with constant bounds and positive steps to one start, end and step per axis."""
    shape = model.shapes[node.input[0]]
    first, last = integers(model, node, 1, "starts") or [], integers(model, node, 2, "ends") or []
    over, by = integers(model, node, 3, "axes"), integers(model, node, 4, "steps")
    over, by = list(range(len(first))) if over is None else over, [1] * len(first) if by is None else by
    if not len(first) == len(last) == len(over) == len(by) or not all(
        -len(shape) <= axis < len(shape) for axis in over
    ):
        raise refuse(model, node, "starts, ends, axes and steps do not fit each other and the input.")
    bounds = [(0, size, 1) for size in shape]
    for axis, a, b, step in zip(over, first, last, by, strict=True):
        if step < 1:
            raise refuse(model, node, f"step {step}; only positive steps are supported.")
        bounds[axis] = slice(a, b, step).indices(shape[axis])
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
    """Convert Reshape, Flatten, Squeeze and Unsqueeze that keep the batch axis."""
    shape = model.shapes[node.output[0]]
    if not shape or shape[0] != 1:
        raise refuse(model, node, f"the result {list(shape)} does not keep the batch axis.")
    return ops.Reshape(shape=shape)


def softmax(model: OnnxModel, node: Any) -> ops.Softmax:
    """Convert Softmax over the last axis."""
    rank = len(model.shapes[node.input[0]])
    axis = int(attributes(node).get("axis", -1 if model.opset >= 13 else 1)) % max(rank, 1)
    if axis != rank - 1:
        raise refuse(model, node, f"softmax over axis {axis}; only the last axis is supported.")
    return ops.Softmax()


def move(model: OnnxModel, node: Any, neutral: float = 0.0) -> ops.Operator:
    """Convert an operator that only moves or picks values; `neutral` is what a Pad must pad with."""
    match node.op_type:
        case "MaxPool":
            return max_pool(model, node)
        case "Pad":
            return pad(model, node, neutral)
        case "Slice":
            return slice_(model, node)
        case "Concat":
            return concat(model, node)
        case _:
            return reshape(model, node)


def simple(model: OnnxModel, node: Any) -> ops.Operator:
    """Convert an operator without weights."""
    match node.op_type:
        case "Relu" | "Clip":
            return clip(model, node)
        case "HardSigmoid" | "HardSwish" | "LeakyRelu" | "Sigmoid" | "Swish" | "Tanh":
            return function(model, node)
        case "Min":
            return minimum(model, node)
        case "AveragePool":
            return average_pool(model, node)
        case "GlobalAveragePool" | "ReduceMean":
            return mean(model, node)
        case "Softmax":
            return softmax(model, node)
        case _:
            return move(model, node)
