"""Learned rounding (AdaRound): choose between the two neighbours of every weight by gradient descent.

W = s u (floor(W / (s u)) + h(V)) with h(V) = clamp(1.2 sigmoid(V) - 0.1, 0, 1) and u the format's own step at each
weight (1 for integers). V starts where h(V) is the fraction that floor leaves, so training starts at the real weights.
The loss is the layer's output error, tr((W - T) H (W - T)^T), plus a term that drives h to 0 or 1 (Nagel et al.,
arXiv 2004.10568).
"""

from __future__ import annotations

import torch
from torch import Tensor

from quant.formats import Array, Format
from quant.graph import Graph, Quant
from quant.layerwise import Layer, Setting, walk
from quant.passes.gptq import codes_of, damped, grouped, grouped_scale

ITERATIONS = 1000
RATE = 2e-2
REGULARISER = 0.01
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
        values = learned_values(layer, layer.quant, torch.from_numpy(layer.weight))
        return Setting(codes_of(layer, layer.quant, values), layer.quant, layer.current_bias)

    return walk(quantised, original, inputs, visit)


def learned_values(layer: Layer, quant: Quant, target: Tensor) -> Tensor:
    """Return the rounded weights of a layer in units of their scale, [G, O/G, K].

    Args:
        layer: with its moments.
        quant: format and scale of the result.
        target: real weights to approximate, float64, shaped as the weight.
    """
    scaled = (grouped(layer, target) / grouped_scale(layer, quant)).clamp(-quant.format.max, quant.format.max)
    step = local_step(quant.format, scaled)
    low = (scaled / step).floor()
    hessian = damped(layer.moments.centred)
    # Output error in units of the mean error that rounding half a step everywhere would make.
    weight_of_row = grouped_scale(layer, quant).square()
    hessian = hessian / (hessian.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None] / 12)
    importance = weight_of_row / weight_of_row.mean()
    up = _learn(scaled, step, low, hessian, importance)
    return ((low + up) * step).clamp(-quant.format.max, quant.format.max)


def local_step(fmt: Format, scaled: Tensor) -> Tensor:
    """Return the distance between the format's values around each scaled weight (1 for integers)."""
    if not fmt.is_minifloat:
        return torch.ones_like(scaled)
    exponent = scaled.abs().clamp_min(1e-300).log2().floor() - fmt.mantissa
    return 2.0 ** exponent.clamp_min(fmt.unit_exponent)


def _learn(scaled: Tensor, step: Tensor, low: Tensor, hessian: Tensor, importance: Tensor) -> Tensor:
    """Return 0 or 1 for every weight: whether it goes up."""
    fraction = (scaled / step - low).clamp(0.01, 0.99)
    logits = (-(1.2 / (fraction + 0.1) - 1).log()).float().requires_grad_()
    delta, unit, weight, square = (t.float() for t in (low * step - scaled, step, importance, hessian))
    optimiser = torch.optim.Adam([logits], lr=RATE)
    for iteration in range(ITERATIONS):
        up = (1.2 * logits.sigmoid() - 0.1).clamp(0, 1)
        error = delta + up * unit
        loss = ((error @ square) * error * weight).sum()
        progress = (iteration / ITERATIONS - WARM_UP) / (1 - WARM_UP)
        if progress > 0:
            beta = BETA[1] + (BETA[0] - BETA[1]) * (1 - progress)
            loss = loss + REGULARISER * (1 - (2 * up - 1).abs() ** beta).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return (logits.detach() > 0).double()
