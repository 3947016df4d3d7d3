"""A plain chain of convolutions with ReLU and batch norm, each with its own width, kernel and stride, then mean and fc.

Made for networks that must be cheap everywhere: strides come first, so that no layer sees the full image but the stem.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edge.models.layers import GlobalMean


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution: output channels, stride, size of the (odd) kernel."""

    width: int
    stride: int = 1
    kernel: int = 3


def build(channels: int, classes: int, layers: Sequence[Layer], *, seed: int) -> nn.Module:
    """Build the network; weights depend on the seed alone.

    Submodule `layers.K` is the K-th convolution with batch norm and ReLU: a place to cut.

    Args:
        channels: of the input [N, channels, H, W].
        classes: number of logits.
        layers: the convolutions in order.
        seed: same seed, same weights.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        units, wide = [], channels
        for layer in layers:
            units.append(unit(wide, layer))
            wide = layer.width
        return nn.Sequential(OrderedDict(layers=nn.Sequential(*units), mean=GlobalMean(), fc=nn.Linear(wide, classes)))


def unit(channels: int, layer: Layer) -> nn.Module:
    """Return one convolution with batch norm and ReLU."""
    conv = nn.Conv2d(channels, layer.width, layer.kernel, layer.stride, layer.kernel // 2, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(layer.width), relu=nn.ReLU()))
