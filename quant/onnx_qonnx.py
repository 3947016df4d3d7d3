"""QONNX: `Quant` (integers), `FloatQuant` (minifloats) and `BipolarQuant`, each from real values to real values.

Integers:   y = scale * (clip(round(x / scale + zero), low, high) - zero); low and high from bit width, signed, narrow.
Minifloats: y = scale * nearest(x / scale) with E exponent bits, M mantissa bits, an exponent bias and a largest value.

A bias B other than 2^(E-1) - 1 only moves the binary point: its values are 2^(2^(E-1) - 1 - B) times those of ours,
which goes into the scale exactly.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from quant import onnx_nodes as convert
from quant.formats import FORMATS, Array, Format, integer
from quant.graph import Quant
from quant.onnx_build import Build
from quant.onnx_channels import one_scale
from quant.onnx_codes import check_activation
from quant.onnx_quant import BIPOLAR, INT32, Stored, scale_axis
from quant.rounding import to_nearest_ordinals

#: Names of rounding to nearest, ties to even.
_HALF_EVEN = ("ROUND", "HALF_EVEN")


def fake_quantize(build: Build, node: Any) -> None:
    """Put the tensor or constant that a quantiser reads on its grid."""
    name, output = node.input[0], node.output[0]
    stored = _STORED[node.op_type](build, node)
    if build.is_constant(name):
        if build.constants.get(name) is not None:
            raise convert.refuse(build.model, node, f"'{name}' is quantised twice; quantise it once.")
        build.constants[output], build.alias[output] = stored, build.source(name)
        return
    if node.op_type == "BipolarQuant" or _is_bipolar(build, node):
        raise convert.refuse(
            build.model, node, "binary activations (a sign) have no integer form here; only weights may be bipolar."
        )
    if stored.quant.axis is not None:
        stored = replace(stored, quant=one_scale(build, node, stored))
    check_activation(build, node, stored.quant)
    build.quantised(node, build.activation(node, 0), stored)


def _integer(build: Build, node: Any) -> Stored:
    attributes = convert.attributes(node)
    _check_rounding(build, node, attributes)
    if _is_bipolar(build, node):
        return _bipolar(build, node)
    bits, zero = _whole(build, node, 3, "bit width"), _whole(build, node, 2, "zero point")
    signed, narrow = bool(attributes.get("signed", 1)), bool(attributes.get("narrow", 0))
    if not 1 <= bits <= 32:
        raise convert.refuse(
            build.model, node, f"input 3 (bit width) is {bits}; supported: 2 to 16, and 32 for a bias."
        )
    if bits > 16:
        # A bias: the limits of so many bits are checked on the accumulator's grid.
        scale, axis = _scales(build, node)
        return Stored(Quant(INT32, scale, zero, axis), "int32")
    low, high = (-(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1 - narrow)
    if not signed and zero == 0 and bits > 1 and build.is_constant(node.input[0]):
        # Weights have no zero point, so that unsigned ones cannot be stored shifted.
        scale, axis = _scales(build, node)
        fmt = integer(bits, signed=False)
        return Stored(Quant(fmt, scale, 0, axis), fmt.name, 0, None if not narrow else (low, high))
    fmt, shift = integer(max(bits, 2)), 0 if signed or bits == 1 else 1 << (bits - 1)
    limits = (low - shift, high - shift)
    scale, axis = _scales(build, node)
    whole = limits == (fmt.min_ordinal, fmt.max_ordinal)
    return Stored(
        Quant(fmt, scale, zero - shift, axis), f"{'' if signed else 'u'}int", shift, None if whole else limits
    )


def _is_bipolar(build: Build, node: Any) -> bool:
    if node.op_type not in ("Quant", "IntQuant"):
        return False
    return _whole(build, node, 3, "bit width") == 1 and bool(convert.attributes(node).get("signed", 1))


def _bipolar(build: Build, node: Any) -> Stored:
    """-1 and 1 times the scale, as 2-bit codes; 0 counts as positive."""
    scale, axis = _scales(build, node)
    return Stored(Quant(integer(2), scale, 0, axis), BIPOLAR)


def _minifloat(build: Build, node: Any) -> Stored:
    attributes = convert.attributes(node)
    _check_rounding(build, node, attributes)
    for key, wanted in (("has_subnormal", 1), ("saturation", 1)):
        if not attributes.get(key, 1):
            raise convert.refuse(
                build.model,
                node,
                f"{key}=0 is not supported: formats here have subnormals and saturate. Use {key}={wanted}.",
            )
    exponent, mantissa = _whole(build, node, 2, "exponent bits"), _whole(build, node, 3, "mantissa bits")
    fmt = next((f for f in FORMATS if (f.exponent, f.mantissa, f.reserved) == (exponent, mantissa, 0)), None)
    if fmt is None or not fmt.is_minifloat:
        raise convert.refuse(
            build.model, node, f"E{exponent}M{mantissa} is not a format of 3 to 8 bits with at least 1 exponent bit."
        )
    bias = fmt.bias if (given := convert.number(build.model, node, 4)) is None else given
    if bias != int(bias):
        raise convert.refuse(build.model, node, f"input 4 (exponent bias) is {bias}; it must be a whole number.")
    top = convert.number(build.model, node, 5)
    scale, axis = _scales(build, node)
    moved = tuple(value * 2.0 ** (fmt.bias - int(bias)) for value in scale)
    fmt, limits = _limited(build, node, fmt, fmt.max if top is None else top * 2.0 ** (int(bias) - fmt.bias))
    return Stored(Quant(fmt, moved, 0, axis), fmt.name, 0, limits)


def _limited(build: Build, node: Any, fmt: Format, top: float) -> tuple[Format, tuple[int, int] | None]:
    """Return the format whose largest value is `top`, or a wider one and limits on its ordinals."""
    same = [f for f in FORMATS if (f.exponent, f.mantissa) == (fmt.exponent, fmt.mantissa) and f.max == top]
    if same or top > fmt.max:
        return (same[0] if same else fmt), None
    ordinal = int(to_nearest_ordinals(fmt, np.array([top]))[0])
    if top <= 0 or float(fmt.units_of_ordinal(ordinal) * fmt.unit) != top:
        raise convert.refuse(
            build.model, node, f"input 5 (largest value) is {top}, which is no value of {fmt.name}; use one."
        )
    return fmt, (-ordinal, ordinal)


def _check_rounding(build: Build, node: Any, attributes: dict[str, Any]) -> None:
    mode = attributes.get("rounding_mode", b"ROUND").decode(errors="replace")
    if mode.upper() not in _HALF_EVEN:
        raise convert.refuse(
            build.model, node, f"rounding_mode {mode} is not supported; only ROUND (to nearest, ties to even) is."
        )


def _whole(build: Build, node: Any, index: int, what: str) -> int:
    value = convert.number(build.model, node, index)
    if value is None or value != int(value):
        raise convert.refuse(
            build.model,
            node,
            f"input {index} ({what}) is {value}; it must be one whole number. Round it before export.",
        )
    return int(value)


def _scales(build: Build, node: Any) -> tuple[tuple[float, ...], int | None]:
    """Return the scales and their axis: one number, or one per index of the axis that is longer than 1."""
    scale: Array | None = convert.constant(build.model, node, 1)
    if scale is None or not (np.isfinite(scale).all() and (scale > 0).all()):
        raise convert.refuse(build.model, node, "input 1 (scale) must be positive and finite.")
    values = tuple(float(s) for s in scale.astype(np.float32).reshape(-1))
    if scale.size == 1:
        return values, None
    shape = build.model.shapes[node.input[0]]
    axis = scale_axis(scale.shape, shape)
    if axis is None:
        raise convert.refuse(
            build.model,
            node,
            f"input 1 (scale) of shape {list(scale.shape)} for a tensor {list(shape)}; give one scale, "
            "or one per output channel.",
        )
    return values, axis


_STORED = {"BipolarQuant": _bipolar, "FloatQuant": _minifloat, "IntQuant": _integer, "Quant": _integer}
