"""Small random binary networks for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant.binary import store
from quant.binary_net import Affine, BinaryLayer, BinaryNetwork, Stem, Threshold, check, run


def binary_network(seed: int = 0) -> BinaryNetwork:
    """A stem, a unit that shrinks and widens under a shortcut, a thresholded one, and a plain one; image 7x6."""
    rng = np.random.default_rng(seed)

    def array(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    network = check(
        BinaryNetwork(
            name="small",
            shape=(2, 7, 6),
            stem=Stem(array(5, 2, 3, 3), array(5), (1, 1), (1, 1, 1, 1)),
            layers=(
                BinaryLayer(
                    "down", store(array(9, 5, 3, 3)), (2, 2), (1, 1, 1, 1), 0, True, Affine(array(9) / 5, array(9))
                ),
                BinaryLayer(
                    "cut",
                    store(array(4, 9, 2, 3)),
                    (1, 1),
                    (1, 0, 0, 1),
                    -1,
                    False,
                    Threshold(rng.integers(-9, 9, 4).astype(np.int32)),
                ),
                BinaryLayer(
                    "last", store(array(6, 4, 1, 1)), (1, 1), (0, 0, 0, 0), 1, False, Affine(array(6), array(6))
                ),
            ),
            head=array(3, 6),
            bias=np.zeros(3, np.float32),
        )
    )
    # Random weights prefer one class; every class shall win.
    return replace(network, bias=-run(network, images(network, 64, seed=9)).mean(axis=0))


def images(network: BinaryNetwork, count: int, seed: int = 0) -> np.ndarray:
    """Random inputs, float32."""
    return np.random.default_rng(seed).normal(size=(count, *network.shape)).astype(np.float32)
