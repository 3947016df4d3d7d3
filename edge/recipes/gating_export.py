"""A gated network as a plain module for ONNX: every channel computed, then multiplied by its mask.

It is correct and not faster. The mask is a Clip to [0, 1] of steep logits, not a comparison: that is an operator which
quantised graphs and all targets have, and there it is the sign of an integer sum.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

from edge.recipes.gating_net import GatedConv, GatedNet

#: Slope of the mask for quantising: one unit of the sum of products becomes many steps of an 8-bit mask, and the sum
#: still fits 32 bits. In float a logit between 0 and 1 / STEEP gives a mask between 0 and 1.
STEEP = 2.0**12
#: Slope for float executors: no logit but one below 1e-12 is in between.
STEEPEST = 2.0**40


class MaskedConv(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Convolution, batch norm, Relu, times the mask."""

    def __init__(self, unit: GatedConv, steepness: float):
        super().__init__()
        self.conv, self.norm, self.pool, self.predictor = unit.conv, unit.norm, unit.pool, unit.predictor
        if self.predictor is not None:
            with torch.no_grad():
                self.predictor.bias.sub_(unit.offset).mul_(steepness)
                self.predictor.weight.mul_(steepness)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return [N, C, H, W] with the channels that are not kept at 0."""
        y = torch.relu(self.norm(self.conv(x)))
        return y if self.predictor is None else y * self.predictor(self.pool(x)).clamp(0.0, 1.0)


class MaskedNet(nn.Module):  # type: ignore[misc]
    """A gated network as a module without settings, for `edge.onnx_file.to_onnx`.

    Args:
        net: trained; not changed.
        steepness: `STEEP` for what will be quantised, `STEEPEST` for float executors.
    """

    def __init__(self, net: GatedNet, steepness: float = STEEP):
        super().__init__()
        net = copy.deepcopy(net)
        self.units = nn.Sequential(*(MaskedConv(unit, steepness) for unit in net.units))
        self.fc = net.fc

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        return self.fc(self.units(x).mean((2, 3)))
