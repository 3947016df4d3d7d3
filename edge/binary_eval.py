"""Labels that a stored binary network gives a data set's test images."""

from __future__ import annotations

from pathlib import Path

from edge.dataset import Dataset, Labels
from edge.errors import EdgeError
from quant.binary_file import SUFFIX, load
from quant.binary_net import run


def is_binary(model: str) -> bool:
    """Whether a MODEL on the command line is a binary network's file."""
    return Path(model).suffix == SUFFIX


def binary_labels(path: Path, dataset: Dataset) -> Labels:
    """Run the test images through the XNOR-popcount reference; returns int64 [N].

    Raises:
        EdgeError: no such file, no images, or images or labels that are not the network's.
        QuantError: the file is damaged.
    """
    if not path.is_file():
        raise EdgeError(f"there is no file '{path}'.")
    network, images = load(path), dataset.x_test
    if images.shape[1:] != network.shape or len(network.bias) != len(dataset.labels) or not len(images):
        raise EdgeError(
            f"data '{dataset.name}' has {len(images)} test images {list(images.shape[1:])} of {len(dataset.labels)} "
            f"classes; {path} takes images {list(network.shape)} of {len(network.bias)} classes."
        )
    found: Labels = run(network, dataset.preprocess.apply(images)).argmax(axis=1)
    return found
