"""Weight scales that clip: the range that loses least, not the one that holds every weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from quant.formats import Array
from quant.graph import Graph, Quant
from quant.layerwise import Layer, Setting, walk
from quant.passes.gptq import codes_of, grouped, grouped_scale
from quant.simulate import round_weights

#: Shares of the largest weight that are tried as the range's end.
RATIOS = tuple(float(r) for r in np.linspace(1.0, 0.35, 27))


def search_scales(quantised: Graph, original: Graph, inputs: Array) -> Graph:
    """Choose every layer's weight scales by `best_scale`, and round to nearest.

    Args:
        quantised: laid out from `original`.
        original: the prepared float graph.
        inputs: calibration inputs, float32 [N, ...].
    """

    def visit(layer: Layer) -> Setting:
        weight = torch.from_numpy(layer.weight)
        quant = best_scale(layer, weight)
        values = round_weights(quant.format, grouped(layer, weight) / grouped_scale(layer, quant))
        return Setting(codes_of(layer, quant, values), quant, layer.current_bias)

    return walk(quantised, original, inputs, visit)


def best_scale(layer: Layer, target: Tensor) -> Quant:
    """Return the layer's format with the scale whose rounding error, weighted by the input's power, is least.

    Per output channel (or for all, as the layer's present scale is), RATIOS of the present scale compete by
    sum_k H_kk (w_k - q_k)^2. The present scale holds the largest weight, or is a floor that the bias needs; below that
    floor, where the bias would leave the accumulator, no ratio goes.

    Args:
        layer: with its moments and present scale.
        target: real weights, float64, shaped as the weight.
    """
    weight, base = grouped(layer, target), grouped_scale(layer, layer.quant)
    power = layer.moments.centred.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12)[:, None, :]
    losses = []
    for ratio in RATIOS:
        error = weight - round_weights(layer.quant.format, weight / (base * ratio)) * (base * ratio)
        losses.append((error.square() * power).sum(-1).reshape(-1))
    loss = torch.stack(losses)
    if len(layer.quant.scale) == 1:
        loss = loss.sum(1, keepdim=True)
    ratio_of = torch.tensor(RATIOS, dtype=torch.float64)[loss.argmin(0)].numpy()
    floor = layer.floor if len(layer.quant.scale) > 1 else layer.floor.max()
    scale = np.maximum(np.array(layer.quant.scale) * ratio_of, floor)
    return replace(layer.quant, scale=tuple(np.float32(scale).astype(float).tolist()))
