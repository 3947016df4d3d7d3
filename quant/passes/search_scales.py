"""Weight scales that clip: the range that loses least, not the one that holds every weight."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from quant.formats import Array, FloatArray
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
        quant = best_scale(layer.with_fixed_bias, weight)
        values = round_weights(quant.format, grouped(layer, weight) / grouped_scale(layer, quant))
        return Setting(codes_of(layer, quant, values), quant, layer.current_bias)

    return walk(quantised, original, inputs, visit)


def best_scale(layer: Layer, target: Tensor) -> Quant:
    """Return the layer's format with the scale whose rounding error, weighted by the input's power, is least.

    Per output channel (or for all, as the layer's present scale is), RATIOS of the present scale compete by
    sum_k H_kk (w_k - q_k)^2, so none is worse by that. The present scale holds the largest weight, or is a floor that
    the bias needs; below that floor, where the bias would leave the accumulator, nothing is tried.

    Args:
        layer: with its moments and present scale.
        target: real weights, float64, shaped as the weight.
    """
    weight, tried = grouped(layer, target), _candidates(layer)
    power = layer.moments.centred.diagonal(dim1=-2, dim2=-1).clamp_min(1e-12)[:, None, :]
    losses = []
    for candidate in tried:
        scale = grouped_scale(layer, replace(layer.quant, scale=tuple(candidate.tolist())))
        error = weight - round_weights(layer.quant.format, weight / scale) * scale
        losses.append((error.square() * power).sum(-1).reshape(-1))
    loss = torch.stack(losses)
    if len(layer.quant.scale) == 1:
        loss = loss.sum(1, keepdim=True)
    chosen = np.take_along_axis(tried, loss.argmin(0)[None].numpy(), axis=0)[0]
    return replace(layer.quant, scale=tuple(chosen.tolist()))


def _candidates(layer: Layer) -> FloatArray:
    """Return every scale that may be tried, [RATIOS, O or 1]: float32 values, none below the floor."""
    present = np.array(layer.quant.scale)
    floor = layer.floor if len(present) > 1 else layer.floor.max(keepdims=True)
    scales: FloatArray = np.maximum(np.outer(RATIOS, present), floor).astype(np.float32).astype(np.float64)
    return scales
