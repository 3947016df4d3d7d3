"""A folder of class folders with images: FOLDER/cat/1.png, or FOLDER/train/cat/1.png and FOLDER/test/cat/2.png."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge.dataset import Dataset, Images, Labels, divided
from edge.errors import EdgeError
from edge.sources import plain_preprocess

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp"})


def image_folder(folder: Path, test_share: float) -> Dataset:
    """Read every image below the class folders; class names in alphabetical order are the labels.

    All images must have one size; they become RGB unless every one is grey.

    Raises:
        EdgeError: no class folders, an empty one, a file that is no image, or two sizes; names the file.
    """
    parts = [folder / part for part in ("train", "test")]
    if all(part.is_dir() for part in parts):
        labels = _labels(parts[0])
        if _labels(parts[1]) != labels:
            raise EdgeError(f"{parts[0]} and {parts[1]} have different class folders.")
        (x, y), (x_test, y_test) = _same_form([_read(part, labels) for part in parts], folder)
        return Dataset(folder.name, x, y, x_test, y_test, labels, plain_preprocess(x))
    labels = _labels(folder)
    [(x, y)] = _same_form([_read(folder, labels)], folder)
    return divided(folder.name, x, y, labels, plain_preprocess(x), test_share=test_share)


def _labels(folder: Path) -> tuple[str, ...]:
    labels = tuple(sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] != "."))
    if len(labels) < 2:
        raise EdgeError(f"{folder} has {len(labels)} class folders; at least 2 are needed, each with images.")
    return labels


def _read(folder: Path, labels: tuple[str, ...]) -> tuple[list[Images], Labels]:
    """Return images as [H, W] (grey) or [H, W, 3], and labels."""
    images, y = [], []
    for label, name in enumerate(labels):
        files = sorted(path for path in (folder / name).iterdir() if path.suffix.lower() in SUFFIXES)
        if not files:
            raise EdgeError(f"{folder / name} holds no image; known endings: {', '.join(sorted(SUFFIXES))}.")
        for path in files:
            images.append(open_image(path))
            y.append(label)
            if images[-1].shape[:2] != images[0].shape[:2]:
                raise EdgeError(
                    f"{path} is {_size(images[-1])}, the first image {_size(images[0])}; make all images one size."
                )
    return images, np.array(y, dtype=np.int64)


def open_image(path: Path, mode: str | None = None) -> Images:
    """Read an image file as uint8.

    Args:
        path: anything Pillow reads.
        mode: "L" (grey) or "RGB"; None keeps grey images grey and makes the others RGB.

    Returns:
        [H, W] for grey, else [H, W, 3].

    Raises:
        EdgeError: Pillow is not installed, or the file is no readable image.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise EdgeError("image files need pillow; install it with: pip install 'edgemill[data]'.") from error
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert(mode or ("L" if image.mode == "L" else "RGB")), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise EdgeError(f"{path} is not a readable image: {error}.") from error


def _same_form(parts: list[tuple[list[Images], Labels]], folder: Path) -> list[tuple[Images, Labels]]:
    """Stack images to [N, C, H, W], C = 1 only if every image of every part is grey."""
    first = parts[0][0][0]
    for images, _ in parts[1:]:
        if images[0].shape[:2] != first.shape[:2]:
            raise EdgeError(f"{folder}: train images are {_size(first)}, test images {_size(images[0])}.")
    grey = all(image.ndim == 2 for images, _ in parts for image in images)
    return [(np.stack([_planes(image, grey) for image in images]), y) for images, y in parts]


def _planes(image: Images, grey: bool) -> Images:
    if grey:
        return image[None]
    return np.stack([image] * 3) if image.ndim == 2 else image.transpose(2, 0, 1)


def _size(image: Images) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"
