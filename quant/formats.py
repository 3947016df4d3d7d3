"""Number formats as frozen values: integers of 2 to 16 bits and minifloats ExMy of 3 to 8 bits.

A *code* of an integer format is the integer itself. A code of a minifloat is its bit pattern, sign bit first.

A minifloat with E exponent and M mantissa bits has bias b = 2^(E-1) - 1 and keeps subnormals:

    exponent field 0:    (-1)^s * (F / 2^M) * 2^(1-b)
    exponent field X>0:  (-1)^s * (1 + F / 2^M) * 2^(X-b)

so every value is a whole number of the smallest subnormal 2^(1-b-M), the format's *unit*. In the all-finite
formats (`e4m3`, ...) every code is a number and overflow saturates ("Shedding the Bits", arXiv 2311.12359). The OCP
8-bit formats (`e4m3fn`, `e5m2ocp`; OCP OFP8 1.0) reserve their top codes for NaN and infinity; those are refused on
decoding and never made on encoding. The OCP 4- and 6-bit formats equal `e2m1`, `e2m3` and `e3m2`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from quant.errors import QuantError
from quant.names import find

#: Codes of any format, or any other array.
Array = npt.NDArray[Any]
IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

#: Widest magnitude that int64 arithmetic decodes without overflow.
MAX_MAGNITUDE_BITS = 62


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """One number format.

    `exponent` and `mantissa` are 0 for integers. `reserved` counts the magnitude codes at the top that are not
    numbers (1 in `e4m3fn`, 4 in `e5m2ocp`).
    """

    name: str
    bits: int
    signed: bool = True
    exponent: int = 0
    mantissa: int = 0
    reserved: int = 0

    @property
    def is_minifloat(self) -> bool:
        """Whether codes are sign, exponent and mantissa fields."""
        return self.exponent > 0

    @property
    def bias(self) -> int:
        """Exponent bias 2^(E-1) - 1; 0 for integers."""
        return (1 << (self.exponent - 1)) - 1 if self.is_minifloat else 0

    @property
    def unit_exponent(self) -> int:
        """log2 of the unit: every value is an integer times 2^unit_exponent."""
        return 1 - self.bias - self.mantissa if self.is_minifloat else 0

    @property
    def unit(self) -> float:
        """The smallest positive value (the quantisation step next to zero)."""
        return float(2.0**self.unit_exponent)

    @property
    def max_ordinal(self) -> int:
        """Largest position on the value axis: integers count their value, minifloats their magnitude code."""
        if self.is_minifloat:
            return (1 << (self.bits - 1)) - 1 - self.reserved
        return (1 << (self.bits - 1)) - 1 if self.signed else (1 << self.bits) - 1

    @property
    def min_ordinal(self) -> int:
        """Smallest position on the value axis."""
        if self.is_minifloat:
            return -self.max_ordinal
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def max_units(self) -> int:
        """The largest value in units, exact."""
        return self.units_of_ordinal(self.max_ordinal)

    @property
    def max(self) -> float:
        """The largest value."""
        return float(self.max_units * 2.0**self.unit_exponent)

    @property
    def min(self) -> float:
        """The smallest (most negative) value."""
        return float(self.units_of_ordinal(self.min_ordinal) * 2.0**self.unit_exponent)

    @property
    def magnitude_bits(self) -> int:
        """Bits of the largest magnitude in units."""
        return max(self.max_units, -self.units_of_ordinal(self.min_ordinal)).bit_length()

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype that stores codes."""
        if self.is_minifloat:
            return np.dtype(np.uint8)
        if self.signed:
            return np.dtype(np.int8 if self.bits <= 8 else np.int16)
        return np.dtype(np.uint8 if self.bits <= 8 else np.uint16)

    def units_of_ordinal(self, ordinal: int) -> int:
        """Return the value at a position of the axis, in units (exact Python integer)."""
        if not self.is_minifloat:
            return ordinal
        field, fraction = abs(ordinal) >> self.mantissa, abs(ordinal) & ((1 << self.mantissa) - 1)
        magnitude = fraction if field == 0 else ((1 << self.mantissa) + fraction) << (field - 1)
        return -magnitude if ordinal < 0 else magnitude

    def ordinals(self) -> range:
        """Every position of the value axis, ascending. Minifloats have one zero here and two zero codes."""
        return range(self.min_ordinal, self.max_ordinal + 1)

    def codes(self) -> range:
        """Every code, reserved ones included: ascending integers, or all bit patterns of a minifloat."""
        return range(1 << self.bits) if self.is_minifloat else self.ordinals()

    def to_ordinals(self, codes: Array) -> IntArray:
        """Turn codes into positions on the value axis (int64, same shape).

        Raises:
            QuantError: a code is out of the format's range, or reserved (NaN, infinity).
        """
        wide = np.asarray(codes).astype(np.int64)
        if self.is_minifloat:
            sign = wide >> (self.bits - 1)
            magnitude = wide & ((1 << (self.bits - 1)) - 1)
            bad = (sign < 0) | (sign > 1) | (magnitude > self.max_ordinal)
            ordinals = np.where(sign == 1, -magnitude, magnitude)
        else:
            bad = (wide < self.min_ordinal) | (wide > self.max_ordinal)
            ordinals = wide
        if bad.any():
            raise QuantError(f"{int(wide[bad][0])} is not the code of a number in format {self.name}.")
        return ordinals

    def from_ordinals(self, ordinals: IntArray) -> Array:
        """Turn positions on the value axis into codes of `dtype`; zero gets the positive zero code."""
        if not self.is_minifloat:
            return np.asarray(ordinals).astype(self.dtype)
        sign = np.where(ordinals < 0, 1 << (self.bits - 1), 0)
        codes: Array = (np.abs(ordinals) + sign).astype(self.dtype)
        return codes

    def to_units(self, codes: Array) -> IntArray:
        """Decode codes to whole numbers of the unit: exact, int64, or Python integers where int64 is too narrow."""
        ordinals = self.to_ordinals(codes)
        if not self.is_minifloat:
            return ordinals
        table = [self.units_of_ordinal(k) for k in range(self.max_ordinal + 1)]
        wide = self.magnitude_bits > MAX_MAGNITUDE_BITS
        lookup = np.array(table, dtype=object if wide else np.int64)
        values: IntArray = lookup[np.abs(ordinals)] * np.sign(ordinals)
        return values

    def decode(self, codes: Array) -> FloatArray:
        """Decode codes to real values (float64, exact for every format here)."""
        return self.to_units(codes).astype(np.float64) * self.unit


def integer(bits: int, *, signed: bool = True) -> Format:
    """The two's-complement (or unsigned) integer format of 2 to 16 bits."""
    return Format(name=f"{'' if signed else 'u'}int{bits}", bits=bits, signed=signed)


def minifloat(exponent: int, mantissa: int) -> Format:
    """The all-finite minifloat ExMy."""
    name = f"e{exponent}m{mantissa}"
    return Format(name=name, bits=1 + exponent + mantissa, exponent=exponent, mantissa=mantissa)


INTEGERS = tuple(integer(bits, signed=signed) for signed in (True, False) for bits in range(2, 17))
MINIFLOATS = tuple(minifloat(e, bits - 1 - e) for bits in range(3, 9) for e in range(1, bits))
OCP_FORMATS = (
    Format(name="e4m3fn", bits=8, exponent=4, mantissa=3, reserved=1),
    Format(name="e5m2ocp", bits=8, exponent=5, mantissa=2, reserved=4),
)
FORMATS = INTEGERS + MINIFLOATS + OCP_FORMATS

INT8 = integer(8)
UINT8 = integer(8, signed=False)
E4M3 = minifloat(4, 3)


def find_format(name: str) -> Format:
    """Return the format called `name`, or raise QuantError with the nearest known name."""
    return find(name, FORMATS, "number format", QuantError)
