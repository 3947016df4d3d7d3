"""Functions of one value: their real meaning, and the table of codes that each is in a quantised graph.

A table maps every input code to an output ordinal. Between integers of at most 8 bits it is what TFLite's operators
compute, so that a `.tflite` file and the table agree on every code; elsewhere it is the real function, rounded once.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant import tflite_functions as tflite
from quant.errors import QuantError
from quant.fixedpoint import INT32_LIMIT, multiply_q31, q31_multiplier
from quant.formats import INT8, FloatArray, IntArray
from quant.graph import Quant
from quant.operators import Function
from quant.rounding import to_nearest_ordinals

#: Wider inputs would need 64K entries: more memory than a layer, on every target.
MAX_BITS = 8
#: Where TFLite's LOGISTIC puts its results in 8 bits: all of [0, 1) in steps of 1/256, zero at the lowest code.
LOGISTIC = Quant(INT8, (1 / 256,), -128)
#: Where its TANH puts them.
TANH = Quant(INT8, (1 / 128,), 0)
#: Largest code of the one weight that stands for a hard sigmoid's slope.
SLOPE_CODE = 127


def real(op: Function, x: FloatArray) -> FloatArray:
    """Return what a function makes of real values (float64)."""
    match op.name:
        case "sigmoid":
            return _sigmoid(x)
        case "swish":
            return x * _sigmoid(x)
        case "tanh":
            bent: FloatArray = np.tanh(x)
            return bent
        case "hard_sigmoid":
            return np.clip(op.alpha * x + op.beta, 0.0, 1.0)
        case "hard_swish":
            return x * np.clip(x + 3.0, 0.0, 6.0) / 6.0
        case _:
            leaky: FloatArray = np.where(x < 0, op.alpha * x, x)
            return leaky


def _sigmoid(x: FloatArray) -> FloatArray:
    small: FloatArray = np.exp(-np.abs(x))
    result: FloatArray = np.where(x < 0, small, 1.0) / (1.0 + small)
    return result


def limits(op: Function, clip: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return the clip of a function's result: a node's own, and for a hard sigmoid also its own 0 .. 1."""
    if op.name != "hard_sigmoid":
        return clip
    low, high = (0.0, 1.0) if clip is None else clip
    return min(max(low, 0.0), 1.0), min(max(high, 0.0), 1.0)


def fixed_range(op: Function) -> tuple[float, float] | None:
    """Return the range of 8-bit results that TFLite fixes for a function, or None."""
    return {"sigmoid": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}.get(op.name)


def table(op: Function, x: Quant, y: Quant, clip: tuple[int, int]) -> tuple[tuple[int, ...], int]:
    """Return the output ordinal of every input code, indexed by its bit pattern (2^bits entries).

    Beside it, the largest distance in steps from the real function rounded once: 0 but for TFLite's arithmetic.

    Args:
        op: the function.
        x: the input's number format.
        y: the output's.
        clip: the lowest and highest output ordinals.

    Raises:
        QuantError: the input is wider than 8 bits, or TFLite's arithmetic cannot take the scales.
    """
    fmt = x.format
    if fmt.bits > MAX_BITS:
        raise QuantError(
            f"a table of {op.name} over {fmt.name} would have {1 << fmt.bits} entries; inputs of a function have at "
            f"most {MAX_BITS} bits. Give the layer before it an 8-bit activation format."
        )
    ideal = np.clip(_rounded(op, x, y), *clip)
    entries = np.clip(_tflite(op, x, y), *clip) if _is_byte(x) and _is_byte(y) else ideal
    places = fmt.from_ordinals(np.arange(fmt.min_ordinal, fmt.max_ordinal + 1)).astype(np.int64) % (1 << fmt.bits)
    # Patterns that are no numbers never occur and stand as zero; minus zero is zero.
    found = np.full(1 << fmt.bits, entries[-fmt.min_ordinal] if fmt.is_minifloat else 0, dtype=np.int64)
    found[places] = entries
    return tuple(int(value) for value in found), int(np.abs(entries - ideal).max())


def _is_byte(quant: Quant) -> bool:
    """Whether TFLite's 8-bit arithmetic serves: with fewer bits it is the same and saturates earlier."""
    return not quant.format.is_minifloat and quant.format.bits <= MAX_BITS


def _ordinals(quant: Quant) -> IntArray:
    return np.arange(quant.format.min_ordinal, quant.format.max_ordinal + 1, dtype=np.int64)


def _rounded(op: Function, x: Quant, y: Quant) -> IntArray:
    """Round the real function once: halves to even, on the grid of the output."""
    units = np.array([x.format.units_of_ordinal(int(k)) for k in _ordinals(x)], dtype=np.float64) - x.zero
    values = real(op, units * x.format.unit * x.scale[0])
    if y.format.is_minifloat:
        return to_nearest_ordinals(y.format, values / y.scale[0])
    ordinals: IntArray = np.rint(values / y.scale[0]).astype(np.int64) + y.zero
    return ordinals


def _tflite(op: Function, x: Quant, y: Quant) -> IntArray:
    """Return the ordinals of y that TFLite's operators make of every ordinal of x, not yet clamped."""
    centred, scale = _ordinals(x) - x.zero, x.scale[0]
    match op.name:
        case "sigmoid":
            return _moved(_gate(centred, scale), 1 / 256, y)
        case "swish":
            gate = _gate(centred, scale)
            return _scaled(centred * gate, float(scale) * (1 / 256) / y.scale[0]) + y.zero
        case "tanh":
            return _moved(np.clip(tflite.tanh(centred, scale), -128, 127), 1 / 128, y)
        case "hard_sigmoid":
            step, bias = slope(op, x)
            return _scaled(centred * SLOPE_CODE + bias, float(scale) * step / y.scale[0]) + y.zero
        case "hard_swish":
            return tflite.hard_swish(centred, scale, y.scale[0]) + y.zero
        case _:
            return tflite.leaky_relu(centred, scale, y.scale[0], op.alpha) + y.zero


def _gate(centred: IntArray, scale: float) -> IntArray:
    """Return LOGISTIC in whole 1/256."""
    return np.clip(tflite.logistic(centred, scale), 0, 255)


def _moved(whole: IntArray, step: float, y: Quant) -> IntArray:
    """Bring whole numbers of `step` to another grid as QUANTIZE does; to the same grid they just move."""
    return (whole if y.scale[0] == step else _scaled(whole, step / y.scale[0])) + y.zero


def _scaled(acc: IntArray, factor: float) -> IntArray:
    multiplier = q31_multiplier(factor)
    left, reach = max(multiplier.exponent, 0), int(np.abs(acc).max())
    if reach << left >= INT32_LIMIT:
        raise QuantError(f"its sum reaches {reach}, which shifted left by {left} must fit int32; use other scales.")
    return multiply_q31(acc, np.array(multiplier.mantissa), np.array(multiplier.exponent))


def slope(op: Function, x: Quant) -> tuple[float, int]:
    """Return a hard sigmoid as a layer with one weight of code `SLOPE_CODE`: the weight's scale (float32), the bias.

    The bias counts units of the input's scale times the weight's, as every bias does.
    """
    step = float(np.float32(op.alpha / SLOPE_CODE))
    return step, int(np.rint(op.beta / (x.scale[0] * step)))


def needs_own_grid(op: Function, y: Quant) -> Quant | None:
    """Return the grid TFLite's operator for an 8-bit function writes, where `y` is another; else None."""
    fixed = {"sigmoid": LOGISTIC, "tanh": TANH}.get(op.name)
    if fixed is None or not _is_byte(y):
        return None
    same = y.scale == fixed.scale and y.zero - y.format.min_ordinal == fixed.zero - INT8.min_ordinal
    return None if same else replace(fixed)
