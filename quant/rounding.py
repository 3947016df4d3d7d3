"""Real values to codes: round to the nearest value of a format, ties to even, saturating.

Even means an even multiple of the grid's step there. With mantissa bits that is the even code. Without any (E3M0, ...)
neighbours are 2^k and 2^(k+1), one step 2^k apart, so the even multiple, and with it every tie, is the larger one.
"""

from __future__ import annotations

import numpy as np

from quant.errors import QuantError
from quant.formats import Array, FloatArray, Format, IntArray


def to_nearest_ordinals(fmt: Format, values: Array) -> IntArray:
    """Round real `values` to positions on the format's value axis.

    Exact: with k = max(floor(log2|y|) - M, 1 - b - M), y / 2^k is representable and `rint` rounds it half to even
    (arXiv 2311.12359; the grid of Brevitas' FloatQuant). Infinities saturate.

    Raises:
        QuantError: a value is NaN.
    """
    wide = np.asarray(values, dtype=np.float64)
    if np.isnan(wide).any():
        raise QuantError(f"cannot quantise NaN to {fmt.name}.")
    clipped = np.clip(wide, fmt.min, fmt.max)
    if not fmt.is_minifloat:
        return np.rint(clipped).astype(np.int64)
    _, exponent = np.frexp(clipped)
    # frexp gives zero the exponent of 1/2: without the test zero would leave the subnormals.
    exponent = np.where(clipped == 0, fmt.unit_exponent, exponent)
    step_exponent = np.maximum(exponent - 1 - fmt.mantissa, fmt.unit_exponent)
    significand = np.rint(np.ldexp(np.abs(clipped), -step_exponent)).astype(np.int64)
    magnitude = ((step_exponent.astype(np.int64) - fmt.unit_exponent) << fmt.mantissa) + significand
    ordinals: IntArray = np.where(clipped < 0, -magnitude, magnitude)
    return ordinals


def encode(fmt: Format, values: Array) -> Array:
    """Round real `values` to codes of `fmt` (same shape, dtype `fmt.dtype`)."""
    return fmt.from_ordinals(to_nearest_ordinals(fmt, values))


def quantise(fmt: Format, values: Array) -> FloatArray:
    """Round real `values` to the nearest values of `fmt` (float64)."""
    return fmt.decode(encode(fmt, values))
