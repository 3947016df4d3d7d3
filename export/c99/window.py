"""The `struct window` of a convolution: how its windows slide over an image."""

from __future__ import annotations

from export.c99.piece import Context
from quant.program import ConvStep


def window_fields(context: Context, step: ConvStep) -> dict[str, object]:
    """Return the fields of `struct window` (see kernels/types.c) in the order of their declaration."""
    height, width, channels = context.image(step.x)
    out_height, out_width, out_channels = context.image(step.y)
    return {
        "height": height,
        "width": width,
        "channels": channels,
        "out_height": out_height,
        "out_width": out_width,
        "out_channels": out_channels,
        "kernel_height": step.weight.shape[2],
        "kernel_width": step.weight.shape[3],
        "stride_y": step.op.strides[0],
        "stride_x": step.op.strides[1],
        "pad_top": step.op.pads[0],
        "pad_left": step.op.pads[1],
        "dilation_y": step.op.dilations[0],
        "dilation_x": step.op.dilations[1],
        "groups": step.op.groups,
        "zero": step.x_zero,
    }
