"""Verilog that turns codes into signed significands and shifts, one branch per number format of the core.

A minifloat code is significand * 2^shift units: with z = (exponent field is not 0), significand = {z, mantissa} and
shift = exponent field - z, so subnormals need no case of their own.
"""

from __future__ import annotations

from export.rtl.bounds import unsigned_bits
from export.rtl.fields import literal
from export.rtl.layout import Layout
from quant.formats import Format


def stream_bits(fmt: Format) -> int:
    """Return the width of a stream of codes: whole bytes."""
    return 8 * -(-fmt.bits // 8)


def decode_modules(layout: Layout) -> str:
    """Return the decoders of activations and weights, and the converters between streams and memory."""
    program, width = layout.program, layout.widths.code
    return "\n".join(
        (
            _activations(layout),
            _weights(layout),
            _load(program.quant(program.input).format, width),
            _store(program.quant(program.output).format, width),
        )
    )


def _activations(layout: Layout) -> str:
    w = layout.widths
    select = unsigned_bits(len(layout.formats) - 1)
    branches = [
        _branch(index, len(layout.formats), select, _assign(fmt, w.significand, w.shift) + _ordinal(fmt, w.ordinal))
        for index, fmt in enumerate(layout.formats)
    ]
    ports = f"    output reg signed [{w.ordinal - 1}:0] ordinal"
    return _decoder("decode", w.code, select, w.significand, w.shift, f",\n{ports}", branches)


def _weights(layout: Layout) -> str:
    w, formats = layout.widths, layout.weight_formats
    select = unsigned_bits(len(formats) - 1)
    branches = [
        _branch(index, len(formats), select, _assign(fmt, w.weight_significand, w.weight_shift))
        for index, fmt in enumerate(formats)
    ] or [f"    significand = {literal(0, w.weight_significand, True)};\n    shift = {literal(0, w.weight_shift)};"]
    return _decoder("decode_weight", w.weight_code, select, w.weight_significand, w.weight_shift, "", branches)


def _decoder(name: str, code: int, select: int, significand: int, shift: int, ports: str, branches: list[str]) -> str:
    body = "\n".join(branches)
    if len(branches) > 1:
        body = f"    case (format)\n{body}\n    endcase"
    return f"""// Codes as significand * 2^shift.
module @NAME@_{name} (
    input wire [{code - 1}:0] code,
    input wire [{select - 1}:0] format,
    output reg signed [{significand - 1}:0] significand,
    output reg [{shift - 1}:0] shift{ports}
);
  always @(*) begin
{body}
  end
endmodule
"""


def _branch(index: int, count: int, select: int, lines: str) -> str:
    if count == 1:
        return lines.rstrip("\n")
    label = "default" if index == count - 1 else literal(index, select)
    return f"    {label}: begin\n{lines}    end"


def _assign(fmt: Format, significand: int, shift: int) -> str:
    if not fmt.is_minifloat:
        return f"    significand = {_extend(fmt, significand)};\n    shift = {literal(0, shift)};\n"
    top, low = fmt.bits - 2, fmt.mantissa
    nonzero = f"|code[{top}:{low}]"
    mantissa = f", code[{low - 1}:0]" if low else ""
    magnitude = f"{{{significand - low - 1}'b0, {nonzero}{mantissa}}}"
    shifted = f"code[{top}:{low}] - {{{fmt.exponent - 1}'b0, {nonzero}}}" if fmt.exponent > 1 else "1'b0"
    pad = shift - fmt.exponent
    wide = f"{{{pad}'b0, {_self_sized(shifted, fmt)}}}" if pad > 0 else _self_sized(shifted, fmt)
    return (
        f"    // {fmt.name}\n"
        f"    significand = code[{fmt.bits - 1}] ? -$signed({magnitude}) : $signed({magnitude});\n"
        f"    shift = {wide};\n"
    )


def _self_sized(expression: str, fmt: Format) -> str:
    return f"{{{expression}}}" if fmt.exponent > 1 else expression


def _extend(fmt: Format, bits: int) -> str:
    """Return the code's value in `bits` bits: sign- or zero-extended from the format's own width."""
    pad = bits - fmt.bits
    if pad == 0:
        return f"$signed(code[{fmt.bits - 1}:0])"
    fill = f"{{{pad}{{code[{fmt.bits - 1}]}}}}" if fmt.signed else f"{pad}'b0"
    return f"$signed({{{fill}, code[{fmt.bits - 1}:0]}})"


def _ordinal(fmt: Format, bits: int) -> str:
    if not fmt.is_minifloat:
        return f"    ordinal = {_extend(fmt, bits)};\n"
    magnitude = f"{{{bits - fmt.bits + 1}'b0, code[{fmt.bits - 2}:0]}}"
    return f"    ordinal = code[{fmt.bits - 1}] ? -$signed({magnitude}) : $signed({magnitude});\n"


def _load(fmt: Format, width: int) -> str:
    sign = fmt.bits - 1
    pad = width - fmt.bits
    if not fmt.is_minifloat:
        fill = "" if pad == 0 else f"{{{pad}{{data[{sign}]}}}}, " if fmt.signed else f"{pad}'b0, "
        body = f"  assign code = {{{fill}data[{sign}:0]}};"
    else:
        top = literal(fmt.max_ordinal, fmt.bits - 1)
        fill = f"{pad}'b0, " if pad else ""
        kept = f"data[{sign - 1}:0] > {top} ? {top} : data[{sign - 1}:0]" if fmt.reserved else f"data[{sign - 1}:0]"
        note = ", codes that are no numbers become the largest" if fmt.reserved else ""
        body = f"""  // Minus zero becomes zero{note}.
  wire [{sign - 1}:0] magnitude = {kept};
  assign code = {{{fill}data[{sign}] && |magnitude, magnitude}};"""
    return f"""// One beat of the input stream as a code in memory.
module @NAME@_load (
    input wire [{stream_bits(fmt) - 1}:0] data,
    output wire [{width - 1}:0] code
);
{body}
endmodule
"""


def _store(fmt: Format, width: int) -> str:
    pad = stream_bits(fmt) - fmt.bits
    signed = fmt.signed and not fmt.is_minifloat
    fill = "" if pad == 0 else f"{{{pad}{{code[{fmt.bits - 1}]}}}}, " if signed else f"{pad}'b0, "
    return f"""// A code in memory as one beat of the output stream.
module @NAME@_store (
    input wire [{width - 1}:0] code,
    output wire [{stream_bits(fmt) - 1}:0] data
);
  assign data = {{{fill}code[{fmt.bits - 1}:0]}};
endmodule
"""
