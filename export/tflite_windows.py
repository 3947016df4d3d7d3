"""How ONNX pads of a sliding window are said in TFLite: SAME, VALID, or a PAD operator before VALID."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Window:
    """A window over [H, W]: extents in and out, reach of the kernel, strides; pads are top, left, bottom, right."""

    size: tuple[int, int]
    out: tuple[int, int]
    reach: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]


def tflite_padding(window: Window) -> str | None:
    """Return VALID or SAME when TFLite places every window as the pads do, else None.

    TFLite's SAME: out = ceil(L / stride), total = max((out - 1) * stride + reach - L, 0), total // 2 before. Padding
    behind the last window changes nothing, so only the padding before and the output size are compared.
    """
    if all(_is_valid(window, axis) for axis in (0, 1)):
        return "VALID"
    if all(_is_same(window, axis) for axis in (0, 1)):
        return "SAME"
    return None


def _is_valid(window: Window, axis: int) -> bool:
    room = window.size[axis] - window.reach[axis]
    return window.pads[axis] == 0 and room >= 0 and window.out[axis] == room // window.strides[axis] + 1


def _is_same(window: Window, axis: int) -> bool:
    length, out, stride = window.size[axis], window.out[axis], window.strides[axis]
    total = max((out - 1) * stride + window.reach[axis] - length, 0)
    return out == -(-length // stride) and window.pads[axis] == total // 2
