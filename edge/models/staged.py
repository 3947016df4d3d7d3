"""A small classifier of plain 3x3 convolutions in named stages: a teacher for networks that replace its first ones.

For 28x28 inputs and width 16 the stages `stem`, `layer1`, `layer2`, `layer3`, `layer4` give 16x14x14, 24x14x14, 32x7x7,
48x7x7 and 64x4x4.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from edge.models.layers import GlobalMean
from edge.models.models import Shape

#: Inputs from this height on are halved by the stem.
HALVED_FROM = 16


def build(shape: Shape, classes: int, width: int, blocks: int) -> nn.Module:
    """Build the network: stem, layers (every second one halves the image), mean, fully connected.

    Args:
        shape: channels, height, width of the input.
        classes: number of logits.
        width: channels after the stem; layer i has width * 1.5, 2, 3, 4, 6, 8 ...
        blocks: layers behind the stem.
    """
    channels, height, _ = shape
    stages = OrderedDict(stem=_stage(channels, width, 2 if height >= HALVED_FROM else 1))
    wide = width
    for index in range(1, blocks + 1):
        out = width * 2 ** (index // 2) if index % 2 == 0 else 3 * width * 2 ** (index // 2) // 2
        stages[f"layer{index}"] = _stage(wide, out, 2 - index % 2)
        wide = out
    return nn.Sequential(OrderedDict(**stages, mean=GlobalMean(), fc=nn.Linear(wide, classes)))


def _stage(channels: int, out: int, stride: int) -> nn.Sequential:
    conv = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(out), relu=nn.ReLU()))
