"""QDQ files: QuantizeLinear, DequantizeLinear, and the operators on codes that tools put between them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from quant import onnx_nodes as convert
from quant import operators as ops
from quant.graph import Quant
from quant.onnx_build import Build
from quant.onnx_quant import Stored, read_stored

#: Operators on codes that mean the same as on real values.
MOVERS = ("Concat", "Flatten", "Identity", "MaxPool", "Pad", "Reshape", "Slice", "Squeeze", "Unsqueeze")
_FUSES = ops.Conv | ops.Gemm | ops.Add


def quantize(build: Build, node: Any) -> None:
    """Give the tensor a QuantizeLinear reads its number format; another one behind it becomes a Requantize."""
    name, output = build.source(node.input[0]), node.output[0]
    stored = read_stored(build.model, node, _default_dtype(node))
    build.codes[output] = stored
    if build.is_constant(name):
        build.alias[output] = name
        return
    build.activation(node, 0)
    quant, known = _for_activation(build, node, stored), build.quants.get(name)
    if known is not None and known != quant:
        if name == node.input[0]:
            raise convert.refuse(
                build.model, node, f"'{name}' is quantised twice, each time from real values; quantise it once."
            )
        build.emit(node, ops.Requantize(), (name,))
        name = output
    build.quants[name] = quant
    build.alias[output] = name


def _default_dtype(node: Any) -> str:
    """Type of the codes of a QuantizeLinear without zero point: its output_dtype (opset 21), else uint8."""
    import onnx

    given = convert.attributes(node).get("output_dtype", 0)
    return onnx.helper.tensor_dtype_to_np_dtype(given).name if given else "uint8"


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
    elif name == model.input and model.input_dtype.kind in "iu":
        known = stored = read_stored(model, node, model.input_dtype.name)
        build.quants[name] = _for_activation(build, node, stored)
        build.codes[name] = stored
    else:
        raise convert.refuse(model, node, f"'{name}' is not made by a QuantizeLinear.")
    if known != stored:
        raise convert.refuse(model, node, "scale and zero point differ from those of the QuantizeLinear before it.")
    if build.is_constant(name):
        build.constants[output] = stored
    build.alias[output] = build.source(name)


def on_codes(build: Build, node: Any) -> None:
    """Import an operator that reads codes."""
    stored = [build.codes[name] for name in node.input if name in build.codes]
    if node.op_type in ("Clip", "Relu"):
        _clip(build, node, stored[0])
    elif node.op_type in MOVERS and all(one == stored[0] for one in stored):
        _move(build, node, stored[0])
    else:
        raise convert.refuse(
            build.model,
            node,
            f"it works on codes; there only Clip, Relu, {', '.join(MOVERS)} with one scale and zero point are "
            "supported. Put a DequantizeLinear before it.",
        )
    build.codes[node.output[0]] = stored[0]


def _for_activation(build: Build, node: Any, stored: Stored) -> Quant:
    quant = stored.quant
    if len(quant.scale) > 1 or quant.format.bits > 16:
        what = "one scale per channel" if len(quant.scale) > 1 else f"{quant.format.name} codes"
        raise convert.refuse(
            build.model, node, f"activations with {what} are not supported; use one scale and 16 bits at most."
        )
    return quant


def _clip(build: Build, node: Any, stored: Stored) -> None:
    """Turn limits on stored codes into limits on real values, which name exactly these codes again."""
    name, quant = build.activation(node, 0), stored.quant
    if quant.format.is_minifloat:
        raise convert.refuse(build.model, node, "limits on the codes of minifloats are not supported.")
    low, high = ((limit - stored.shift - quant.zero) * quant.scale[0] for limit in convert.limits(build.model, node))
    last = build.nodes[-1] if build.nodes else None
    if last is not None and last.output == name and last.clip is None and _is_private(build, node, name):
        if isinstance(last.op, _FUSES):
            build.nodes[-1] = replace(last, clip=(low, high))
            build.alias[node.output[0]] = name
            return
        if isinstance(last.op, ops.Requantize):
            build.nodes[-1] = replace(last, op=ops.Clip(low=low, high=high))
            build.alias[node.output[0]] = name
            return
    build.emit(node, ops.Clip(low=low, high=high), (name,))
    build.quants[node.output[0]] = quant


def _is_private(build: Build, node: Any, name: str) -> bool:
    """Whether nothing but this node reads the codes, and nothing but their QuantizeLinear the real values."""
    return build.readers[node.input[0]] == 1 and (name == node.input[0] or build.readers[name] == 1)


def _move(build: Build, node: Any, stored: Stored) -> None:
    names = tuple(build.activation(node, i) for i in range(len(node.input) if node.op_type == "Concat" else 1))
    if node.op_type == "Identity":
        build.alias[node.output[0]] = names[0]
        return
    build.emit(node, convert.move(build.model, node, float(stored.quant.zero + stored.shift)), names)
    build.quants[node.output[0]] = stored.quant
