"""Numbers of QDQ files: QuantizeLinear parameters, weight codes, biases on the accumulator's grid."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from quant.formats import Array, Format, IntArray, find_format
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
#: Storage of QONNX's bipolar values: -1 and 1 times the scale.
BIPOLAR = "bipolar"
#: Accumulators and biases; never an activation.
INT32 = Format(name="int32", bits=32)
#: Largest magnitude of a bias in accumulator units: int32, or with minifloats the accumulator of 48 bits.
BIAS_MAX, BIAS_MAX_WIDE = (1 << 31) - 1, 1 << 47


@dataclass(frozen=True, slots=True)
class Stored:
    """How a file stores the codes of a tensor: the graph's code is the stored number minus `shift`.

    `limits` are the lowest and highest ordinal the file lets through; None where that is the whole format.
    """

    quant: Quant
    dtype: str
    shift: int = 0
    limits: tuple[int, int] | None = None

    def same_grid(self, other: Stored) -> bool:
        """Whether two nodes name the same type, scale and zero point (of fewer bits or not)."""
        ours, theirs = (
            (one.dtype, one.quant.scale, one.quant.axis, one.quant.zero + one.shift) for one in (self, other)
        )
        return ours == theirs

    def clip(self) -> tuple[float, float] | None:
        """Return `limits` as real values of a tensor with one scale."""
        if self.limits is None:
            return None
        fmt, zero, scale = self.quant.format, self.quant.zero, self.quant.scale[0]
        low, high = ((fmt.units_of_ordinal(limit) - zero) * fmt.unit * scale for limit in self.limits)
        return low, high


def narrowed(stored: Stored, low: int, high: int) -> Stored:
    """Return how codes are stored that were clipped to the stored numbers [low, high].

    Limits of a whole integer format of fewer bits (with or without its lowest code) give that format: QCDQ files store
    4-bit codes as clipped int8. Other limits stay limits of the wide format.
    """
    fmt, signed, zero = stored.quant.format, not stored.dtype.startswith("u"), stored.quant.zero + stored.shift
    bits = (high + 1).bit_length() - (0 if signed else 1)
    top = (1 << (bits - 1)) - 1 if signed else (1 << bits) - 1
    whole = high == top and (low in (-top, -top - 1) if signed else low == 0)
    if whole and 2 <= bits < fmt.bits and low <= zero <= high:
        shift = 0 if signed else 1 << (bits - 1)
        quant = replace(stored.quant, format=find_format(f"int{bits}"), zero=zero - shift)
        stored = replace(stored, quant=quant, shift=shift)
    fmt, low, high = stored.quant.format, low - stored.shift, high - stored.shift
    limits = (max(low, fmt.min_ordinal), min(high, fmt.max_ordinal))
    return replace(stored, limits=None if limits == (fmt.min_ordinal, fmt.max_ordinal) else limits)


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
    shift = _SHIFTS.get(dtype, 0)
    return Stored(Quant(fmt, scales, int(zeros[0]) - shift, _axis(model, node, scale)), dtype, shift)


def _axis(model: OnnxModel, node: Any, scale: Array) -> int | None:
    """Return the axis of per-channel scales, None for one scale."""
    if scale.size == 1:
        return None
    shape, axis = model.shapes[node.input[0]], int(attributes(node).get("axis", 1))
    if not -len(shape) <= axis < len(shape) or shape[axis] != scale.size:
        raise refuse(model, node, f"{scale.size} scales along axis {axis} of a tensor of shape {list(shape)}.")
    return axis % len(shape)


def scale_axis(scale: tuple[int, ...], tensor: tuple[int, ...]) -> int | None:
    """Return the axis along which scales that broadcast against a tensor vary; None when there is not just one."""
    aligned = (1,) * (len(tensor) - len(scale)) + scale
    long = [axis for axis, size in enumerate(aligned) if size > 1]
    fits = len(aligned) == len(tensor) and len(long) == 1 and aligned[long[0]] == tensor[long[0]]
    return long[0] if fits else None


def quantise_constant(model: OnnxModel, node: Any, value: Array, stored: Stored | None) -> tuple[Array, Quant | None]:
    """Return weight codes and their symmetric format, or float weights and None."""
    if stored is None:
        return value.astype(np.float32), None
    quant = stored.quant
    if quant.zero != 0:
        raise refuse(
            model,
            node,
            f"its weights '{node.input[1]}' have zero point {quant.zero}; only symmetric weights are supported. "
            "Quantise weights with zero point 0 (in ONNX Runtime weight_type QInt8, or WeightSymmetric).",
        )
    if quant.format.bits > 16:
        raise refuse(model, node, f"weights with {quant.format.name} codes are not supported; use 16 bits at most.")
    if quant.format.is_minifloat and value.dtype not in (np.float16, np.float32, np.float64):
        codes = value.view(np.uint8)
    else:
        codes = quant.format.from_ordinals(stored_ordinals(value, stored))
    return codes, replace(quant, axis=0 if quant.axis is None else quant.axis)


def stored_ordinals(value: Array, stored: Stored) -> IntArray:
    """Return the ordinals of a constant: real values are rounded, codes shifted, both clipped to the limits."""
    quant, fmt = stored.quant, stored.quant.format
    if value.dtype in (np.float16, np.float32, np.float64):
        shape = [1] * value.ndim
        if quant.axis is not None:
            shape[quant.axis] = -1
        real = value.astype(np.float32) / np.array(quant.scale, dtype=np.float32).reshape(shape)
        if stored.dtype == BIPOLAR:
            return np.where(real >= 0, 1, -1)
        ordinals = to_nearest_ordinals(fmt, real if quant.zero == 0 else np.rint(real) + quant.zero)
    else:
        ordinals = value.astype(np.int64) - stored.shift
    return np.clip(ordinals, *(stored.limits or (fmt.min_ordinal, fmt.max_ordinal)))


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
    limit = BIAS_MAX_WIDE if wide else BIAS_MAX
    codes: Array = np.clip(units, -limit, limit).astype(np.int64 if wide else np.int32)
    return codes


def finish_bias(
    model: OnnxModel, node: Any, bias: Array, stored: Stored | None, x: Quant | None, weight: Quant | None
) -> Array:
    """Return a bias as float values, or in accumulator units of a layer with quantised weights.

    Codes on the accumulator's grid stay as they are. Real values, and codes on another grid, are rounded to it, which
    moves a sum by at most half an accumulator unit.

    Args:
        model: that holds the node.
        node: the layer.
        bias: values or codes, one per output.
        stored: how the bias is stored, None for real values.
        x: number format of the layer's input.
        weight: number format of its weights, None for float weights.

    Raises:
        QuantError: the input has no format, or the bias does not fit the accumulator.
    """
    if weight is None:
        if stored is not None:
            raise refuse(model, node, "its bias is quantised and its weights are not.")
        return bias.astype(np.float32)
    if x is None:
        raise refuse(
            model,
            node,
            f"its input '{node.input[0]}' has no QuantizeLinear before it: its weights are quantised and this node "
            "reads real values. Quantise the input of every layer in the tool that wrote the file.",
        )
    if stored is not None and stored.quant.format.is_minifloat:
        raise refuse(model, node, "a minifloat bias is not supported; leave the bias float, or use int32.")
    real, units = bias.astype(np.float64), np.broadcast_to(bias_units(x, weight), bias.shape)
    if stored is not None:
        codes = stored_ordinals(bias, stored)
        scale = np.broadcast_to(np.array(stored.quant.scale), bias.shape)
        # Per-tensor weights or biases have one scale for all outputs; float32 products differ in the last bits.
        if stored.quant.zero == 0 and np.allclose(scale, units, rtol=1e-5, atol=0):
            real = codes * units
        else:
            real = (codes - stored.quant.zero) * scale
    limit = BIAS_MAX_WIDE if x.format.is_minifloat or weight.format.is_minifloat else BIAS_MAX
    if not emulated_only(x.format, weight.format) and (np.abs(real / units) > limit).any():
        worst = int(np.argmax(np.abs(real / units)))
        raise refuse(
            model,
            node,
            f"the bias of output channel {worst} is {real[worst]:.6g}, {abs(real[worst] / units[worst]):.3g} steps of "
            f"the accumulator (input scale * weight scale), which holds {limit:.3g}; use a larger weight scale for "
            "this channel.",
        )
    return quantise_bias(real, x, weight)
