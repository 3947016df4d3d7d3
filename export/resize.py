"""Resizing raw images in integer arithmetic: the same numbers on every machine, in numpy here and in generated C."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.errors import ExportError
from export.preprocess import MAX_SIDE, Preprocess

Pixels = npt.NDArray[np.uint8]
_Indices = npt.NDArray[np.int64]
#: Shares of neighbours are in units of 2^-11, so that two of them and a byte fit 32 bits.
_SHARE_BITS = 11


def resized(preprocess: Preprocess, image: Pixels) -> Pixels:
    """Bring an image to the network's size as `preprocess.resize` says.

    Args:
        preprocess: declares the network's height, width and channels, and the resize.
        image: uint8 [H, W, C].

    Returns:
        uint8 [height, width, C]; the image itself where it has that size.

    Raises:
        ExportError: another type or number of channels, a side above MAX_SIDE, or another size without a resize.
    """
    channels, rows, columns = preprocess.shape
    if image.ndim != 3 or image.shape[2] != channels:
        raise ExportError(f"an image of shape {image.shape}; the network takes [height, width, {channels}].")
    if preprocess.resize is None:
        if image.shape[:2] != (rows, columns):
            raise ExportError(
                f"an image of {image.shape[1]}x{image.shape[0]} pixels; the network takes {columns}x{rows}, and its "
                "pre-processing declares no resize. Resize the image, or export with --resize."
            )
        return image
    if image.dtype != np.uint8 or not 1 <= min(image.shape[:2]) <= max(image.shape[:2]) <= MAX_SIDE:
        raise ExportError(f"cannot resize {image.dtype} {image.shape}; uint8 images with sides of 1 to {MAX_SIDE} can.")
    window = _middle(image, rows, columns) if preprocess.resize.startswith("crop-") else image
    if preprocess.resize.endswith("nearest"):
        return window[_nearest(window.shape[0], rows)][:, _nearest(window.shape[1], columns)]
    return _bilinear(window, rows, columns)


def _middle(image: Pixels, rows: int, columns: int) -> Pixels:
    """The largest window in the shape rows x columns, from the middle."""
    height, width = image.shape[:2]
    if width * rows > height * columns:
        made_height, made_width = height, max(1, height * columns // rows)
    else:
        made_height, made_width = max(1, width * rows // columns), width
    top, left = (height - made_height) // 2, (width - made_width) // 2
    return image[top : top + made_height, left : left + made_width]


def _nearest(count: int, made: int) -> _Indices:
    """Index of the pixel whose square holds the middle of each pixel to make."""
    return (2 * np.arange(made) + 1) * count // (2 * made)


def _bilinear(image: Pixels, rows: int, columns: int) -> Pixels:
    """Middles of pixels lie half a pixel from their edges; outside the outermost ones the outermost pixel counts."""
    wide = image.astype(np.int64)
    top, bottom, down = _neighbours(image.shape[0], rows)
    left, right, across = _neighbours(image.shape[1], columns)
    x, y, one = across[None, :, None], down[:, None, None], 1 << _SHARE_BITS
    upper = wide[top][:, left] * (one - x) + wide[top][:, right] * x
    lower = wide[bottom][:, left] * (one - x) + wide[bottom][:, right] * x
    sums = upper * (one - y) + lower * y
    return ((sums + (1 << (2 * _SHARE_BITS - 1))) >> (2 * _SHARE_BITS)).astype(np.uint8)


def _neighbours(count: int, made: int) -> tuple[_Indices, _Indices, _Indices]:
    """The two neighbours of each pixel to make, and the share of the second one in 2^-11."""
    unit = 2 * made
    place = np.maximum((2 * np.arange(made) + 1) * count - made, 0)
    low = np.minimum(place // unit, count - 1)
    share = np.where(low < count - 1, place % unit * (1 << _SHARE_BITS) // unit, 0)
    return low, np.minimum(low + 1, count - 1), share
