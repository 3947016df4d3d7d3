"""ResNet-8 in the shape of MLPerf Tiny's image classification reference: 78,186 parameters for 32x32x3, 10 classes.

As there, stride-2 convolutions have SAME padding (the odd row and column below and right), convolutions keep their bias
beside the batch norm, and shortcuts are plain 1x1 convolutions.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from edge.models.layers import GlobalMean, same_pad
from edge.models.models import Shape


class Stack(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Two 3x3 convolutions and a shortcut: relu(branch(x) + shortcut(x))."""

    def __init__(self, channels: int, out: int, stride: int, height: int, width: int):
        super().__init__()
        self.branch = nn.Sequential(
            OrderedDict(
                pad=same_pad(height, width, 3, stride),
                conv1=nn.Conv2d(channels, out, 3, stride),
                norm1=nn.BatchNorm2d(out),
                relu1=nn.ReLU(),
                conv2=nn.Conv2d(out, out, 3, padding=1),
                norm2=nn.BatchNorm2d(out),
            )
        )
        self.shortcut = nn.Identity() if channels == out and stride == 1 else nn.Conv2d(channels, out, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to [N, out, H/stride, W/stride]."""
        return self.relu(self.shortcut(x) + self.branch(x))


def build(shape: Shape, classes: int, width: int, blocks: int) -> nn.Module:
    """Build the network: stem, residual stacks (all but the first halve the image and double the channels), mean, fc.

    Args:
        shape: channels, height, width of the input.
        classes: number of logits.
        width: channels after the stem; 16 in the reference.
        blocks: residual stacks; 3 in the reference.
    """
    channels, height, columns = shape
    stem = OrderedDict(conv=nn.Conv2d(channels, width, 3, padding=1), norm=nn.BatchNorm2d(width), relu=nn.ReLU())
    stacks, wide = [], width
    for index in range(blocks):
        stride = 1 if index == 0 else 2
        stacks.append(Stack(wide, wide * stride, stride, height, columns))
        wide, height, columns = wide * stride, -(-height // stride), -(-columns // stride)
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(stem), stacks=nn.Sequential(*stacks), mean=GlobalMean(), fc=nn.Linear(wide, classes)
        )
    )
