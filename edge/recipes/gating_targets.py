"""Which channels a layer should keep, and how many multiply-accumulates masks leave: numpy and torch, no training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from edge.errors import EdgeError
from edge.recipes.gating_net import KERNEL, GatedNet

Masks = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def check_share(share: float) -> None:
    """Refuse an `r` that is no share of a mass."""
    if not 0.0 < share <= 1.0:
        raise EdgeError(f"r is {share}; the share of the heatmap mass that is kept must be above 0 and at most 1.")


def mass_targets(activation: torch.Tensor, share: float) -> torch.Tensor:
    """Return the target masks of a batch: the fewest channels that hold `share` of the heatmap mass.

    The mass of a channel is the mean of its absolute activation over the image. Channels are taken in falling order of
    mass (of equals the first) until their sum reaches `share` of all.

    Args:
        activation: the whole layer's output, [N, C, H, W].
        share: r, above 0 and at most 1.

    Returns:
        bool [N, C]. A sample without any mass keeps no channel.
    """
    check_share(share)
    mass = activation.detach().abs().mean((2, 3)).double()
    order = mass.argsort(dim=1, descending=True, stable=True)
    falling = mass.gather(1, order)
    before = falling.cumsum(1) - falling
    kept = (before < share * falling.sum(1, keepdim=True)) & (falling > 0)
    return torch.zeros_like(kept).scatter(1, order, kept)


@dataclass(frozen=True, slots=True)
class LayerCost:
    """Multiply-accumulates of a whole layer and of its predictor; `gated` says whether its outputs are masked."""

    macs: int
    predictor_macs: int
    channels: int
    gated: bool


def layer_costs(net: GatedNet) -> tuple[LayerCost, ...]:
    """Return the cost of every convolution and, last, of the fully connected layer."""
    costs = []
    for unit in net.units:
        height, width = unit.out_size
        inputs, outputs, gated = unit.conv.in_channels, unit.conv.out_channels, unit.predictor is not None
        macs = height * width * KERNEL * KERNEL * inputs * outputs
        costs.append(LayerCost(macs, inputs * outputs if gated else 0, outputs, gated))
    return (*costs, LayerCost(net.fc.in_features * net.fc.out_features, 0, net.fc.out_features, gated=False))


def macs_of(costs: Sequence[LayerCost], kept: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Return what layers and what predictors cost when gated layers keep these shares of their channels.

    A layer costs its whole count times the share of outputs it computes times the share of inputs that are there;
    a predictor reads the inputs that are there.

    Args:
        costs: of `layer_costs`.
        kept: for every gated layer in order, shares [N] or a scalar array.

    Returns:
        Multiply-accumulates of the layers and of the predictors, float64 of the shape of the shares.
    """
    whole: Floats = np.ones(())
    shares, incoming = iter(kept), whole
    layers = predictors = np.zeros(np.shape(kept[0]) if len(kept) else ())
    for cost in costs:
        outgoing = next(shares) if cost.gated else whole
        layers = layers + cost.macs * incoming * outgoing
        predictors = predictors + cost.predictor_macs * incoming
        incoming = outgoing
    return layers, predictors


@dataclass(frozen=True, slots=True)
class Macs:
    """Multiply-accumulates an image: of the dense network, of the gated one, and of its predictors beside that."""

    dense: int
    layers: float
    predictors: float

    @property
    def saving(self) -> float:
        """Share of the dense count that is saved, predictors paid."""
        return 1.0 - (self.layers + self.predictors) / self.dense


def estimated(net: GatedNet, rates: Sequence[Floats]) -> Macs:
    """Estimate from the mean rate at which channels are targets, before any predictor exists.

    Args:
        net: trained, dense.
        rates: for every gated layer, how often each channel is a target, float [C] (of `edge.recipes.gating.rates`).
    """
    costs = layer_costs(net)
    layers, predictors = macs_of(costs, [np.asarray(rate.mean()) for rate in rates])
    return Macs(sum(cost.macs for cost in costs), float(layers), float(predictors))


def achieved(net: GatedNet, masks: Sequence[Masks]) -> Macs:
    """Count from the real masks of images, sample by sample.

    Args:
        net: the gated network.
        masks: for every gated layer, bool [N, C].
    """
    costs = layer_costs(net)
    layers, predictors = macs_of(costs, [mask.mean(axis=1) for mask in masks])
    return Macs(sum(cost.macs for cost in costs), float(layers.mean()), float(predictors.mean()))
