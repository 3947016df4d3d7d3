"""FPGA look-up tables of one multiply-accumulate: a table of synthesised pairs, and a fit for every other pair.

The table holds cell counts of a MAC with exact fixed-point accumulation of K = 512 products, without DSP blocks, the
best of three multiplier styles, one accumulator per MAC (LUTs and inverters; on ECP5 LUT4 + 2*CCU2C). The fit is a
least-squares fit to that table:

    LUT = a * sig_w * sig_a + b * PW * log2(sh_w + sh_a + 1) + c * AW + d * [any operand is a minifloat]

with significands sig = M+1 (integers: N), largest shifts sh = 2^E - 2 (integers: 0), product width PW and accumulator
width AW at K = 512. On xcup, pairs of at most 6 bits together take one 6-input LUT per product bit instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from quant.accumulator import formula_bits, product_bits
from quant.errors import QuantError
from quant.formats import Format
from quant.names import find

#: Products per sum in every synthesis; the counts hold for this length.
TERMS = 512
#: What must be printed wherever these numbers are shown.
CAVEATS = (
    "The integer multiplier of yosys is weak (no dual-output LUT packing), so integers look too large and the overhead "
    "of minifloats is understated (published: +20 to +180 %). Use ratios and rankings, never as a vendor tool's LUTs.",
    "Rounding back to codes is not included.",
    "No DSP blocks are used; with them integers win by far more.",
    "Sums are exact fixed point; a floating accumulator with alignment was not built.",
    "Another yosys version moves a count by up to 18 %.",
    "Fitted values differ from the table, where it can check them, by 4 % on average on xcup (worst 12 %) and 7 % on "
    "ecp5 (worst 44 %). Most mixed pairs, and formats with 1, 6 or 7 exponent bits or no mantissa, are extrapolated.",
)


@dataclass(frozen=True, slots=True)
class Family:
    """An FPGA family: the tool that counted, and the coefficients a, b, c, d of the fit."""

    name: str
    tool: str
    options: str
    coefficients: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Luts:
    """LUTs of one MAC; `method` is `measured` (synthesised) or `fitted`."""

    luts: float
    method: str


XCUP = Family(
    "xcup",
    "yosys 0.23",
    "synth_xilinx -family xcup -nodsp -noiopad -noclkbuf -flatten -nowidelut",
    (2.07, 0.443, 0.044, 27.0),
)
ECP5 = Family("ecp5", "yosys 0.23", "synth_ecp5 -nodsp -abc9 -nowidelut", (3.03, 0.465, 1.22, 31.7))
FAMILIES = (XCUP, ECP5)

#: Weight format, activation format, LUTs on xcup, LUTs on ecp5.
MEASURED: tuple[tuple[str, str, int, int], ...] = (
    ("int8", "int8", 125, 214),
    ("e4m3", "e4m3", 148, 229),
    ("e5m2", "e5m2", 218, 325),
    ("e3m4", "e3m4", 119, 197),
    ("e2m5", "e2m5", 122, 190),
    ("int7", "int7", 102, 181),
    ("e4m2", "e4m2", 123, 196),
    ("e3m3", "e3m3", 102, 160),
    ("int6", "int6", 76, 135),
    ("e3m2", "e3m2", 80, 133),
    ("e2m3", "e2m3", 72, 116),
    ("int5", "int5", 60, 106),
    ("e3m1", "e3m1", 65, 109),
    ("e2m2", "e2m2", 55, 92),
    ("int4", "int4", 38, 73),
    ("e2m1", "e2m1", 43, 65),
    ("int3", "int3", 21, 49),
    ("e2m0", "e2m0", 22, 43),
    ("int4", "int8", 60, 109),
    ("e4m3", "int8", 152, 229),
)


def find_family(name: str) -> Family:
    """Return the family called `name`, or raise QuantError with the nearest known name."""
    return find(name, FAMILIES, "FPGA family", QuantError)


@cache
def mac_luts(weight: Format, activation: Format, family: Family = XCUP) -> Luts:
    """Return the LUTs of one MAC of a pair of formats, measured where the pair (or its mirror) was synthesised."""
    column = 2 + FAMILIES.index(family)
    names = {(weight.name, activation.name), (activation.name, weight.name)}
    for row in MEASURED:
        if (row[0], row[1]) in names:
            return Luts(float(row[column]), "measured")
    return Luts(fitted_luts(weight, activation, family), "fitted")


def fitted_luts(weight: Format, activation: Format, family: Family = XCUP) -> float:
    """Return the fit's LUTs of one MAC, whether the pair was synthesised or not."""
    product, accumulator = product_bits(weight, activation), formula_bits(weight, activation, TERMS)
    if weight.bits + activation.bits <= 6 and family is XCUP:
        return float(product + accumulator)
    a, b, c, d = family.coefficients
    levels = math.log2(shift_max(weight) + shift_max(activation) + 1)
    multiplier = a * significand_bits(weight) * significand_bits(activation)
    decode = d if weight.is_minifloat or activation.is_minifloat else 0.0
    return multiplier + b * product * levels + c * accumulator + decode


def significand_bits(fmt: Format) -> int:
    """Return the bits of a significand: M+1 with the hidden one, N for integers."""
    return fmt.mantissa + 1 if fmt.is_minifloat else fmt.bits


def shift_max(fmt: Format) -> int:
    """Return the largest left shift of a decoded significand."""
    return (1 << fmt.exponent) - 2 if fmt.is_minifloat else 0
