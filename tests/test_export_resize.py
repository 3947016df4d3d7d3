"""Resizing in integers: against the formula in floats, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from export.errors import ExportError
from export.preprocess import MAX_SIDE, Preprocess
from export.resize import resized

PLAIN = Preprocess(3, 12, 16, 1 / 255, (0.0,) * 3, (1.0,) * 3)


def bilinear(image: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Interpolate between the middles of pixels, in floats, one output value at a time."""
    height, width, _ = image.shape
    made = np.zeros((rows, columns, image.shape[2]))
    for row in range(rows):
        for column in range(columns):
            y = np.clip((row + 0.5) * height / rows - 0.5, 0, height - 1)
            x = np.clip((column + 0.5) * width / columns - 0.5, 0, width - 1)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            upper = image[top, left] * (1 - x + left) + image[top, right] * (x - left)
            lower = image[bottom, left] * (1 - x + left) + image[bottom, right] * (x - left)
            made[row, column] = upper * (1 - y + top) + lower * (y - top)
    return made


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [(12, 16), (24, 32), (7, 5), (50, 17), (1, 1), (3, 400)])
def test_bilinear_is_the_formula_within_its_rounding(size):
    image = picture(*size)
    made = resized(replace(PLAIN, resize="bilinear"), image)
    assert made.dtype == np.uint8
    # Half a step of rounding, and two shares of at most 2^-11 too little.
    assert np.abs(made - bilinear(image, 12, 16)).max() <= 0.5 + 2 * 255 / 2048
    assert np.ptp(made) > 0 or size == (1, 1)


@pytest.mark.parametrize("size", [(12, 16), (24, 32), (7, 5), (50, 17), (1, 1)])
def test_nearest_takes_the_pixel_below_each_middle(size):
    image = picture(*size)
    rows = [int((r + 0.5) * size[0] / 12) for r in range(12)]
    columns = [int((c + 0.5) * size[1] / 16) for c in range(16)]
    assert np.array_equal(resized(replace(PLAIN, resize="nearest"), image), image[rows][:, columns])


@pytest.mark.parametrize("method", ["nearest", "bilinear", "crop-nearest", "crop-bilinear"])
def test_an_image_of_the_right_size_stays(method):
    image = picture(12, 16)
    assert np.array_equal(resized(replace(PLAIN, resize=method), image), image)


@pytest.mark.parametrize(("size", "window"), [((24, 64), np.s_[:, 16:48]), ((100, 32), np.s_[38:62, :])])
def test_crop_takes_the_middle_in_the_networks_shape(size, window):
    image = picture(*size)
    cropped = resized(replace(PLAIN, resize="crop-bilinear"), image)
    assert np.array_equal(cropped, resized(replace(PLAIN, resize="bilinear"), image[window]))


def test_other_sizes_without_a_resize_and_other_channels_are_refused():
    with pytest.raises(ExportError, match="an image of 5x7 pixels; the network takes 16x12, and its"):
        resized(PLAIN, picture(7, 5))
    with pytest.raises(ExportError, match=r"takes \[height, width, 3\]"):
        resized(PLAIN, picture(12, 16)[..., :1])
    with pytest.raises(ExportError, match="cannot resize int16"):
        resized(replace(PLAIN, resize="nearest"), picture(5, 5).astype(np.int16))
    with pytest.raises(ExportError, match="cannot resize uint8"):
        resized(replace(PLAIN, resize="nearest"), np.zeros((1, MAX_SIDE + 1, 3), np.uint8))


def test_only_pixels_are_resized_and_the_record_keeps_the_method():
    given = replace(PLAIN, resize="crop-nearest")
    assert Preprocess.from_record(given.to_record()) == given
    assert "resize" not in PLAIN.to_record() and "raw" not in PLAIN.to_record()
    with pytest.raises(ExportError, match="resize 'nearest' of int8"):
        replace(PLAIN, raw="int8", resize="nearest")
    with pytest.raises(ExportError, match="no side may be above"):
        replace(PLAIN, height=MAX_SIDE + 1, resize="nearest")
