"""QONNX's quantisers as ONNX nodes, and a checked model with them inside.

`Quant` has a scale, a zero point and a bit width; `FloatQuant` a scale, exponent and mantissa bits, an exponent bias
and the largest value. Weights are their codes times their scale in front of such a node, so that codes and scales come
out of the file again, every one. Integer biases are 32-bit `Quant`s on the accumulator's grid, beside minifloats plain
values. Both are float32: a bias of more than 22 bits comes out with its first 24 bits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from onnx import helper

from export.errors import ExportError
from export.onnx_fragment import IR_VERSIONS, Fragment, Port, constant, join, operation, scalar
from export.onnx_ops import FLOAT32
from quant.formats import Array
from quant.graph import Quant

OPSET = 13
#: ONNX domain of the quantisers, and its version.
DOMAIN, DOMAIN_VERSION = "qonnx.custom_op.general", 1
#: Bit width that QONNX files give biases.
BIAS_BITS = 32


def quantiser(source: str, output: str, quant: Quant, rank: int = 0) -> Fragment:
    """Return the node that puts real values on a grid.

    Args:
        source: ONNX name of the values.
        output: ONNX name of the values on the grid.
        quant: the grid; several scales belong to the first axis.
        rank: number of axes of the values; only needed with several scales.
    """
    fmt, scale = quant.format, np.array(quant.scale, dtype=np.float32)
    if not fmt.is_minifloat:
        return _node("Quant", source, output, scale, rank, _integer_keys(fmt.bits, quant.zero), _how(fmt.signed))
    keys = {"exponent_bits": fmt.exponent, "mantissa_bits": fmt.mantissa, "exponent_bias": fmt.bias, "largest": fmt.max}
    # E4M3FN has NaN codes only, the OCP E5M2 infinities as well; codes of all others are numbers.
    reserved = {"has_inf": int(fmt.reserved > 1), "has_nan": int(fmt.reserved > 0)}
    attributes = {**reserved, "has_subnormal": 1, "saturation": 1, "rounding_mode": "ROUND"}
    return _node("FloatQuant", source, output, scale, rank, keys, attributes)


def _integer_keys(bits: int, zero: int) -> dict[str, float]:
    return {"zero_point": zero, "bits": bits}


def _how(signed: bool) -> dict[str, object]:
    return {"signed": int(signed), "narrow": 0, "rounding_mode": "ROUND"}


def _node(
    kind: str,
    source: str,
    output: str,
    scale: Array,
    rank: int,
    numbers: Mapping[str, float],
    attributes: Mapping[str, object],
) -> Fragment:
    names = [f"{output}_{key}" for key in ("scale", *numbers)]
    several = scale.size > 1
    grid = constant(names[0], scale.reshape(-1, *(1,) * (rank - 1))) if several else scalar(names[0], scale[0], FLOAT32)
    further = [scalar(name, value, FLOAT32) for name, value in zip(names[1:], numbers.values(), strict=True)]
    made = operation(kind, (source, *names), output, attributes)
    made.nodes[-1].domain = DOMAIN
    return join((grid, *further, made))


def weight(name: str, output: str, codes: Array, quant: Quant) -> Fragment:
    """Return a weight as real values and its quantiser."""
    scale = np.array(quant.scale).reshape(-1, *(1 for _ in codes.shape[1:]))
    real = (quant.format.decode(codes) * scale).astype(np.float32)
    return join((constant(name, real), quantiser(name, output, quant, codes.ndim)))


def bias(name: str, output: str, codes: Array, units: Array, bits: int | None) -> Fragment:
    """Return a bias in accumulator units, one float64 unit or one per channel, and its quantiser of so many bits."""
    real = (codes.astype(np.float64) * units).astype(np.float32)
    if bits is None:
        return constant(output, real)
    keys, how = _integer_keys(bits, 0), _how(signed=True)
    return join((constant(name, real), _node("Quant", name, output, units.astype(np.float32), 1, keys, how)))


def model(name: str, body: Fragment, source: Port, sink: Port, shapes: Mapping[str, tuple[int, ...]]) -> Any:
    """Return a checked ModelProto of float32 tensors.

    Every tensor has its shape: QONNX's tools want that before they execute or change a model, and ONNX's own shape
    inference stops at operators that it does not know.

    Args:
        name: graph name.
        body: everything between input and output.
        source: the input.
        sink: the output.
        shapes: of every tensor that a node makes, by name.

    Raises:
        ExportError: the ONNX checker refuses the model.
    """
    values = [_value(port.name, port.shape) for port in (source, sink)]
    inner = [_value(key, shape) for key, shape in shapes.items() if key != sink.name]
    graph = helper.make_graph(body.nodes, name, values[:1], values[1:], body.constants, value_info=inner)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, DOMAIN_VERSION)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSIONS[OPSET], producer_name="edgemill")
    try:
        onnx.checker.check_model(made)
    except onnx.checker.ValidationError as error:
        raise ExportError(f"graph '{name}' gives an invalid QONNX model: {error}") from error
    return made


def _value(name: str, shape: tuple[int | str, ...]) -> Any:
    return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, list(shape))
