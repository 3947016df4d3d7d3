"""Options of a `.tflite` file's operators: sliding windows, and the activation fused behind an operator."""

from __future__ import annotations

from dataclasses import dataclass

from quant.flatbuffer import Table
from quant.tflite_build import refuse
from quant.tflite_read import FileOp
from quant.tflite_schema import ACTIVATIONS, SAME, VALID


@dataclass(frozen=True, slots=True)
class Window:
    """How a kernel slides over [H, W]; pads are top, left, bottom, right, and `out` the extents it makes."""

    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    out: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Fields:
    """Numbers of the fields of an options table: padding, strides (h, w), dilations (h, w), fused activation."""

    padding: int
    strides: tuple[int, int]
    dilations: tuple[int, int] | None
    activation: int


CONV = Fields(0, (2, 1), (5, 4), 3)
DEPTHWISE = Fields(0, (2, 1), (6, 5), 4)
POOL = Fields(0, (2, 1), None, 5)


def options(op: FileOp) -> Table:
    """Return an operator's options table, which `tflite_read` made sure of."""
    assert op.options is not None
    return op.options


def window(op: FileOp, fields: Fields, size: tuple[int, int], kernel: tuple[int, int]) -> Window:
    """Return how the window of an operator slides over an image of [H, W].

    SAME makes ceil(L / stride) outputs and divides the padding as total // 2 before, the rest behind.

    Raises:
        QuantError: another padding, a stride or dilation below 1, or a kernel larger than the image.
    """
    table = options(op)
    padding = table.integer(fields.padding, "b")
    strides = _pair(table, fields.strides, 0)
    dilations = (1, 1) if fields.dilations is None else _pair(table, fields.dilations, 1)
    if padding not in (SAME, VALID):
        raise refuse(op, f"its padding is {padding}; allowed are SAME (0) and VALID (1).")
    if min(*strides, *dilations, *kernel) < 1:
        raise refuse(op, f"strides {strides}, dilations {dilations} and kernel {kernel} must be at least 1.")
    sides = []
    for length, extent, stride, dilation in zip(size, kernel, strides, dilations, strict=True):
        reach = (extent - 1) * dilation + 1
        out = -(-length // stride) if padding == SAME else (length - reach) // stride + 1
        total = max((out - 1) * stride + reach - length, 0) if padding == SAME else 0
        if out < 1:
            raise refuse(op, f"its kernel reaches over {reach} of {length} values; it must fit.")
        sides.append((out, total // 2, total - total // 2))
    (height, top, bottom), (width, left, right) = sides
    return Window(strides, dilations, (top, left, bottom, right), (height, width))


def fused(op: FileOp, field: int) -> tuple[float, float] | None:
    """Return the range of an operator's fused activation, or None.

    Raises:
        QuantError: the activation is TANH, SIGN_BIT or unknown.
    """
    number = options(op).integer(field, "b")
    if number not in ACTIVATIONS:
        raise refuse(op, f"its fused activation is number {number}; allowed are NONE, RELU, RELU_N1_TO_1 and RELU6.")
    return ACTIVATIONS[number]


def _pair(table: Table, fields: tuple[int, int], default: int) -> tuple[int, int]:
    return table.integer(fields[0], "i", default), table.integer(fields[1], "i", default)
