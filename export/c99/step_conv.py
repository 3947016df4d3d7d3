"""Convolutions and fully connected layers as C."""

from __future__ import annotations

import numpy as np

from export.c99.layout import c_type
from export.c99.numbers import TYPES, requant, signed_type, units, units_range, units_type
from export.c99.piece import Constants, Context, Piece, array, requant_constants, structure
from export.c99.step_byte import conv_byte, depthwise_byte, fits_bytes
from export.c99.template import Kernel, Tokens
from export.c99.vector import SIMD
from export.c99.window import window_fields
from quant.fixedpoint import INT32_LIMIT
from quant.formats import INT8, Format, IntArray
from quant.program import ConvStep

CLIP_WINDOW = Kernel("clip_window", "clip_window")
TAPS = Kernel("taps_struct", "taps_struct")


def conv_piece(context: Context, step: ConvStep) -> Piece:
    """Return the C of a convolution: kernels for signed bytes or for any format, depthwise where that applies."""
    if has_ring(context, step):
        return depthwise_byte(context, step)
    if _is_depthwise(context, step):
        return _depthwise(context, step)
    return conv_byte(context, step) if is_byte_conv(context, step) else _patches(context, step)


def is_byte_conv(context: Context, step: ConvStep) -> bool:
    """Whether a convolution of one group is one of signed bytes (kernel `conv_byte`)."""
    return step.op.groups == 1 and fits_bytes(context, step, _stored_format(step))


def has_ring(context: Context, step: ConvStep) -> bool:
    """Whether a depthwise convolution copies its input rows into a ring (kernel `depthwise_byte`)."""
    fits = _is_depthwise(context, step) and step.op.dilations[0] == 1
    return fits and fits_bytes(context, step, _stored_format(step))


def _is_depthwise(context: Context, step: ConvStep) -> bool:
    channels, groups = context.image(step.x)[2], step.op.groups
    return groups > 1 and channels == groups == context.image(step.y)[2]


def _patches(context: Context, step: ConvStep) -> Piece:
    x, y, fmt = context.format(step.x), context.format(step.y), _stored_format(step)
    patch, acc, bias = _patch_type(x, step.x_zero), _acc_type(x, step), _bias_type(step)
    rule = requant(step.requant, step.acc_max)
    gather = _gather(x, patch)
    dot = _dot(fmt, patch, acc)
    tokens: Tokens = (("X_T", c_type(x)), ("Y_T", c_type(y)), ("W_T", c_type(fmt)), ("B_T", bias), ("U_T", patch))
    tokens += (("ACC_T", acc), ("GATHER", gather.name), ("DOT", dot.name), ("REQUANT", rule.name))
    tokens += (("SUM_T", _sum_type(y)),)
    name = f"conv_{x.name}_{patch}_{fmt.name}_{acc}_{bias}_{rule.name}"
    kernel = Kernel("conv", name, tokens, (gather, dot, rule))
    parts = _constants(context, step, fmt, pair_channels(_stored(step, fmt), step.op.groups))
    scratch = context.label("patches")
    arguments = f"{context.names[step.x]}, {_shared_arguments(context, step)}, {scratch}"
    call = f"{name}({arguments}, &{context.label('window')}, &{context.label('requant')});"
    height, width, _ = context.image(step.y)
    taps = int(np.prod(step.weight.shape[1:]))
    scratch_bytes = taps * min(2, height * width) * int(patch[3:-2]) // 8
    return Piece((kernel,), tuple(p.text for p in parts), (call,), _bytes(parts), patch, scratch_bytes)


def _gather(x: Format, patch: str) -> Kernel:
    if (c_type(x), patch) == ("int8_t", "int16_t"):
        widen = Kernel("widen_byte", "widen_byte", (), (SIMD,))
    else:
        decode = units(x)
        tokens: Tokens = (("X_T", c_type(x)), ("U_T", patch), ("X_UNITS", decode.name))
        widen = Kernel("widen", f"widen_{x.name}_{patch}", tokens, (decode,))
    types: Tokens = (("X_T", c_type(x)), ("U_T", patch), ("WIDEN", widen.name))
    return Kernel("gather", f"gather_{x.name}_{patch}", types, (TYPES, widen))


def _dot(fmt: Format, patch: str, acc: str) -> Kernel:
    if (patch, c_type(fmt), acc) == ("int16_t", "int8_t", "int32_t"):
        return Kernel("dot_byte", "dot_byte", (), (SIMD,))
    decode = units(fmt)
    tokens: Tokens = (("U_T", patch), ("W_T", c_type(fmt)), ("ACC_T", acc), ("W_UNITS", decode.name))
    return Kernel("dot", f"dot_{patch}_{fmt.name}_{acc}", tokens, (decode,))


def _depthwise(context: Context, step: ConvStep) -> Piece:
    x, y, fmt = context.format(step.x), context.format(step.y), _stored_format(step)
    acc, bias = _acc_type(x, step), _bias_type(step)
    decode, decode_weight, rule = units(x), units(fmt), requant(step.requant, step.acc_max)
    numbers: Tokens = (("X_T", c_type(x)), ("W_T", c_type(fmt)), ("ACC_T", acc))
    numbers += (("X_UNITS", decode.name), ("W_UNITS", decode_weight.name))
    in_bytes = (c_type(x), _patch_type(x, step.x_zero), c_type(fmt), acc) == ("int8_t", "int16_t", "int8_t", "int32_t")
    if in_bytes:
        taps = Kernel("taps_byte", "taps_byte", (), (TAPS, SIMD))
    else:
        taps = Kernel("taps", f"taps_{x.name}_{fmt.name}_{acc}", numbers, (TAPS, decode, decode_weight))
    tokens = (*numbers, ("Y_T", c_type(y)), ("B_T", bias), ("REQUANT", rule.name), ("TAPS", taps.name))
    tokens += (("SUM_T", _sum_type(y)),)
    tokens += (("BLOCK", "BYTE_BLOCK" if in_bytes else "4"),)
    name = f"depthwise_{x.name}_{fmt.name}_{acc}_{bias}_{rule.name}"
    kernel = Kernel("depthwise", name, tokens, (TYPES, CLIP_WINDOW, decode, decode_weight, taps, rule))
    parts = _constants(context, step, fmt, _stored(step, fmt).reshape(step.weight.shape[0], -1).T)
    arguments = f"{context.names[step.x]}, {_shared_arguments(context, step)}"
    call = f"{name}({arguments}, &{context.label('window')}, &{context.label('requant')});"
    return Piece((kernel,), tuple(p.text for p in parts), (call,), _bytes(parts))


def _shared_arguments(context: Context, step: ConvStep) -> str:
    return f"{context.label('weight')}, {context.label('bias')}, {context.names[step.y]}"


def _constants(context: Context, step: ConvStep, fmt: Format, weight: IntArray) -> tuple[Constants, ...]:
    return (
        array(c_type(fmt), context.label("weight"), weight.ravel().tolist()),
        array(_bias_type(step), context.label("bias"), step.bias.tolist()),
        requant_constants(context, step.requant),
        Constants(_window(context, step), 0),
    )


def _bytes(parts: tuple[Constants, ...]) -> int:
    return sum(part.size_bytes for part in parts)


def pair_channels(weight: IntArray, groups: int) -> IntArray:
    """Order weights [O, C/groups, kh, kw] for the dot kernel: group, pair of outputs, row, column, channel, output.

    An odd last output is paired with zeros.
    """
    out, depth, height, width = weight.shape
    grouped = weight.reshape(groups, out // groups, depth, height, width)
    odd = (out // groups) % 2
    padded = np.pad(grouped, ((0, 0), (0, odd), (0, 0), (0, 0), (0, 0)))
    paired = padded.reshape(groups, -1, 2, depth, height, width)
    return np.ascontiguousarray(paired.transpose(0, 1, 4, 5, 3, 2))


def _stored_format(step: ConvStep) -> Format:
    """Minifloat weights whose units fit a byte are stored decoded, which is as small and needs no table."""
    fits = step.weight_format.is_minifloat and signed_type(*units_range(step.weight_format)) == "int8_t"
    return INT8 if fits else step.weight_format


def _stored(step: ConvStep, fmt: Format) -> IntArray:
    """Return the weights as they are stored: units, or codes of a minifloat."""
    return step.codes.astype(np.int64) if fmt.is_minifloat else step.weight


def _patch_type(fmt: Format, zero: int) -> str:
    """At least 16 bits, so that pairs of patch elements suit dual multiply-accumulate instructions."""
    narrow = signed_type(*units_range(fmt, zero))
    return "int16_t" if narrow == "int8_t" else narrow


def _acc_type(x: Format, step: ConvStep) -> str:
    wide = "int64_t" in (units_type(x), units_type(step.weight_format))
    return "int64_t" if wide or step.acc_max >= INT32_LIMIT else "int32_t"


def _sum_type(y: Format) -> str:
    """Return what a requantisation takes; whole sums fit it, if not every product on its way does."""
    return "int64_t" if y.is_minifloat else "int32_t"


def _bias_type(step: ConvStep) -> str:
    return "int64_t" if np.abs(step.bias).max(initial=0) >= INT32_LIMIT else "int32_t"


def _window(context: Context, step: ConvStep) -> str:
    return structure("window", context.label("window"), window_fields(context, step))
