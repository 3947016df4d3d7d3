"""The pools of small networks that pairs for a cascade are chosen from, and single networks of any cost beside them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from edge.models import strided
from edge.models.layers import GlobalMean
from edge.models.resnet8 import Stack
from edge.models.strided import Layer
from edge.recipes import cross_entropy as plain
from edge.recipes.recipe import Recipe

SHAPE, CLASSES = (1, 28, 28), 10


@dataclass(frozen=True, slots=True)
class Net:
    """One network of the pool. `build(seed, width)` makes it; `width` is the default, and scales every layer."""

    name: str
    summary: str
    width: int
    build: Callable[[int, int], Any]
    recipe: Recipe = plain.RECIPE


def mirrored(module: Any, x: Any, y: Any) -> Any:
    """Cross-entropy of images of which half, drawn at random, are mirrored left to right."""
    mirror = (torch.rand(len(x), 1, 1, 1) < 0.5).float()
    return cross_entropy(module(mirror * x.flip(-1) + (1 - mirror) * x), y)


MIRRORED = Recipe("mirrored", "cross-entropy of images mirrored at random", mirrored)


def chain(seed: int, width: int) -> Any:
    """Three 3x3 convolutions, two of them strided."""
    layers = (Layer(width, 2), Layer(2 * width, 2), Layer(4 * width))
    return strided.build(SHAPE[0], CLASSES, layers, seed=seed)


def wide_kernels(seed: int, width: int) -> Any:
    """Two strided 5x5 convolutions, then a strided 3x3."""
    layers = (Layer(width, 2, 5), Layer(8 * width // 3, 2, 5), Layer(16 * width // 3, 2))
    return strided.build(SHAPE[0], CLASSES, layers, seed=seed)


def patches(seed: int, width: int) -> Any:
    """A 7x7 convolution of stride 4, then a 3x3: edges and details are gone behind the first."""
    return strided.build(SHAPE[0], CLASSES, (Layer(3 * width, 4, 7), Layer(6 * width)), seed=seed)


def residual(seed: int, width: int) -> Any:
    """A strided stem and two narrow residual stacks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stem = strided.unit(SHAPE[0], Layer(width, 2))
        stacks = nn.Sequential(Stack(width, 2 * width, 2, 14, 14), Stack(2 * width, 4 * width, 2, 7, 7))
        fc = nn.Linear(4 * width, CLASSES)
        return nn.Sequential(OrderedDict(stem=stem, stacks=stacks, mean=GlobalMean(), fc=fc))


POOL = (
    Net("chain", "three 3x3 convolutions, 16 to 64 channels", 16, chain),
    Net("wide-kernels", "5x5 convolutions, 12 to 64 channels", 12, wide_kernels),
    Net("residual", "two residual stacks, 12 to 48 channels", 12, residual),
    Net("tiny", "three 3x3 convolutions, 8 to 32 channels, images mirrored at random", 8, chain, MIRRORED),
)
#: Smaller ones, which are about equally good: where one is much better, asking the other adds little.
EQUALS = (
    Net("chain", "three 3x3 convolutions, 8 to 32 channels", 8, chain),
    Net("wide-kernels", "5x5 convolutions, 5 to 26 channels", 5, wide_kernels),
    Net("patches", "a 7x7 convolution of stride 4, then a 3x3, 24 and 48 channels", 8, patches),
    Net("tiny", "three 3x3 convolutions, 8 to 32 channels, images mirrored at random", 8, chain, MIRRORED),
)


def built(net: Net, seed: int, width: int | None = None) -> Any:
    """Build a network of the pool, laid out as CPUs like it."""
    return net.build(seed, net.width if width is None else width).to(memory_format=torch.channels_last)
