"""Layers that more than one model uses."""

from __future__ import annotations

import torch
from torch import nn


class GlobalMean(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Mean over height and width: [N, C, H, W] to [N, C]."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Average every channel."""
        return x.mean((2, 3))


def same_pad(height: int, width: int, kernel: int, stride: int) -> nn.Module:
    """Return TensorFlow's SAME padding for an input of this size: the odd row and column go below and right."""
    (top, bottom), (left, right) = (_same(size, kernel, stride) for size in (height, width))
    return nn.ZeroPad2d((left, right, top, bottom))


def _same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
