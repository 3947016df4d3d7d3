"""A residual network of binary 3x3 convolutions with a shortcut around each (after BiPer's and ReCU's ResNet-20).

The first convolution and the last layer are float. A shortcut into a smaller image averages 2x2 pixels, and new
channels start as zeros (option A of ResNet), so shortcuts have no weights.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn
from torch.nn import functional

from edge.models.layers import GlobalMean
from edge.models.models import Shape
from edge.recipes.binary_layers import OMEGA, SINE, BinaryConv2d

#: Inputs from this height on are halved by the stem.
HALVED_FROM = 16
#: Binary convolutions in a stack.
DEPTH = 2


class BinaryUnit(nn.Module):  # type: ignore[misc]  # torch has no types here
    """hardtanh(norm(conv(sign(x))) + shortcut(x)), or without shortcut."""

    def __init__(self, channels: int, out: int, stride: int, rule: str, omega: float, skip: bool):
        super().__init__()
        self.conv = BinaryConv2d(channels, out, 3, stride, 1, rule, omega)
        self.norm = nn.BatchNorm2d(out)
        self.skip, self.stride, self.more = skip, stride, out - channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to [N, out, ceil(H / stride), ceil(W / stride)]."""
        made = self.norm(self.conv(x))
        return functional.hardtanh(made + self._shortcut(x) if self.skip else made)

    def _shortcut(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride > 1:
            x = functional.avg_pool2d(x, self.stride, ceil_mode=True, count_include_pad=False)
        return functional.pad(x, (0, 0, 0, 0, 0, self.more)) if self.more else x


def build(
    shape: Shape,
    classes: int,
    width: int,
    blocks: int,
    *,
    rule: str = SINE,
    omega: float = OMEGA,
    skips: bool = True,
) -> nn.Module:
    """Build the network: stem, stacks of binary units (all but the first halve and double), mean, batch norm, fc.

    Args:
        shape: channels, height, width of the input.
        classes: number of logits.
        width: channels after the stem.
        blocks: stacks of DEPTH units; 3 make a ResNet-8.
        rule: what binary layers make of their weights, one of `binary_layers.RULES`.
        omega: frequency of the sines.
        skips: whether units have shortcuts.
    """
    channels, height, _ = shape
    stem = nn.Conv2d(channels, width, 3, 2 if height >= HALVED_FROM else 1, 1, bias=False)
    units, wide = [], width
    for index in range(blocks * DEPTH):
        stride = 2 if index and index % DEPTH == 0 else 1
        units.append(BinaryUnit(wide, wide * stride, stride, rule, omega, skips))
        wide *= stride
    return nn.Sequential(
        OrderedDict(
            stem=nn.Sequential(OrderedDict(conv=stem, norm=nn.BatchNorm2d(width), act=nn.Hardtanh())),
            units=nn.Sequential(*units),
            mean=GlobalMean(),
            norm=nn.BatchNorm1d(wide),
            fc=nn.Linear(wide, classes),
        )
    )
