"""From what a person types (`digits`, `cifar10:FOLDER`, `X.npz`, a folder of images) to a `Dataset`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edge import sources
from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.image_folder import image_folder
from export.errors import ExportError
from quant.names import suggestion


@dataclass(frozen=True, slots=True)
class Source:
    """A kind of data source, for lists and messages."""

    name: str
    summary: str


SOURCES = (
    Source("digits", "scikit-learn's 1,797 digits of 8x8, split 70/30"),
    Source("fashion-mnist", "70,000 clothes of 28x28, from Debian's dataset-fashion-mnist"),
    Source("fashion-mnist:FOLDER", "the same from a folder with the four idx files"),
    Source("cifar10:FOLDER", "32x32 colour images: CIFAR-10's binary version, or the exact subset as .npz"),
    Source("FILE.npz", "arrays x [N, channels, height, width] and y [N]"),
    Source("FOLDER", "class folders with images of one size"),
)
#: Share of images kept for testing where a source has no test part of its own.
TEST_SHARE = 0.3


def load(source: str, test_share: float = TEST_SHARE) -> Dataset:
    """Load a data set.

    Args:
        source: one of the forms in SOURCES.
        test_share: how much of an `.npz` or image folder without a test part is kept for testing: 0 to calibrate on
            all of it, 1 to evaluate on all of it. Sources with a fixed test part ignore it.

    Raises:
        EdgeError: no such source, or its files are missing, damaged or hold what cannot be used.
    """
    kind, _, folder = source.partition(":")
    if kind == "digits" and not folder:
        return sources.digits()
    if kind == "fashion-mnist":
        return sources.fashion_mnist(Path(folder).expanduser() if folder else None)
    if kind == "cifar10" and folder:
        return sources.cifar10(Path(folder).expanduser())
    path = Path(source).expanduser()
    if path.suffix == ".npz":
        return sources.npz(path, test_share)
    if path.is_dir():
        return image_folder(path, test_share)
    near = suggestion(kind, ("digits", "fashion-mnist", "cifar10"))
    forms = ", ".join(entry.name for entry in SOURCES)
    raise EdgeError(f"no data '{source}'.{near} Allowed: {forms}.")


def relative_to(source: str, base: Path) -> str:
    """Return the source with a relative path in it taken from `base`, as a configuration file means it."""
    kind, colon, folder = source.partition(":")
    if kind in {"digits", "fashion-mnist", "cifar10"}:
        return f"{kind}:{base / Path(folder).expanduser()}" if colon and folder else source
    path = base / Path(source).expanduser()
    # A mistyped name stays as it is, so that `load` can suggest the right one.
    return str(path) if path.suffix == ".npz" or "/" in source or path.is_dir() else source


def with_preprocess(
    dataset: Dataset, scale: float | None = None, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()
) -> Dataset:
    """Return the data set with another scale, mean or std, as a network trained elsewhere may need; empty keeps it.

    Raises:
        EdgeError: not one value per channel, or a value that has no meaning.
    """
    old = dataset.preprocess
    try:
        changed = replace(old, scale=old.scale if scale is None else scale, mean=mean or old.mean, std=std or old.std)
    except ExportError as error:
        raise EdgeError(f"data '{dataset.name}': {error}") from error
    return replace(dataset, preprocess=changed)


def with_resize(dataset: Dataset, resize: str | None) -> Dataset:
    """Return the data set with a declared resize for images of other sizes; None keeps it.

    Raises:
        EdgeError: the data set does not hold pixels.
    """
    if resize is None:
        return dataset
    try:
        return replace(dataset, preprocess=replace(dataset.preprocess, resize=resize))
    except ExportError as error:
        raise EdgeError(f"data '{dataset.name}': {error}") from error
