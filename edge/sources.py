"""Where labelled images come from: one function per kind of source, each checking what it reads."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import numpy as np

from edge.dataset import Dataset, Images, Labels, checked_images, checked_labels, divided
from edge.errors import EdgeError
from edge.npz import read_npz
from export.preprocess import Preprocess

FASHION_FOLDER = Path("/usr/share/datasets/fashion-mnist")
FASHION_LABELS = ("T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_TRAIN, CIFAR10_TEST = "cifar10_train_lossless_2796.npz", "cifar10_test_lossless_466.npz"
#: One record of CIFAR-10's binary version: the label and 3 x 32 x 32 pixels.
CIFAR10_RECORD = 1 + 3 * 32 * 32
#: Share of scikit-learn's digits kept for testing.
DIGITS_TEST_SHARE = 0.3


def digits() -> Dataset:
    """Read scikit-learn's digits: 1,797 images of 8x8 with values 0 to 16; always the same 70/30 split."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise EdgeError("data 'digits' needs scikit-learn; install it with: pip install 'edgemill[data]'.") from error
    data = load_digits()
    x = checked_images(data.images.astype(np.uint8), "digits")
    y = checked_labels(data.target, len(x), 10, "digits")
    preprocess = Preprocess(1, 8, 8, 1 / 16, (0.305,), (0.376,))
    return divided("digits", x, y, tuple(str(k) for k in range(10)), preprocess, test_share=DIGITS_TEST_SHARE)


def fashion_mnist(folder: Path | None) -> Dataset:
    """Read Fashion-MNIST from `folder`, or from where Debian's package puts it: 60,000 + 10,000 images of 28x28."""
    place = FASHION_FOLDER if folder is None else folder
    if not place.is_dir():
        raise EdgeError(
            f"no Fashion-MNIST at {place}. Install it with 'apt-get install dataset-fashion-mnist', or name the folder "
            "that holds train-images-idx3-ubyte.gz and its three companions: fashion-mnist:FOLDER."
        )
    (x, y), (x_test, y_test) = (_fashion_part(place, part) for part in ("train", "t10k"))
    _same_size(x, x_test, place)
    height, width = x.shape[2:]
    preprocess = Preprocess(1, height, width, 1 / 255, (0.286,), (0.353,))
    return Dataset("fashion-mnist", x, y, x_test, y_test, FASHION_LABELS, preprocess)


def cifar10(folder: Path) -> Dataset:
    """Read CIFAR-10: the exact subset as two `.npz` files, or the complete binary version (`data_batch_1.bin`, ...)."""
    preprocess = Preprocess(3, 32, 32, 1 / 255, (0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    if (folder / CIFAR10_TRAIN).is_file() and (folder / CIFAR10_TEST).is_file():
        train, test = (_cifar10_npz(folder / name) for name in (CIFAR10_TRAIN, CIFAR10_TEST))
    elif (folder / "test_batch.bin").is_file():
        batches = [_cifar10_binary(folder / f"data_batch_{k}.bin") for k in range(1, 6)]
        train = np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])
        test = _cifar10_binary(folder / "test_batch.bin")
    else:
        raise EdgeError(_cifar10_advice(folder))
    return Dataset("cifar10", *train, *test, CIFAR10_LABELS, preprocess)


def npz(path: Path, test_share: float) -> Dataset:
    """Read an `.npz` with `x` and `y` (or `x_train`, `y_train`, `x_test`, `y_test`), and `labels` if it has them.

    uint8 images are divided by 255; int8 and float32 values are taken as they are.
    """
    arrays = read_npz(path)
    labels = _names(arrays["labels"], path) if "labels" in arrays else None
    if "x" in arrays and "y" in arrays:
        x, y = _pair(arrays, "", labels, path)
        names = labels or _numbered(y)
        return divided(path.stem, x, y, names, plain_preprocess(x), test_share=test_share)
    if {"x_train", "y_train", "x_test", "y_test"} <= set(arrays):
        (x, y), (x_test, y_test) = (_pair(arrays, part, labels, path) for part in ("_train", "_test"))
        _same_size(x, x_test, path)
        names = labels or _numbered(np.concatenate([y, y_test]))
        return Dataset(path.stem, x, y, x_test, y_test, names, plain_preprocess(x))
    held = ", ".join(sorted(arrays)) or "nothing"
    raise EdgeError(f"{path} holds {held}; needed are x and y, or x_train, y_train, x_test and y_test.")


def plain_preprocess(x: Images) -> Preprocess:
    """Return the pre-processing of images that come without one: uint8 to 0..1, other types unchanged."""
    channels, height, width = x.shape[1:]
    scale = 1 / 255 if x.dtype == np.uint8 else 1.0
    mean, std = (0.0,) * channels, (1.0,) * channels
    return Preprocess(channels, height, width, scale, mean, std, raw=x.dtype.name)


def _pair(arrays: dict[str, Images], part: str, labels: tuple[str, ...] | None, path: Path) -> tuple[Images, Labels]:
    x = checked_images(arrays[f"x{part}"], f"{path}: x{part}")
    return x, checked_labels(arrays[f"y{part}"], len(x), len(labels) if labels else None, f"{path}: y{part}")


def _names(labels: Images, path: Path) -> tuple[str, ...]:
    if labels.dtype.kind != "U" or labels.ndim != 1 or not len(labels):
        raise EdgeError(f"{path}: labels holds {labels.dtype} {labels.shape}; it must be a list of names.")
    return tuple(str(name) for name in labels)


def _numbered(y: Labels) -> tuple[str, ...]:
    return tuple(str(k) for k in range(int(y.max()) + 1))


def _same_size(x: Images, x_test: Images, place: Path) -> None:
    if x.shape[1:] != x_test.shape[1:] or x.dtype != x_test.dtype:
        raise EdgeError(
            f"{place}: training images are {x.dtype} {x.shape[1:]}, test images {x_test.dtype} {x_test.shape[1:]}."
        )


def _fashion_part(folder: Path, part: str) -> tuple[Images, Labels]:
    x = checked_images(_idx(folder, f"{part}-images-idx3-ubyte", 3), f"{folder}/{part}-images")
    return x, checked_labels(_idx(folder, f"{part}-labels-idx1-ubyte", 1), len(x), 10, f"{folder}/{part}-labels")


def _idx(folder: Path, name: str, axes: int) -> Images:
    """Read an IDX file of bytes (big-endian header: 0, 0, type 8, number of axes, then each length), gzipped or not."""
    path = folder / f"{name}.gz"
    try:
        raw = gzip.decompress(path.read_bytes()) if path.is_file() else (folder / name).read_bytes()
    except (OSError, EOFError, zlib.error) as error:
        raise EdgeError(f"cannot read {path} (or the same without .gz): {error}") from error
    start = 4 + 4 * axes
    shape = tuple(int(n) for n in np.frombuffer(raw[4:start], ">u4")) if len(raw) >= start else ()
    if raw[:4] != bytes((0, 0, 8, axes)) or len(raw) - start != int(np.prod(shape, dtype=np.int64)):
        raise EdgeError(f"{path} is not a complete IDX file of bytes with {axes} axes; fetch it again.")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)


def _cifar10_npz(path: Path) -> tuple[Images, Labels]:
    arrays = read_npz(path)
    if not {"x", "y"} <= set(arrays):
        raise EdgeError(f"{path} holds {', '.join(sorted(arrays))}; needed are x and y.")
    x, y = _pair(arrays, "", CIFAR10_LABELS, path)
    if x.dtype != np.uint8 or x.shape[1:] != (3, 32, 32):
        raise EdgeError(f"{path}: x is {x.dtype} {x.shape}; CIFAR-10 is uint8 [N, 3, 32, 32].")
    return x, y


def _cifar10_binary(path: Path) -> tuple[Images, Labels]:
    try:
        raw = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise EdgeError(f"cannot read {path}: {error.strerror}.") from error
    if len(raw) == 0 or len(raw) % CIFAR10_RECORD:
        raise EdgeError(f"{path} has {len(raw)} bytes; CIFAR-10's binary version has records of {CIFAR10_RECORD}.")
    records = raw.reshape(-1, CIFAR10_RECORD)
    x = records[:, 1:].reshape(-1, 3, 32, 32)
    return x, checked_labels(records[:, 0], len(x), 10, str(path))


def _cifar10_advice(folder: Path) -> str:
    if not folder.is_dir():
        return f"no folder {folder}; name the one that holds CIFAR-10: cifar10:FOLDER."
    if (folder / "data_batch_1").exists() or (folder / "test_batch").exists():
        return (
            f"{folder} holds CIFAR-10's python version, which is pickled; unpickling can run foreign code and is never "
            "done here. Take the binary version (data_batch_1.bin, ..., test_batch.bin)."
        )
    return (
        f"{folder} holds no CIFAR-10; needed are {CIFAR10_TRAIN} and {CIFAR10_TEST}, or the binary version "
        "(data_batch_1.bin, ..., test_batch.bin)."
    )
