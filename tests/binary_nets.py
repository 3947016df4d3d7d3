"""Small random binary networks for tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant.binary import output_size, store
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


def random_network(seed: int) -> BinaryNetwork:
    """Any small network: kernels, strides, pads and pad signs, shortcuts, negative, tiny and zero gains, ties."""
    rng = np.random.default_rng(seed)
    shape = (int(rng.integers(1, 4)), *(int(n) for n in rng.integers(3, 9, 2)))
    width = int(rng.integers(1, 13))
    stem, size = _stem(rng, shape, width)
    layers: list[BinaryLayer] = []
    given = width
    for index in range(int(rng.integers(1, 5))):
        skip = bool(rng.integers(0, 2))
        layer, size = _layer(rng, f"layer.{index}", given, size, skip)
        layers.append(layer)
        given = layer.weight.shape[0]
    head = rng.normal(size=(int(rng.integers(2, 6)), given)).astype(np.float32)
    layers = _with_thresholds(rng, layers)
    network = check(BinaryNetwork("any", shape, stem, tuple(layers), head, np.zeros(len(head), np.float32)))
    return replace(network, bias=-run(network, images(network, 32, seed=9)).mean(axis=0))


def _stem(rng: np.random.Generator, shape: tuple[int, int, int], width: int) -> tuple[Stem, tuple[int, int]]:
    kernel, strides, pads = _window(rng, shape[1:])
    weight = rng.normal(size=(width, shape[0], *kernel)).astype(np.float32)
    stem = Stem(weight, rng.normal(size=width).astype(np.float32), strides, pads)
    return stem, output_size(shape[1:], kernel, strides, pads)


def _window(rng: np.random.Generator, size: tuple[int, int]) -> tuple[tuple, tuple, tuple]:
    pads = tuple(int(n) for n in rng.integers(0, 3, 4))
    padded = size[0] + pads[0] + pads[2], size[1] + pads[1] + pads[3]
    kernel = tuple(int(rng.integers(1, min(side, 4) + 1)) for side in padded)
    return kernel, tuple(int(n) for n in rng.integers(1, 4, 2)), pads


def _layer(
    rng: np.random.Generator, name: str, given: int, size: tuple[int, int], skip: bool
) -> tuple[BinaryLayer, tuple[int, int]]:
    kernel, strides, pads = _window(rng, size)
    out = int(rng.integers(1, 21))
    if skip:  # an odd kernel in the middle keeps the shortcut's size
        kernel, pads, out = (3, 3), (1, 1, 1, 1), given + int(rng.integers(0, 9))
    weight = store(rng.normal(size=(out, given, *kernel)))
    # Whole gains and offsets make sums that meet zero exactly.
    whole = rng.integers(0, 2)
    gain = rng.integers(-2, 3, out) if whole else rng.normal(size=out) * 10.0 ** rng.integers(-6, 2, out)
    offset = rng.integers(-3, 4, out) if whole else rng.normal(size=out)
    finish = Affine(gain.astype(np.float32), offset.astype(np.float32))
    layer = BinaryLayer(name, weight, strides, pads, int(rng.integers(-1, 2)), skip, finish)
    return layer, output_size(size, kernel, strides, pads)


def _with_thresholds(rng: np.random.Generator, layers: list[BinaryLayer]) -> list[BinaryLayer]:
    """Some layers of which only the sign is used come with a threshold already."""
    adds = [layer.skip for layer in layers[1:]] + [True]
    return [
        replace(layer, finish=Threshold(rng.integers(-5, 6, layer.weight.shape[0]).astype(np.int32)))
        if not (layer.skip or more) and rng.integers(0, 2)
        else layer
        for layer, more in zip(layers, adds, strict=True)
    ]
