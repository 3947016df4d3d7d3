"""A small network on an early feature map that says whether there is anything to see, for a filter.

The published one (Neural Compression and Filtering, arXiv 2007.15818) pools the map, halves it in three convolutions
and gives two logits. For maps of small images two convolutions do; the one logit here is the difference of those two,
which is all a threshold needs.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from edge.models.layers import GlobalMean
from edge.models.strided import Layer, unit


def build(channels: int, *, seed: int, width: int = 8) -> nn.Module:
    """Build the judge: two strided 3x3 convolutions, mean, one number; its weights depend on the seed alone.

    Args:
        channels: of the feature map [N, channels, H, W].
        seed: same seed, same weights.
        width: channels after the first convolution; twice as many after the second.

    Returns:
        A `torch.nn.Module` from the feature map to logits [N, 1]: above 0 where the frame is rather interesting.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        layers = nn.Sequential(unit(channels, Layer(width, 2)), unit(width, Layer(2 * width, 2)))
        return nn.Sequential(OrderedDict(layers=layers, mean=GlobalMean(), fc=nn.Linear(2 * width, 1)))
