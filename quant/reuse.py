"""Quantise one network many times: what depends on one thing only is made once.

Rounded weights depend on the weight format and on the moments of float inputs, ranges on the activation format. A
network is then put together from the two, where the passes of `quant.passes` would walk through it anew. The price:
weights and biases make up for what rounded weights lose, and not for what rounded activations do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from quant.formats import Array, Format, integer
from quant.graph import Graph, Quant
from quant.layerwise import Layer, Setting, walk
from quant.method import Method, set_layer
from quant.onnx_quant import quantise_bias
from quant.operators import Conv, Gemm
from quant.ptq import bias_floor, lay_out, quantise_weight
from quant.ranges import Ranges
from quant.scheme import Formats, Scheme

#: Wide enough to stand for float while moments are collected.
_EXACT = Scheme(Formats(integer(16), integer(16)))


def float_layers(graph: Graph, inputs: Array, ranges: Ranges) -> dict[str, Layer]:
    """Return every Conv and Gemm of a prepared float graph with the moments of its inputs, by node name.

    Args:
        graph: prepared.
        inputs: calibration inputs, float32 [N, ...].
        ranges: minimum and maximum of every activation.
    """
    layers: dict[str, Layer] = {}
    exact = lay_out(graph, _EXACT, ranges)

    def visit(layer: Layer) -> Setting:
        layers[layer.node.name] = layer
        return Setting(exact.weights[layer.node.inputs[1]], layer.quant, layer.current_bias)

    walk(exact, graph, inputs, visit)
    return layers


def settle(known: Layer, fmt: Format, method: Method, *, per_channel: bool) -> Setting:
    """Set a layer's weights and bias by the layer-wise steps of a method.

    Args:
        known: from `float_layers`.
        fmt: of the weights.
        method: `compensate` has nothing to do here, because inputs are not rounded.
        per_channel: one scale per output channel, else one for all.
    """
    quant = quantise_weight(known.weight, fmt, per_channel=per_channel)[1]
    floor = np.zeros(len(known.weight))
    return set_layer(replace(known, quant=quant, floor=floor, current_bias=known.bias), method)


def assemble(quantised: Graph, settings: Mapping[str, Setting]) -> Graph:
    """Return a graph laid out by `quant.ptq.lay_out` with layers as they were settled before, by node name.

    A layer whose bias would leave the accumulator at its settled scales stays as it was laid out.
    """
    weights, tensors = dict(quantised.weights), dict(quantised.tensors)
    for node in quantised.nodes:
        if isinstance(node.op, Conv | Gemm):
            setting, source = settings[node.name], quantised.quant(node.inputs[0])
            if _holds(setting, source):
                _, weight, bias = node.inputs
                weights[weight], tensors[weight] = setting.codes, replace(tensors[weight], quant=setting.quant)
                weights[bias] = quantise_bias(setting.bias, source, setting.quant)
    return replace(quantised, weights=weights, tensors=tensors)


def _holds(setting: Setting, source: Quant) -> bool:
    """Whether an accumulator in these scales holds the bias with room to spare."""
    floor, scale = bias_floor(setting.bias, source, setting.quant.format), np.array(setting.quant.scale)
    return bool((scale >= (floor if len(scale) > 1 else floor.max())).all())
