"""Learned rounding (AdaRound): choose between the two neighbours of every weight by gradient descent.

W = s (l + u h(V)) with h(V) = clamp(1.2 sigmoid(V) - 0.1, 0, 1), l the format's value below each weight and u the step
from there to the value above (1 for integers). V starts where l + u h(V) is the real weight. The loss is the output
error of each channel, (w - t) H (w - t)^T, plus a term that drives h to 0 or 1 (Nagel et al., arXiv 2004.10568).
"""

from __future__ import annotations

import torch
from torch import Tensor

from quant.formats import Array, Format
from quant.graph import Graph, Quant
from quant.layerwise import Layer, Setting, walk
from quant.passes.gptq import codes_of, damped, grouped, grouped_scale
from quant.simulate import round_weights

ITERATIONS = 1000
RATE = 2e-2
#: In units of the mean error that rounding makes; with less of it, wide formats end where rounding to nearest does.
REGULARISER = 0.3
#: The regulariser is off for this share of the iterations; its exponent then falls from 20 to 2.
WARM_UP = 0.2
BETA = (20.0, 2.0)


def learned_rounding(quantised: Graph, original: Graph, inputs: Array) -> Graph:
    """Round every layer's weights by learning; scales and biases stay.

    Args:
        quantised: laid out from `original`.
        original: the prepared float graph.
        inputs: calibration inputs, float32 [N, ...].
    """

    def visit(layer: Layer) -> Setting:
        values = learned_values(layer.with_fixed_bias, layer.quant, torch.from_numpy(layer.weight))
        return Setting(codes_of(layer, layer.quant, values), layer.quant, layer.current_bias)

    return walk(quantised, original, inputs, visit)


def learned_values(layer: Layer, quant: Quant, target: Tensor) -> Tensor:
    """Return the rounded weights of a layer in units of their scale, [G, O/G, K].

    A channel that learning leaves with more error than rounding to nearest is rounded to nearest.

    Args:
        layer: with its moments.
        quant: format and scale of the result.
        target: real weights to approximate, float64, shaped as the weight.
    """
    scaled = grouped(layer, target) / grouped_scale(layer, quant)
    low, up = neighbours(quant.format, scaled)
    hessian = damped(layer.moments.centred)
    learned = torch.where(_learn(scaled.clamp(low, up), low, up, hessian), up, low)
    nearest = round_weights(quant.format, scaled).double()
    losses = [
        (((values - scaled) @ hessian) * (values - scaled)).sum(-1, keepdim=True) for values in (learned, nearest)
    ]
    return torch.where(losses[0] <= losses[1], learned, nearest)


def neighbours(fmt: Format, scaled: Tensor) -> tuple[Tensor, Tensor]:
    """Return the format's values below (or at) and above each scaled weight, float64.

    A weight at the top of the range or beyond lies between the two largest values; integers are symmetric.
    """
    grid = torch.tensor([fmt.units_of_ordinal(k) * fmt.unit for k in fmt.ordinals()], dtype=torch.float64)
    grid = grid[grid >= -fmt.max]
    below = (torch.searchsorted(grid, scaled.double().contiguous(), right=True) - 1).clamp(0, len(grid) - 2)
    return grid[below], grid[below + 1]


def _learn(scaled: Tensor, low: Tensor, up: Tensor, hessian: Tensor) -> Tensor:
    """Return whether each weight goes up; all [G, O/G, K], `hessian` [G, K, K].

    Every row is in units of the root of the mean error that rounding it at random makes, u^2 H_kk / 12 a weight: rows
    and formats have very different steps, and one regulariser must suit them all.
    """
    mean_error = ((up - low).square() * hessian.diagonal(dim1=-2, dim2=-1)[:, None, :]).sum(-1, keepdim=True) / 12
    step, start, square = ((up - low) / mean_error.sqrt()).float(), (scaled - low) / (up - low), hessian.float()
    real = (start * step).float()
    fraction = start.clamp(0.01, 0.99)
    logits = (-(1.2 / (fraction + 0.1) - 1).log()).float().requires_grad_()
    optimiser = torch.optim.Adam([logits], lr=RATE)
    for iteration in range(ITERATIONS):
        share = (1.2 * logits.sigmoid() - 0.1).clamp(0, 1)
        error = share * step - real
        loss = ((error @ square) * error).sum() + _undecided(share, iteration / ITERATIONS)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return logits.detach() > 0


def _undecided(share: Tensor, progress: float) -> Tensor | float:
    """Return the regulariser: how far all shares are from 0 and 1, ever more sharply."""
    later = (progress - WARM_UP) / (1 - WARM_UP)
    if later <= 0:
        return 0.0
    beta = BETA[1] + (BETA[0] - BETA[1]) * (1 - later)
    return REGULARISER * (1 - (2 * share - 1).abs() ** beta).sum()
