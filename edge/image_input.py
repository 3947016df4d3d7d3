"""From a file or an array to the raw values a network takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.errors import EdgeError
from edge.image_folder import open_image
from export.preprocess import Preprocess
from export.resize import resized
from quant.formats import Array

#: Pillow's names for images by number of channels.
MODES = {1: "L", 3: "RGB"}


def raw_image(preprocess: Preprocess, image: str | Path | Array) -> Array:
    """Return raw values [height, width, channels] in the network's size.

    Args:
        preprocess: what the bundle declares.
        image: an image file, a `.npy` file, or an array [height, width, channels] or [height, width].

    Raises:
        EdgeError: the file cannot be read, or type or shape do not fit.
        ExportError: the size is another one and no resize is declared.
    """
    if isinstance(image, str | Path):
        return resized(preprocess, _checked(preprocess, _read(preprocess, Path(image)), str(image)))
    return resized(preprocess, _checked(preprocess, np.asarray(image), "the image"))


def _read(preprocess: Preprocess, path: Path) -> Array:
    if path.suffix == ".npy":
        try:
            values: Array = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise EdgeError(f"{path} is not a readable array: {error}.") from error
        return values
    mode = MODES.get(preprocess.channels)
    if mode is None or preprocess.raw != "uint8":
        raise EdgeError(
            f"{path}: the network takes {preprocess.raw} with {preprocess.channels} channels, which image files do not "
            "hold; give an array or a .npy file [height, width, channels]."
        )
    return open_image(path, mode)


def _checked(preprocess: Preprocess, values: Array, where: str) -> Array:
    channels, height, width = preprocess.shape
    planes = values[:, :, None] if values.ndim == 2 and channels == 1 else values
    if planes.dtype != np.dtype(preprocess.raw) or planes.ndim != 3 or planes.shape[2] != channels or not planes.size:
        turned = " Transpose it: channels come last." if values.shape == preprocess.shape and channels > 1 else ""
        raise EdgeError(
            f"{where} is {values.dtype} {list(values.shape)}; the network takes {preprocess.raw} "
            f"[{height}, {width}, {channels}].{turned}"
        )
    return planes
