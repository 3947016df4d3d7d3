"""FPGA look-up tables of one multiply-accumulate: a table of synthesised pairs, and a fit for every other pair.

The table holds cell counts of the units that `export.rtl.lanes` makes (`benchmarks/fpga_mac.py` counts them again):
exact fixed-point accumulation of K = 512 products, one accumulator per MAC; LUTs, inverters and shift registers, on
ECP5 LUT4 + 2*CCU2C. In style `lut` there is no DSP block; in style `dsp` the product of the significands is left to
one where the tool finds it wide enough. The fit is a least-squares fit of the relative error to that table:

    LUT = a * sig_w * sig_a + b * PW * log2(sh_w + sh_a + 1) + c * AW + d * [any operand is a minifloat]

with significands sig = M+1 (integers: N), largest shifts sh = 2^E - 2 (integers: 0), product width PW and accumulator
width AW at K = 512; a = 0 in style `dsp`. On xcup, pairs of at most 6 bits together take one 6-input LUT per product
bit instead, in style `lut`.
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
#: With or without DSP blocks.
STYLES = ("lut", "dsp")
#: What must be printed wherever these numbers are shown.
CAVEATS = (
    "yosys packs no two functions into one look-up table: use ratios and rankings, never as a vendor tool's LUTs.",
    "Rounding back to codes is not included.",
    "No DSP blocks are used; with them integers win by far more.",
    "Sums are exact fixed point; a floating accumulator with alignment was not built.",
    "Another yosys version moves a count by up to 18 %.",
    "Fitted values differ from the table, where it can check them, by 11 % on average on xcup (worst 29 %) and 8 % on "
    "ecp5 (worst 23 %). Most mixed pairs, and formats with 6 or 7 exponent bits, are extrapolated.",
)


@dataclass(frozen=True, slots=True)
class Family:
    """An FPGA family: the tool that counted, and the coefficients a, b, c, d of the fit without and with DSP blocks.

    `dsp_bits` is the narrowest product of significands that the tool gives to a DSP block.
    """

    name: str
    tool: str
    options: str
    coefficients: tuple[float, float, float, float]
    dsp_coefficients: tuple[float, float, float, float]
    dsp_bits: int


@dataclass(frozen=True, slots=True)
class Luts:
    """LUTs and DSP blocks of one MAC; `method` is `measured` (synthesised) or `fitted`."""

    luts: float
    method: str
    dsp: int = 0


XCUP = Family(
    "xcup",
    "yosys 0.23",
    "synth_xilinx -family xcup -nodsp -noiopad -noclkbuf -flatten -nowidelut",
    (0.907, 0.339, 0.571, 19.2),
    (0.0, 0.482, 1.002, 12.9),
    9,
)
ECP5 = Family(
    "ecp5",
    "yosys 0.23",
    "synth_ecp5 -nodsp -abc9 -nowidelut",
    (2.128, 0.426, 1.715, 16.6),
    (0.0, 0.38, 2.062, 17.8),
    3,
)
FAMILIES = (XCUP, ECP5)

#: Weight format, activation format, LUTs on xcup and on ecp5 in style `lut`; LUTs and DSP blocks on xcup, and on ecp5,
#: in style `dsp`.
MEASURED: tuple[tuple[str, str, int, int, int, int, int, int], ...] = (
    ("int8", "int8", 61, 160, 25, 1, 51, 1),
    ("int7", "int7", 55, 133, 23, 1, 47, 1),
    ("int6", "int6", 42, 107, 21, 1, 43, 1),
    ("int5", "int5", 37, 86, 19, 1, 39, 1),
    ("int4", "int4", 27, 66, 37, 0, 35, 1),
    ("int3", "int3", 21, 49, 24, 0, 31, 1),
    ("e5m2", "e5m2", 176, 320, 181, 0, 299, 1),
    ("e4m3", "e4m3", 128, 215, 136, 0, 189, 1),
    ("e3m4", "e3m4", 107, 177, 88, 1, 131, 1),
    ("e2m5", "e2m5", 113, 180, 84, 1, 104, 1),
    ("e4m2", "e4m2", 107, 191, 113, 0, 171, 1),
    ("e3m3", "e3m3", 93, 148, 101, 0, 119, 1),
    ("e3m2", "e3m2", 73, 127, 77, 0, 107, 1),
    ("e2m3", "e2m3", 69, 113, 72, 0, 84, 1),
    ("e3m1", "e3m1", 63, 99, 62, 0, 95, 1),
    ("e2m2", "e2m2", 50, 92, 53, 0, 72, 1),
    ("e2m1", "e2m1", 35, 66, 40, 0, 62, 1),
    ("e2m0", "e2m0", 21, 43, 26, 0, 45, 0),
    ("int4", "int8", 39, 94, 21, 1, 43, 1),
    ("e4m3", "int8", 108, 207, 86, 1, 141, 1),
    ("int2", "int2", 17, 31, 18, 0, 27, 1),
    ("e2m1", "int8", 52, 107, 35, 1, 68, 1),
    ("e3m2", "int8", 100, 140, 77, 1, 97, 1),
    ("e2m4", "e2m4", 83, 140, 64, 1, 94, 1),
    ("e5m1", "e5m1", 168, 271, 166, 0, 267, 1),
    ("e3m0", "e3m0", 50, 76, 44, 0, 76, 0),
    ("e4m1", "e4m1", 98, 157, 96, 0, 153, 1),
    ("e1m6", "e1m6", 73, 150, 39, 1, 65, 1),
    ("e1m2", "e1m2", 29, 61, 31, 0, 41, 1),
    ("e2m1", "e4m3", 81, 151, 82, 0, 131, 1),
)


def find_family(name: str) -> Family:
    """Return the family called `name`, or raise QuantError with the nearest known name."""
    return find(name, FAMILIES, "FPGA family", QuantError)


@cache
def mac_luts(weight: Format, activation: Format, family: Family = XCUP, style: str = "lut") -> Luts:
    """Return the LUTs and DSP blocks of one MAC of a pair of formats.

    Measured where the pair (or its mirror) was synthesised, else fitted. `style` is `lut` or `dsp`; a product too
    narrow for a DSP block has none in either.
    """
    place = FAMILIES.index(family)
    names = {(weight.name, activation.name), (activation.name, weight.name)}
    for row in MEASURED:
        if (row[0], row[1]) in names:
            counts = row[2:]
            if style == "lut":
                return Luts(float(counts[place]), "measured")
            return Luts(float(counts[2 + 2 * place]), "measured", counts[3 + 2 * place])
    takes_dsp = style == "dsp" and dsp_product_bits(weight, activation) >= family.dsp_bits
    return Luts(fitted_luts(weight, activation, family, "dsp" if takes_dsp else "lut"), "fitted", int(takes_dsp))


def dsp_product_bits(weight: Format, activation: Format) -> int:
    """Return the width of the product of significands, signs of integers included."""
    mixed = weight.is_minifloat != activation.is_minifloat
    return significand_bits(weight) + significand_bits(activation) + mixed


def fitted_luts(weight: Format, activation: Format, family: Family = XCUP, style: str = "lut") -> float:
    """Return the fit's LUTs of one MAC, whether the pair was synthesised or not."""
    product, accumulator = product_bits(weight, activation), formula_bits(weight, activation, TERMS)
    if weight.bits + activation.bits <= 6 and family is XCUP and style == "lut":
        return float(product + accumulator)
    a, b, c, d = family.dsp_coefficients if style == "dsp" else family.coefficients
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
