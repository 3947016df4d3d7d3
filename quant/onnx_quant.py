"""Numbers of QDQ files: QuantizeLinear parameters, weight codes, biases on the accumulator's grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quant.formats import Array, Format, find_format
from quant.graph import Quant
from quant.onnx_nodes import attributes, constant, refuse
from quant.onnx_read import OnnxModel
from quant.rounding import to_nearest_ordinals

#: numpy / ml_dtypes type names of ONNX codes -> format name. Unsigned codes are stored shifted.
_FORMATS = {
    "int4": "int4",
    "uint4": "int4",
    "int8": "int8",
    "uint8": "int8",
    "int16": "int16",
    "uint16": "int16",
    "int32": "int32",
    "float8_e4m3fn": "e4m3fn",
    "float8_e5m2": "e5m2ocp",
}
_SHIFTS = {"uint4": 8, "uint8": 128, "uint16": 1 << 15}
#: Accumulators and biases; never an activation.
INT32 = Format(name="int32", bits=32)


@dataclass(frozen=True, slots=True)
class Stored:
    """How a file stores the codes of a tensor: the graph's code is the stored number minus `shift`."""

    quant: Quant
    dtype: str

    @property
    def shift(self) -> int:
        """What makes unsigned codes of signed ones."""
        return _SHIFTS.get(self.dtype, 0)


def read_stored(model: OnnxModel, node: Any, default: str = "uint8") -> Stored:
    """Read scale and zero point of a QuantizeLinear or DequantizeLinear node; unsigned codes become signed.

    Args:
        model: that holds the node.
        node: the node.
        default: type of the codes where the node has no zero point.

    Raises:
        QuantError: the scale is absent, not positive or not one per tensor or channel, the type of the codes is not
            known, or zero points differ between channels.
    """
    scale, zero = constant(model, node, 1), constant(model, node, 2)
    if scale is None or scale.ndim > 1 or attributes(node).get("block_size", 0):
        raise refuse(model, node, "it must have one scale, or one for each channel.")
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise refuse(model, node, "its scale must be positive and finite.")
    dtype = zero.dtype.name if zero is not None else default
    if dtype not in _FORMATS:
        raise refuse(model, node, f"codes of type {dtype}; supported: {', '.join(_FORMATS)}.")
    # Zero points of float8 are zeros of that type.
    zeros = np.zeros(1, np.int64) if zero is None else zero.astype(np.float32).astype(np.int64).reshape(-1)
    if zeros.size not in (1, scale.size) or len(set(zeros.tolist())) > 1:
        raise refuse(model, node, "zero points that differ between channels are not supported.")
    fmt = INT32 if dtype == "int32" else find_format(_FORMATS[dtype])
    scales = tuple(float(s) for s in scale.astype(np.float32).reshape(-1))
    return Stored(Quant(fmt, scales, int(zeros[0]) - _SHIFTS.get(dtype, 0), _axis(model, node, scale)), dtype)


def _axis(model: OnnxModel, node: Any, scale: Array) -> int | None:
    """Return the axis of per-channel scales, None for one scale."""
    if scale.size == 1:
        return None
    shape, axis = model.shapes[node.input[0]], int(attributes(node).get("axis", 1))
    if not -len(shape) <= axis < len(shape) or shape[axis] != scale.size:
        raise refuse(model, node, f"{scale.size} scales along axis {axis} of a tensor of shape {list(shape)}.")
    return axis % len(shape)


def quantise_constant(model: OnnxModel, node: Any, value: Array, stored: Stored | None) -> tuple[Array, Quant | None]:
    """Return weight codes and their symmetric format, or float weights and None."""
    if stored is None:
        return value.astype(np.float32), None
    quant = stored.quant
    if quant.zero != 0:
        raise refuse(model, node, f"its weights have zero point {quant.zero}; only symmetric weights are supported.")
    if quant.format.bits > 16:
        raise refuse(model, node, f"weights with {quant.format.name} codes are not supported; use 16 bits at most.")
    if value.dtype in (np.float32, np.float64):
        shape = [1] * value.ndim
        if quant.axis is not None:
            shape[quant.axis] = -1
        scale = np.array(quant.scale, dtype=np.float32).reshape(shape)
        codes = quant.format.from_ordinals(to_nearest_ordinals(quant.format, value / scale))
    elif quant.format.is_minifloat:
        codes = value.view(np.uint8)
    else:
        codes = (value.astype(np.int64) - stored.shift).astype(quant.format.dtype)
    return codes, replace(quant, axis=0 if quant.axis is None else quant.axis)


def bias_units(x: Quant, weight: Quant) -> Array:
    """Real value of one bias unit per output channel (float64): the accumulator's grid."""
    units: Array = np.array(weight.scale) * (x.scale[0] * x.format.unit * weight.format.unit)
    return units


def emulated_only(x: Format, weight: Format) -> bool:
    """Whether one product of the two formats exceeds every accumulator, so that only `quant.simulate` runs it."""
    return (x.is_minifloat or weight.is_minifloat) and x.magnitude_bits + weight.magnitude_bits > 48


def quantise_bias(bias: Array, x: Quant, weight: Quant) -> Array:
    """Round a float bias to whole accumulator units: int32 for integer formats, int64 where a minifloat takes part.

    Where products alone exceed the accumulator of 48 bits, so that `quant.program.lower` refuses the layer, the units
    stay whole numbers in float64, for emulation.
    """
    units: Array = np.rint(bias.astype(np.float64) / bias_units(x, weight))
    wide = x.format.is_minifloat or weight.format.is_minifloat
    if emulated_only(x.format, weight.format):
        return units
    limit = 2.0**47 if wide else 2.0**31 - 1
    codes: Array = np.clip(units, -limit, limit).astype(np.int64 if wide else np.int32)
    return codes


def finish_bias(
    model: OnnxModel, node: Any, bias: Array, stored: Stored | None, x: Quant | None, weight: Quant | None
) -> Array:
    """Return a bias as float values, or in accumulator units of a layer with quantised weights.

    Args:
        model: that holds the node.
        node: the layer.
        bias: values or codes, one per output.
        stored: how the bias is stored, None for real values.
        x: number format of the layer's input.
        weight: number format of its weights, None for float weights.

    Raises:
        QuantError: the input has no format, or the bias is on another grid than the accumulator.
    """
    if weight is None:
        if stored is not None:
            raise refuse(model, node, "its bias is quantised and its weights are not.")
        return bias.astype(np.float32)
    if x is None:
        raise refuse(model, node, f"its input '{node.input[0]}' has no QuantizeLinear before it.")
    if stored is None:
        return quantise_bias(bias, x, weight)
    expected = bias_units(x, weight)
    # Per-tensor weights or biases have one scale for all outputs; float32 products differ in the last bits.
    fits = np.allclose(np.array(stored.quant.scale), expected, rtol=1e-5, atol=0)
    if stored.quant.format != INT32 or stored.quant.zero != 0 or not fits:
        raise refuse(model, node, "its bias must be int32 with zero point 0 and scale (input scale * weight scale).")
    return bias.astype(np.int32)
