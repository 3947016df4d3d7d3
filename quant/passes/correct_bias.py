"""Empirical bias correction: give each output channel back the mean that quantisation took."""

from __future__ import annotations

import torch
from torch import Tensor

from quant.formats import Array
from quant.graph import Graph
from quant.layerwise import Layer, Setting, walk
from quant.passes.gptq import grouped


def correct_bias(quantised: Graph, original: Graph, inputs: Array) -> Graph:
    """Correct every layer's bias by its mean error on calibration inputs; weights stay.

    b += E[layer_float(x_float)] - E[layer_quantised(x_quantised)] per output channel (Nagel et al., arXiv 1906.04721,
    section 4.2, with measured instead of derived means). The quantised layer gets what the quantised network hands on,
    so the correction takes in the mean error of all layers before it.

    Args:
        quantised: laid out from `original`.
        original: the prepared float graph.
        inputs: calibration inputs, float32 [N, ...].
    """

    def visit(layer: Layer) -> Setting:
        codes = quantised.weights[layer.node.inputs[1]]
        return Setting(codes, layer.quant, corrected_bias(layer, torch.from_numpy(layer.current)))

    return walk(quantised, original, inputs, visit, second=False)


def corrected_bias(layer: Layer, real: Tensor) -> Array:
    """Return the bias [O], float64, that gives a layer with weights `real` the float layer's mean output."""
    found = layer.moments
    exact, rough = grouped(layer, torch.from_numpy(layer.weight)), grouped(layer, real)
    wanted = (exact @ (found.mean + found.shift)[..., None]).reshape(-1)
    got = (rough @ found.mean[..., None]).reshape(-1)
    corrected: Array = layer.bias + (wanted - got).numpy()
    return corrected
