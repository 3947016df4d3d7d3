"""Pools as C."""

from __future__ import annotations

from export.c99.layout import c_type
from export.c99.numbers import TYPES, code, ordinal, requant_wide, units, units_range
from export.c99.piece import Constants, Context, Piece, multiplier_constants, structure
from export.c99.step_conv import CLIP_WINDOW
from export.c99.template import Kernel, Tokens
from export.errors import ExportError
from quant.fixedpoint import INT32_LIMIT
from quant.program import AveragePoolStep, MaxPoolStep

DIVIDE = Kernel("divide", "divide_half_away")


def max_pool_piece(context: Context, step: MaxPoolStep) -> Piece:
    """Return the C of a max pool."""
    fmt = context.format(step.x)
    place, encode = ordinal(fmt), code(fmt)
    tokens: Tokens = (("X_T", c_type(fmt)), ("X_ORDINAL", place.name), ("X_CODE", encode.name))
    tokens += (("MIN_ORDINAL", str(fmt.min_ordinal)),)
    name = f"max_pool_{fmt.name}"
    kernel = Kernel("max_pool", name, tokens, (TYPES, CLIP_WINDOW, place, encode))
    call = f"{name}({context.names[step.x]}, {context.names[step.y]}, &{context.label('window')});"
    return Piece((kernel,), (_window(context, step),), (call,))


def average_pool_piece(context: Context, step: AveragePoolStep) -> Piece:
    """Return the C of an average pool.

    Raises:
        ExportError: a window lies wholly in the padding, so that it has no mean.
    """
    _check_windows(context, step)
    fmt = context.format(step.x)
    low, high = units_range(fmt)
    wide = max(-low, high) * step.op.kernel[0] * step.op.kernel[1] >= INT32_LIMIT
    decode, divide = units(fmt), requant_wide(fmt) if fmt.is_minifloat else DIVIDE
    expression = f"({c_type(fmt)})divide_half_away(sum, count)"
    tokens: Tokens = (("X_T", c_type(fmt)), ("ACC_T", "int64_t" if wide else "int32_t"), ("X_UNITS", decode.name))
    tokens += (
        ("DIVIDE_PARAMETER", ", const struct requant *r" if fmt.is_minifloat else ""),
        ("DIVIDE", f"{divide.name}(sum, r, count - 1)" if fmt.is_minifloat else expression),
    )
    name = f"average_pool_{fmt.name}_{tokens[1][1]}"
    kernel = Kernel("average_pool", name, tokens, (TYPES, CLIP_WINDOW, decode, divide))
    scale, more = Constants("", 0), ""
    if fmt.is_minifloat:
        scale = multiplier_constants(context, fmt, step.multipliers, (0, fmt.min_ordinal, fmt.max_ordinal))
        more = f", &{context.label('requant')}"
    call = f"{name}({context.names[step.x]}, {context.names[step.y]}, &{context.label('window')}{more});"
    constants = tuple(text for text in (scale.text, _window(context, step)) if text)
    return Piece((kernel,), constants, (call,), scale.size_bytes)


def _check_windows(context: Context, step: AveragePoolStep) -> None:
    sizes, outs = context.image(step.x)[:2], context.image(step.y)[:2]
    for axis in (0, 1):
        starts = [index * step.op.strides[axis] - step.op.pads[axis] for index in (0, outs[axis] - 1)]
        if starts[0] + step.op.kernel[axis] <= 0 or starts[1] >= sizes[axis]:
            raise ExportError(
                f"arm-m: node '{step.name}' (AveragePool) has a window of only padding (kernel {step.op.kernel}, "
                f"pads {step.op.pads}); pads must be smaller than the kernel."
            )


def _window(context: Context, step: MaxPoolStep | AveragePoolStep) -> str:
    height, width, channels = context.image(step.x)
    out_height, out_width, _ = context.image(step.y)
    fields: dict[str, object] = {
        "height": height,
        "width": width,
        "channels": channels,
        "out_height": out_height,
        "out_width": out_width,
        "kernel_height": step.op.kernel[0],
        "kernel_width": step.op.kernel[1],
        "stride_y": step.op.strides[0],
        "stride_x": step.op.strides[1],
        "pad_top": step.op.pads[0],
        "pad_left": step.op.pads[1],
    }
    return structure("window", context.label("window"), fields)
