"""A convolutional network whose layers look at their input first and compute only the channels it needs.

Fire Together Wire Together (CVPR 2022): a predictor, global max pool and 1x1 convolution, sees the input of a layer and
keeps the output channels with a positive logit. Here every channel is computed and the others are multiplied by 0;
`edge.recipes.gating_runner` skips them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from edge.models.models import Shape


@dataclass(frozen=True, slots=True)
class Unit:
    """One 3x3 convolution with batch norm and Relu: output channels, stride, and whether it has a predictor."""

    channels: int
    stride: int
    gated: bool = True


#: The first layer stays whole: its predictor would see one number, the brightest pixel.
UNITS = (Unit(16, 2, gated=False), Unit(32, 2), Unit(48, 1), Unit(64, 1))
KERNEL = 3


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What a gated layer made of a batch: its whole activation [N, C, H, W], its predictor's logits and mask [N, C]."""

    activation: torch.Tensor
    logits: torch.Tensor
    mask: torch.Tensor


class GatedConv(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Convolution, batch norm, Relu, and perhaps a predictor of the channels worth computing.

    Args:
        channels: of the input.
        size: height and width of the input.
        unit: the layer.
    """

    def __init__(self, channels: int, size: tuple[int, int], unit: Unit):
        super().__init__()
        self.conv = nn.Conv2d(channels, unit.channels, KERNEL, unit.stride, KERNEL // 2, bias=False)
        self.norm = nn.BatchNorm2d(unit.channels)
        self.pool = nn.MaxPool2d(size)
        self.predictor = nn.Conv2d(channels, unit.channels, 1) if unit.gated else None
        self.register_buffer("offset", torch.zeros(()))
        self.out_size = (size[0] - 1) // unit.stride + 1, (size[1] - 1) // unit.stride + 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the whole activation [N, C, H, W], no channel masked."""
        return torch.relu(self.norm(self.conv(x)))

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return the predictor's logits [N, C, 1, 1] for the layer's input; a channel above `offset` is kept."""
        assert self.predictor is not None
        return self.predictor(self.pool(x))


class GatedNet(nn.Module):  # type: ignore[misc]
    """Convolutions, mean over the image, fully connected layer.

    `masked` says what `forward` computes: with the predicted masks, or the dense network. While `detached`, no gradient
    of a predictor reaches the layers below it.
    """

    def __init__(self, shape: Shape, classes: int, units: tuple[Unit, ...] = UNITS):
        super().__init__()
        layers, channels, size = [], shape[0], shape[1:]
        for unit in units:
            layers.append(GatedConv(channels, size, unit))
            channels, size = unit.channels, layers[-1].out_size
        self.units = nn.ModuleList(layers)
        self.fc = nn.Linear(channels, classes)
        self.masked = False
        self.detached = True
        self.to(memory_format=torch.channels_last)  # a fifth faster on a CPU

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map images [N, C, H, W] to logits [N, classes]."""
        return self.trace(x)[0]

    def trace(self, x: torch.Tensor, predict: bool = False) -> tuple[torch.Tensor, tuple[Seen, ...]]:
        """Return the logits, and what each gated layer saw if `masked` or asked to `predict`."""
        seen = []
        for unit in self.units:
            activation = unit(x)
            if unit.predictor is not None and (self.masked or predict):
                scores = unit.logits(x.detach() if self.detached else x)
                mask = scores > unit.offset
                seen.append(Seen(activation, scores.flatten(1), mask.flatten(1)))
                x = activation * mask if self.masked else activation
            else:
                x = activation
        return self.fc(x.mean((2, 3))), tuple(seen)

    def predictors(self) -> tuple[nn.Module, ...]:
        """Return the predictors, in order."""
        return tuple(unit.predictor for unit in self.units if unit.predictor is not None)

    def gated(self) -> tuple[GatedConv, ...]:
        """Return the layers with predictors, in order."""
        return tuple(unit for unit in self.units if unit.predictor is not None)


def parts(net: GatedNet) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Return the parameters of the backbone, and those of the predictors."""
    predictors = [value for predictor in net.predictors() for value in predictor.parameters()]
    chosen = {id(value) for value in predictors}
    return [value for value in net.parameters() if id(value) not in chosen], predictors
