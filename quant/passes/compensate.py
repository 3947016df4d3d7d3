"""Weights that expect quantised inputs: the least-squares answer to the error earlier layers hand on."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.layerwise import Layer
from quant.passes.gptq import damped, grouped, inverse


def compensated(layer: Layer) -> Tensor:
    """Return the real weights that fit the float layer's output best from the quantised layer's inputs.

    Minimises E|W (x + d) - V x|^2 over V, means apart (the bias takes them): V = W + W C (H + damping)^-1 with
    C = sum d x^T and H = sum x x^T, centred. Float64, shaped as the weight.
    """
    weight = torch.from_numpy(layer.weight)
    rows = grouped(layer, weight)
    found = layer.moments
    return (rows + rows @ found.centred_cross @ inverse(damped(found.centred))[0]).reshape(weight.shape)
