"""Operators on codes (ONNX Runtime's QOperator files) rewritten as the QDQ they stand for.

`QLinearConv(x, x_scale, x_zero, w, ...)` is DequantizeLinear of each input, Conv, QuantizeLinear. The others likewise.
A bias holds codes on the accumulator's grid, x_scale * w_scale.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from quant.errors import QuantError
from quant.formats import Array

MICROSOFT = "com.microsoft"
#: Domain and operator -> the operator on real values.
_PLAIN = {
    ("", "QLinearConv"): "Conv",
    ("", "QLinearMatMul"): "MatMul",
    (MICROSOFT, "QGemm"): "Gemm",
    (MICROSOFT, "QLinearAdd"): "Add",
    (MICROSOFT, "QLinearAveragePool"): "AveragePool",
    (MICROSOFT, "QLinearConcat"): "Concat",
    (MICROSOFT, "QLinearGlobalAveragePool"): "GlobalAveragePool",
    (MICROSOFT, "QLinearLeakyRelu"): "LeakyRelu",
    (MICROSOFT, "QLinearMul"): "Mul",
    (MICROSOFT, "QLinearSigmoid"): "Sigmoid",
}
#: The same as the standard operators, from before those had 16- and 4-bit codes.
_LINEAR = ("DequantizeLinear", "QuantizeLinear")
#: Where an operator's inputs are: (codes, scale, zero point) of each, (scale, zero point) of the output, and the bias.
_LAYOUTS: dict[str, tuple[tuple[tuple[int, int, int], ...], tuple[int, int], int | None]] = {
    "Conv": (((0, 1, 2), (3, 4, 5)), (6, 7), 8),
    "MatMul": (((0, 1, 2), (3, 4, 5)), (6, 7), None),
    "Gemm": (((0, 1, 2), (3, 4, 5)), (7, 8), 6),
    "Add": (((0, 1, 2), (3, 4, 5)), (6, 7), None),
    "AveragePool": (((0, 1, 2),), (3, 4), None),
    "LeakyRelu": (((0, 1, 2),), (3, 4), None),
    "Mul": (((0, 1, 2), (3, 4, 5)), (6, 7), None),
    "Sigmoid": (((0, 1, 2),), (3, 4), None),
    "GlobalAveragePool": (((0, 1, 2),), (3, 4), None),
}
#: Operators whose scales are computed from each input.
_DYNAMIC = ("ConvInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulInteger", "MatMulIntegerToFloat")


def to_qdq(path: Any, model: Any) -> Any:
    """Return a checked ModelProto without operators on codes that have a QDQ form; the same object if it has none.

    Raises:
        QuantError: scales are computed at run time, or a bias has no constant scales to tell its grid.
    """
    import onnx

    kinds = [_kind(node) for node in model.graph.node]
    for node in model.graph.node:
        if node.op_type in _DYNAMIC:
            raise QuantError(
                f"{path}: {_where(node)}: dynamic quantisation computes scales from each input; only fixed scales have "
                "an integer form here. Quantise statically (quantize_static)."
            )
    if not any(kinds):
        return model
    constants = _constants(model)
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    del plain.graph.node[:]
    for node, kind in zip(model.graph.node, kinds, strict=True):
        if kind in _LINEAR or not kind:
            plain.graph.node.append(node)
            plain.graph.node[-1].domain = "" if kind else node.domain
            continue
        made, fixed = _rewrite(path, node, kind, constants)
        plain.graph.node.extend(made)
        plain.graph.initializer.extend(onnx.numpy_helper.from_array(value, name) for name, value in fixed.items())
    return plain


def _kind(node: Any) -> str:
    """Return the plain operator that a node is to become; empty where it stays as it is."""
    if node.domain == MICROSOFT and node.op_type in _LINEAR:
        return str(node.op_type)
    return _PLAIN.get((node.domain.replace("ai.onnx", ""), node.op_type), "")


def _where(node: Any) -> str:
    return f"node '{node.name or node.output[0]}' (op {node.op_type})"


def _constants(model: Any) -> dict[str, Array]:
    import onnx

    found = {item.name: onnx.numpy_helper.to_array(item) for item in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            found[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
    return found


def _rewrite(path: Any, node: Any, kind: str, constants: Mapping[str, Array]) -> tuple[list[Any], dict[str, Array]]:
    """Return the QDQ nodes of one operator on codes, and the constants they need."""
    from onnx import helper

    output = node.output[0]
    attributes = {item.name: helper.get_attribute_value(item) for item in node.attribute}
    if attributes.pop("channels_last", 0):
        raise QuantError(f"{path}: {_where(node)}: channels_last=1 is not supported; use NCHW.")
    operands, (scale, zero), bias = _layout(node, kind)
    made, names = [], []
    for index, operand in enumerate(operands):
        names.append(f"{output}.{index}.real")
        # Per-channel scales of weights: output channels, which a matrix has last.
        axis = {"Conv": 0, "MatMul": 1, "Gemm": 0 if attributes.get("transB", 0) else 1}.get(kind, 1)
        made.append(_node("DequantizeLinear", [_at(node, i) for i in operand], names[-1], {"axis": axis}))
    fixed: dict[str, Array] = {}
    if bias is not None and _at(node, bias):
        grid, real = f"{output}.bias.scale", f"{output}.bias.real"
        fixed[grid] = _bias_scale(path, node, [_at(node, i) for i in (1, 4)], constants)
        made.append(_node("DequantizeLinear", [_at(node, bias), grid], real, {"axis": 0}))
        names.append(real)
    floats = not _at(node, scale)
    result = output if floats else f"{output}.real"
    made.append(helper.make_node(kind, names, [result], name=node.name or output, **attributes))
    if not floats:
        made.append(_node("QuantizeLinear", [result, _at(node, scale), _at(node, zero)], output, {}))
    return made, fixed


def _layout(node: Any, kind: str) -> tuple[tuple[tuple[int, int, int], ...], tuple[int, int], int | None]:
    if kind == "Concat":
        return tuple((i, i + 1, i + 2) for i in range(2, len(node.input), 3)), (0, 1), None
    return _LAYOUTS[kind]


def _at(node: Any, index: int) -> str:
    return str(node.input[index]) if index < len(node.input) else ""


def _node(kind: str, inputs: list[str], output: str, attributes: dict[str, int]) -> Any:
    from onnx import helper

    while inputs and not inputs[-1]:
        inputs = inputs[:-1]
    return helper.make_node(kind, inputs, [output], name=f"{output}.{kind}", **attributes)


def _bias_scale(path: Any, node: Any, names: list[str], constants: Mapping[str, Array]) -> Array:
    missing = [name for name in names if name not in constants]
    if missing:
        raise QuantError(f"{path}: {_where(node)}: its scale '{missing[0]}' must be a constant.")
    x, weight = (constants[name].astype(np.float32).reshape(-1) for name in names)
    scale: Array = x * weight
    return scale if scale.size > 1 else scale.reshape(())
