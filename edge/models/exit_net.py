"""A classifier with early exits: a strided feature branch and, beside it, a small classification branch.

As in Dynamic Perceiver (ICCV 2023), exits read the classification branch only, so that features need not be linearly
separable early, and the branch is carried from stage to stage. Its attention is replaced by operators that integer
graphs have:

    paper                                     here, z being [N, channels, 7, 7] for images of 28x28
    latents read pooled features (attention)  z = relu(expand(state) + read(x)): 1x1 convolutions
    latents mix (self-attention, MLP)         z = relu(z + 1x1(relu(depthwise 3x3(z))))
    features read latents (attention)         the next stage's first convolution reads x and z

The latents are the pixels of a small map instead of a set. Between stages there is one tensor, the state [x | z], so
that every stage and every exit is a network of its own.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import nn

from edge.models.layers import GlobalMean
from edge.models.models import Shape

#: Channels of features and of the classification branch after each stage, in multiples of the width.
FEATURES, LATENTS = (2, 2, 4), (1, 2, 2)


class Branch(nn.Module):  # type: ignore[misc]  # torch has no types here
    """One step of the classification branch: from features [N, C, H, W] and the state before to [N, latents, H, W]."""

    def __init__(self, features: int, state: int, latents: int):
        super().__init__()
        self.read = _linear(features, latents)
        self.expand = _linear(state, latents) if state else None
        depthwise = nn.Conv2d(latents, latents, 3, 1, 1, groups=latents, bias=False)
        self.mix = nn.Sequential(_unit(depthwise, latents), _linear(latents, latents))
        self.relu = nn.ReLU()

    def forward(self, x: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
        """Read the features into the latents, then let these mix."""
        z = self.read(x)
        z = self.relu(z if self.expand is None else z + self.expand(state))
        return self.relu(z + self.mix(z))


class Stage(nn.Module):  # type: ignore[misc]
    """Features and one step of the branch; the result is the state [N, features + latents, H, W]."""

    def __init__(self, features: nn.Module, branch: Branch):
        super().__init__()
        self.features, self.branch = features, branch

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """Map the image, or the state before, to the state."""
        x = self.features(state)
        return torch.cat((x, self.branch(x, state)), 1)


class Exit(nn.Module):  # type: ignore[misc]
    """Mean and linear layer over a state's channels from `start` on: the latents; all channels at the last exit."""

    def __init__(self, start: int, end: int, classes: int):
        super().__init__()
        self.start, self.mean = start, GlobalMean()
        self.fc = nn.Linear(end - start, classes)

    def forward(self, state: torch.Tensor) -> torch.Tensor:
        """Return logits [N, classes]."""
        return self.fc(self.mean(state[:, self.start :] if self.start else state))


class ExitNet(nn.Module):  # type: ignore[misc]
    """Stages and an exit after each. Called as a module it gives the last exit's logits."""

    def __init__(self, stages: list[Stage], exits: list[Exit]):
        super().__init__()
        self.stages, self.exits = nn.ModuleList(stages), nn.ModuleList(exits)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the last exit's logits [N, classes]."""
        for stage in self.stages:
            x = stage(x)
        return self.exits[-1](x)

    def logits(self, x: torch.Tensor) -> list[torch.Tensor]:
        """Return the logits [N, classes] of every exit, the last one last."""
        found = []
        for stage, leave in zip(self.stages, self.exits, strict=True):
            x = stage(x)
            found.append(leave(x))
        return found


class Joined(nn.Module):  # type: ignore[misc]
    """A network with exits whose output is all exits' logits [N, exits * classes]: what its ONNX file holds."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net
        self.train(net.training)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits of every exit, one behind the other."""
        return torch.cat(self.net.logits(x), 1)


def build(shape: Shape, classes: int, width: int = 16) -> ExitNet:
    """Build three stages with an exit after each; images are divided by 4 before the first exit.

    Args:
        shape: channels, height, width of the input; height and width at least 4.
        classes: number of logits.
        width: channels after the first convolution.
    """
    stages, exits, state = [], [], 0
    for index, (wide, latents) in enumerate(zip(FEATURES, LATENTS, strict=True)):
        features = _first(shape[0], width, wide * width) if index == 0 else _unit_of(state, wide * width)
        stages.append(Stage(features, Branch(wide * width, state, latents * width)))
        state = (wide + latents) * width
        exits.append(Exit(wide * width if index < len(FEATURES) - 1 else 0, state, classes))
    return ExitNet(stages, exits)


def _first(channels: int, width: int, out: int) -> nn.Module:
    stem = _unit(nn.Conv2d(channels, width, 3, 2, 1, bias=False), width)
    return nn.Sequential(stem, _unit(nn.Conv2d(width, out, 3, 2, 1, bias=False), out))


def _unit_of(channels: int, out: int) -> nn.Module:
    return _unit(nn.Conv2d(channels, out, 3, 1, 1, bias=False), out)


def _unit(conv: nn.Module, channels: int) -> nn.Module:
    return nn.Sequential(OrderedDict(conv=conv, norm=nn.BatchNorm2d(channels), relu=nn.ReLU()))


def _linear(channels: int, out: int) -> nn.Module:
    return nn.Sequential(OrderedDict(conv=nn.Conv2d(channels, out, 1, bias=False), norm=nn.BatchNorm2d(out)))
