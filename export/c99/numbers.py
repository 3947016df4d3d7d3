"""Kernels that turn codes into whole numbers and accumulators into codes, one set per number format."""

from __future__ import annotations

from collections.abc import Iterable

from export.c99.layout import c_type
from export.c99.template import Kernel, Tokens
from export.errors import ExportError
from quant.formats import MAX_MAGNITUDE_BITS, Format
from quant.program import Requant

TYPES = Kernel("types", "types")
SCALE_Q31 = Kernel("scale_q31", "scale_q31")
SCALE_RIGHT = Kernel("scale_right", "scale_right")
BIT_LENGTH = Kernel("bit_length", "bit_length")
#: Accumulators below this leave room for the rounding term of the short rule.
SHORT_LIMIT = 1 << 30


def signed_type(low: int, high: int) -> str:
    """Return the narrowest signed C type that holds low..high."""
    bits = max((-low - 1 if low < 0 else low).bit_length(), high.bit_length()) + 1
    width = next((w for w in (8, 16, 32, 64) if bits <= w), None)
    if width is None:
        raise ExportError(f"a value of {bits} bits does not fit a C integer; use a format with fewer exponent bits.")
    return f"int{width}_t"


def units_range(fmt: Format, zero: int = 0) -> tuple[int, int]:
    """Return the least and the greatest decoded value minus the zero point, in units."""
    return fmt.units_of_ordinal(fmt.min_ordinal) - zero, fmt.max_units - zero


def units_type(fmt: Format) -> str:
    """Return the C type that `units` of a format returns."""
    return signed_type(*units_range(fmt)) if fmt.is_minifloat else "int32_t"


def units(fmt: Format) -> Kernel:
    """Return the kernel that decodes a code to units: the code itself, or a table of every code of a minifloat.

    Raises:
        ExportError: the values of the format do not fit 64 bits.
    """
    tokens = (("FORMAT", fmt.name), ("X_T", c_type(fmt)))
    if not fmt.is_minifloat:
        return Kernel("format_integer", f"units_{fmt.name}", tokens)
    if fmt.magnitude_bits > MAX_MAGNITUDE_BITS:
        raise ExportError(
            f"arm-m: values of format {fmt.name} have {fmt.magnitude_bits} bits and do not fit 64; "
            "use a format with fewer exponent bits."
        )
    values = (_units_of_code(fmt, code) for code in fmt.codes())
    extra = (("UNIT_T", units_type(fmt)), ("SIZE", str(1 << fmt.bits)), ("VALUES", wrapped(values)))
    return Kernel("format_table", f"units_{fmt.name}", tokens + extra)


def _units_of_code(fmt: Format, code: int) -> int:
    """Units of any bit pattern; the reserved ones are not numbers and stand as 0."""
    sign, magnitude = code >> (fmt.bits - 1), code & ((1 << (fmt.bits - 1)) - 1)
    if magnitude > fmt.max_ordinal:
        return 0
    return fmt.units_of_ordinal(-magnitude if sign else magnitude)


def ordinal(fmt: Format) -> Kernel:
    """Return the kernel from a code to its place on the value axis."""
    kind = "minifloat" if fmt.is_minifloat else "integer"
    return Kernel(f"ordinal_{kind}", f"ordinal_{fmt.name}", _code_tokens(fmt))


def code(fmt: Format) -> Kernel:
    """Return the kernel from a place on the value axis to its code."""
    kind = "minifloat" if fmt.is_minifloat else "integer"
    return Kernel(f"code_{kind}", f"code_{fmt.name}", _code_tokens(fmt))


def _code_tokens(fmt: Format) -> Tokens:
    return (("FORMAT", fmt.name), ("X_T", c_type(fmt)), ("SIGN_BIT", str(1 << (fmt.bits - 1))))


def requant(rule: Requant, acc_max: int | None = None) -> Kernel:
    """Return the kernel from an accumulator to a code.

    `acc_max` bounds the accumulator when it is known: below 2^30 and with right shifts only, integers get a shorter
    kernel that gives the same codes.
    """
    fmt = rule.format
    if fmt.is_minifloat:
        return requant_wide(fmt)
    tokens: Tokens = (("Y_T", c_type(fmt)),)
    short = acc_max is not None and acc_max < SHORT_LIMIT and all(m.exponent < 0 for m in rule.multipliers)
    if short and abs(rule.zero) < SHORT_LIMIT:
        return Kernel("requant_right", f"requant_right_{c_type(fmt)[:-2]}", tokens, (TYPES,))
    return Kernel("requant_q31", f"requant_{c_type(fmt)[:-2]}", tokens, (TYPES, SCALE_Q31))


def requant_wide(fmt: Format) -> Kernel:
    """Return the kernel from an accumulator to a code of a minifloat."""
    to_code = code(fmt)
    tokens: Tokens = (
        ("Y_T", c_type(fmt)),
        ("Y_CODE", to_code.name),
        ("MANTISSA_BITS", str(fmt.mantissa)),
        ("MAX_ORDINAL", str(fmt.max_ordinal)),
    )
    return Kernel("requant_wide", f"requant_{fmt.name}", tokens, (TYPES, BIT_LENGTH, to_code))


def wrapped(values: Iterable[object]) -> str:
    """Return values separated by commas, indented, in lines of at most about 110 columns."""
    lines, line = [], "   "
    for value in values:
        text = f" {value},"
        if len(line) + len(text) > 110:
            lines.append(line)
            line = "   "
        line += text
    return "\n".join([*lines, line])
