"""QDQ files: QuantizeLinear, DequantizeLinear, and the operators on codes that tools put between them."""

from __future__ import annotations

from typing import Any

from quant import onnx_nodes as convert
from quant.graph import Quant
from quant.onnx_build import Build
from quant.onnx_channels import one_scale
from quant.onnx_quant import Stored, narrowed, read_stored

#: Operators on codes that mean the same as on real values.
MOVERS = ("Concat", "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Squeeze", "Unsqueeze")


def quantize(build: Build, node: Any) -> None:
    """Put the tensor a QuantizeLinear reads on its grid."""
    output, stored = node.output[0], read_stored(build.model, node, _default_dtype(node))
    build.codes[output] = stored
    if build.is_constant(node.input[0]):
        build.alias[output] = build.source(node.input[0])
        return
    stored = build.codes[output] = _clipped(build, output, stored)
    quant = stored.quant if stored.quant.axis is None else one_scale(build, node, stored)
    check_activation(build, node, quant)
    # The Clip that narrows the codes comes as a node of its own.
    build.quantised(node, build.activation(node, 0), Stored(quant, stored.dtype))


def _default_dtype(node: Any) -> str:
    """Type of the codes of a QuantizeLinear without zero point: its output_dtype (opset 21), else uint8."""
    import onnx

    given = convert.attributes(node).get("output_dtype", 0)
    return onnx.helper.tensor_dtype_to_np_dtype(given).name if given else "uint8"


def _clipped(build: Build, output: str, stored: Stored) -> Stored:
    """Return how codes are stored that only Clips with the same limits read (QCDQ: fewer bits in a wider type)."""
    readers = [node for node in build.model.nodes if output in node.input]
    clips = {_code_limits(build, node, stored) for node in readers if node.op_type == "Clip"}
    if len(clips) != 1 or any(node.op_type != "Clip" for node in readers) or stored.quant.format.is_minifloat:
        return stored
    return narrowed(stored, *clips.pop())


def _code_limits(build: Build, node: Any, stored: Stored) -> tuple[int, int]:
    """Return the limits of a Clip of codes as stored numbers within the type of the codes."""
    fmt, shift = stored.quant.format, stored.shift
    low, high = convert.limits(build.model, node)
    return int(max(low, fmt.min_ordinal + shift)), int(min(high, fmt.max_ordinal + shift))


def dequantize(build: Build, node: Any) -> None:
    """Lead the real values back to the tensor or constant whose codes these are."""
    name, output, model = node.input[0], node.output[0], build.model
    if name in build.codes:
        known = build.codes[name]
        stored = read_stored(model, node, known.dtype)
    elif name in model.constants:
        known = stored = read_stored(model, node, model.constants[name].dtype.name)
        if stored.dtype != model.constants[name].dtype.name:
            raise convert.refuse(model, node, f"a {stored.dtype} zero point for {model.constants[name].dtype} codes.")
    elif build.is_constant(name):
        stored = read_stored(model, node, model.constants[build.source(name)].dtype.name)
        known = narrowed(stored, *build.clips[name])
    elif name == model.input and model.input_dtype.kind in "iu":
        known = stored = read_stored(model, node, model.input_dtype.name)
        check_activation(build, node, stored.quant)
        build.quants[name] = stored.quant
        build.codes[name] = stored
    else:
        raise convert.refuse(model, node, f"'{name}' is not made by a QuantizeLinear.")
    if not known.same_grid(stored):
        raise convert.refuse(model, node, "scale and zero point differ from those of the QuantizeLinear before it.")
    if build.is_constant(name):
        build.constants[output] = known
    build.alias[output] = build.source(name)


def on_codes(build: Build, node: Any) -> None:
    """Import an operator that reads codes."""
    stored = [build.codes[name] for name in node.input if name in build.codes]
    if node.op_type in ("Clip", "Relu"):
        _clip(build, node, stored[0])
    elif node.op_type in MOVERS and all(one.same_grid(stored[0]) and one.quant == stored[0].quant for one in stored):
        _move(build, node, stored[0])
        build.codes[node.output[0]] = stored[0]
    else:
        raise convert.refuse(
            build.model,
            node,
            f"it works on codes; there only Clip, Relu, {', '.join(MOVERS)} with one scale and zero point are "
            "supported. Put a DequantizeLinear before it.",
        )


def clip_constant(build: Build, node: Any) -> None:
    """Take the Clip of stored integer weights (QCDQ) as the range of their codes."""
    name, output = node.input[0], node.output[0]
    low, high = convert.limits(build.model, node)
    value = build.model.constants[build.source(name)]
    if value.dtype.kind not in "iu" or not value.size:
        raise convert.refuse(
            build.model, node, f"'{name}' is a constant of type {value.dtype}; only codes are clipped."
        )
    build.alias[output] = build.source(name)
    build.clips[output] = (int(max(low, -(1 << 31))), int(min(high, (1 << 31) - 1)))


def check_activation(build: Build, node: Any, quant: Quant) -> None:
    """Refuse grids that an activation cannot have."""
    if len(quant.scale) > 1 or quant.format.bits > 16:
        what = "one scale per channel" if len(quant.scale) > 1 else f"{quant.format.name} codes"
        raise convert.refuse(
            build.model, node, f"activations with {what} are not supported; use one scale and 16 bits at most."
        )


def _clip(build: Build, node: Any, stored: Stored) -> None:
    """Turn limits on stored codes into limits on real values, which name exactly these codes again."""
    output, fmt = node.output[0], stored.quant.format
    if fmt.is_minifloat:
        raise convert.refuse(build.model, node, "limits on the codes of minifloats are not supported.")
    low, high = (limit - stored.shift for limit in _code_limits(build, node, stored))
    whole = low <= fmt.min_ordinal and high >= fmt.max_ordinal
    build.codes[output] = Stored(stored.quant, stored.dtype, stored.shift, None if whole else (low, high))
    if build.is_constant(node.input[0]):
        build.codes[output] = narrowed(stored, low + stored.shift, high + stored.shift)
        build.alias[output] = build.source(node.input[0])
    elif whole:
        build.alias[output] = build.source(node.input[0])
    elif stored.quant.axis is not None:
        raise convert.refuse(build.model, node, "limits on codes with one scale per channel are not supported.")
    else:
        build.quantised(node, build.activation(node, 0), build.codes[output])


def _move(build: Build, node: Any, stored: Stored) -> None:
    names = tuple(build.activation(node, i) for i in range(len(node.input) if node.op_type == "Concat" else 1))
    if node.op_type == "Identity":
        build.alias[node.output[0]] = names[0]
        return
    build.emit(node, convert.move(build.model, node, float(stored.quant.zero + stored.shift)), names)
    build.quants[node.output[0]] = stored.quant
