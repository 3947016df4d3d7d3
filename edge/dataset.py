"""A labelled image data set in memory, and the checks every data set passes before anything uses it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edge.errors import EdgeError
from export.preprocess import Preprocess

Images = npt.NDArray[np.generic]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Raw images and labels, split into a training and a test part.

    `x_train`, `x_test` are [N, C, H, W], uint8 as a camera gives them (int8 and float32 features are possible);
    `y_train`, `y_test` are int64 [N], indices into `labels`. `preprocess` makes the network's float input.
    """

    name: str
    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels
    labels: tuple[str, ...]
    preprocess: Preprocess


def checked_images(x: Images, where: str) -> Images:
    """Return images as [N, C, H, W].

    Args:
        x: [N, H, W] or [N, C, H, W] of uint8, int8 or float32 (float64 is narrowed).
        where: file and array, for the message.

    Raises:
        EdgeError: empty, another number of axes, another type, or values that are not finite.
    """
    if x.ndim not in {3, 4} or 0 in x.shape:
        raise EdgeError(
            f"{where} has shape {x.shape}; allowed are [N, height, width] and [N, channels, height, width], none 0."
        )
    if x.dtype == np.float64:
        x = x.astype(np.float32)
    if x.dtype not in (np.dtype(np.uint8), np.dtype(np.int8), np.dtype(np.float32)):
        raise EdgeError(f"{where} holds {x.dtype}; allowed are uint8, int8 and float32.")
    if x.dtype == np.float32 and not np.isfinite(x).all():
        raise EdgeError(f"{where} holds NaN or infinity in image {_first_bad(x)}; remove it.")
    return x[:, None] if x.ndim == 3 else x


def checked_labels(y: Images, count: int, classes: int | None, where: str) -> Labels:
    """Return labels as int64 [count].

    Args:
        y: whole numbers, [count].
        count: number of images they belong to.
        classes: labels must be below; None when the labels themselves say how many there are.
        where: file and array, for the message.

    Raises:
        EdgeError: another shape or length, not whole numbers, or out of range.
    """
    if y.ndim != 1 or len(y) != count:
        raise EdgeError(f"{where} has shape {y.shape} for {count} images; one label per image is needed, [{count}].")
    if y.dtype.kind not in "iu":
        raise EdgeError(f"{where} holds {y.dtype}; labels must be whole numbers from 0.")
    wide = y.astype(np.int64)
    if wide.min() < 0 or (classes is not None and wide.max() >= classes):
        bad = int(wide.min() if wide.min() < 0 else wide.max())
        top = "" if classes is None else f" to {classes - 1}"
        raise EdgeError(f"{where} holds label {bad}; allowed are 0{top}.")
    return wide


def split(y: Labels, test_share: float, seed: int = 0) -> tuple[Labels, Labels]:
    """Divide image indices so that each class keeps its share.

    Args:
        y: labels, [N].
        test_share: 0 (all images train) to 1 (all images test); each class gives the nearest whole number.
        seed: same seed, same split.

    Returns:
        Indices of the training and of the test images, each ascending.
    """
    rng = np.random.default_rng(seed)
    test = np.zeros(len(y), dtype=bool)
    for label in np.unique(y):
        members = rng.permutation(np.flatnonzero(y == label))
        test[members[: round(test_share * len(members))]] = True
    return np.flatnonzero(~test), np.flatnonzero(test)


def with_held_out(dataset: Dataset, count: int) -> tuple[Dataset, Dataset]:
    """Keep the last `count` training images out of the training, to choose settings and thresholds on.

    Returns:
        The data set without them, and the same with them in place of the test images.

    Raises:
        EdgeError: nothing would be left to train on, or nothing is held out.
    """
    if not 0 < count < len(dataset.x_train):
        raise EdgeError(
            f"{count} of {len(dataset.x_train)} training images of '{dataset.name}' cannot be held out; both parts "
            f"need at least one. Hold out 1 to {len(dataset.x_train) - 1}."
        )
    kept = replace(dataset, x_train=dataset.x_train[:-count], y_train=dataset.y_train[:-count])
    return kept, replace(kept, x_test=dataset.x_train[-count:], y_test=dataset.y_train[-count:])


def divided(
    name: str, x: Images, y: Labels, labels: tuple[str, ...], preprocess: Preprocess, *, test_share: float
) -> Dataset:
    """Make a data set of one pile of images by `split`."""
    train, test = split(y, test_share)
    return Dataset(name, x[train], y[train], x[test], y[test], labels, preprocess)


def _first_bad(x: Images) -> int:
    finite = np.isfinite(x.astype(np.float32)).reshape(len(x), -1).all(axis=1)
    return int(np.flatnonzero(~finite)[0])
