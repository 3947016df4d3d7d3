"""A small classifier of depthwise-separable convolutions, after MobileNet (arXiv 1704.04861): ReLU6, batch norm."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from edge.models.layers import GlobalMean
from edge.models.models import Shape

#: Inputs from this height on are halved by the stem.
HALVED_FROM = 16


def build(shape: Shape, classes: int, width: int, blocks: int) -> nn.Module:
    """Build the network: stem, blocks, mean, fully connected.

    Every second block halves the image and doubles the channels.

    Args:
        shape: channels, height, width of the input.
        classes: number of logits.
        width: channels after the stem.
        blocks: depthwise-separable blocks.
    """
    channels, height, _ = shape
    stem = _unit(nn.Conv2d(channels, width, 3, 2 if height >= HALVED_FROM else 1, 1, bias=False), width)
    layers, wide = [], width
    for index in range(blocks):
        stride = 1 + index % 2
        layers.append(_separable(wide, wide * stride, stride))
        wide *= stride
    return nn.Sequential(
        OrderedDict(stem=stem, blocks=nn.Sequential(*layers), mean=GlobalMean(), fc=nn.Linear(wide, classes))
    )


def _separable(channels: int, out: int, stride: int) -> nn.Module:
    """A 3x3 convolution per channel, then a 1x1 convolution across channels."""
    depthwise = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    pointwise = nn.Conv2d(channels, out, 1, bias=False)
    return nn.Sequential(OrderedDict(depthwise=_unit(depthwise, channels), pointwise=_unit(pointwise, out)))


def _unit(conv: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(channels), relu=nn.ReLU6()))
