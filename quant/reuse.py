"""Quantise one network many times: what depends on one thing only is made once.

Rounded weights depend on the weight format (with the moments of float inputs), mean inputs on the activation format.
A pair of formats is then put together from the two, where `quant.ptq.quantise` with passes would walk the network anew.
The price: weights do not make up for what rounded activations lose, and the means behind a bias correction are of a
network whose weights are still exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from quant.formats import Array, Format, integer
from quant.graph import Graph, Node, Quant
from quant.layerwise import Layer, Setting, walk
from quant.onnx_quant import quantise_bias
from quant.operators import Conv, Gemm
from quant.passes.gptq import codes_of, gptq_values, grouped, grouped_scale
from quant.passes.search_scales import best_scale
from quant.ptq import bias_floor, lay_out, quantise_weight
from quant.ranges import Ranges
from quant.scheme import Formats, Scheme
from quant.simulate import batches, fake_quantise, forward, real_weight, round_weights, simulator

#: Wide enough to stand for float while moments are collected.
_EXACT = Scheme(Formats(integer(16), integer(16)))

#: Mean input columns [G, K] of each Conv and Gemm, by node name, float64.
Means = Mapping[str, Tensor]
Settings = Mapping[str, Setting]


def float_layers(graph: Graph, inputs: Array, ranges: Ranges) -> dict[str, Layer]:
    """Return every Conv and Gemm of a prepared float graph with the moments of its inputs, by node name."""
    layers: dict[str, Layer] = {}
    exact = lay_out(graph, _EXACT, ranges)

    def visit(layer: Layer) -> Setting:
        layers[layer.node.name] = layer
        return Setting(exact.weights[layer.node.inputs[1]], layer.quant, layer.current_bias)

    walk(exact, graph, inputs, visit)
    return layers


def settle(
    layers: Mapping[str, Layer], formats: Mapping[str, Format], *, per_channel: bool, scales: bool, gptq: bool
) -> dict[str, Setting]:
    """Round every layer's weights.

    Args:
        layers: from `float_layers`.
        formats: of the weights, by node name.
        per_channel: one scale per output channel, else one for all.
        scales: choose scales by `quant.passes.search_scales`, else to hold the largest weight.
        gptq: round by `quant.passes.gptq`, else to nearest.

    Returns:
        Codes and scales by node name; the bias is the float one.
    """
    settings = {}
    for name, known in layers.items():
        fmt = formats[name]
        quant = quantise_weight(known.weight, fmt, per_channel=per_channel)[1]
        layer = replace(known, quant=quant, floor=np.zeros(len(known.weight)))
        weight = torch.from_numpy(layer.weight)
        quant = best_scale(layer, weight) if scales else quant
        if gptq:
            values = gptq_values(layer, quant, weight)
        else:
            values = round_weights(fmt, grouped(layer, weight) / grouped_scale(layer, quant))
        settings[name] = Setting(codes_of(layer, quant, values), quant, known.bias)
    return settings


def mean_columns(original: Graph, inputs: Array, laid_out: Sequence[Graph] = ()) -> list[dict[str, Tensor]]:
    """Return the mean input columns of every layer: of the float graph, then as each laid-out graph rounds them.

    What is rounded are the float network's activations, layer by layer: errors of earlier layers are not handed on,
    because the correction of those layers' biases takes them away.

    Args:
        original: the prepared float graph.
        inputs: real inputs [N, ...].
        laid_out: graphs whose activation formats count, from `quant.ptq.lay_out`.
    """
    sim = simulator(original)
    layers = [node for node in original.nodes if isinstance(node.op, Conv | Gemm)]
    sources = {node.inputs[0] for node in layers}
    quants = [dict.fromkeys(sources), *(_source_quants(graph, original) for graph in laid_out)]
    sums: list[dict[str, Tensor]] = [{} for _ in quants]
    for part in batches(inputs):
        values = forward(sim, part, sources)
        for total, quant in zip(sums, quants, strict=True):
            for name in sources:
                rounded = fake_quantise(quant[name], values[name]).sum(0, dtype=torch.float64)
                total[name] = total[name] + rounded if name in total else rounded
    return [
        {node.name: _columns(original, node, total[node.inputs[0]] / len(inputs)) for node in layers} for total in sums
    ]


def _source_quants(quantised: Graph, original: Graph) -> dict[str, Quant | None]:
    """Return how the input of each layer is rounded, by the input's name in the float graph."""
    twins = {node.name: node for node in original.nodes}
    layers = [node for node in quantised.nodes if isinstance(node.op, Conv | Gemm)]
    return {twins[node.name].inputs[0]: quantised.quant(node.inputs[0]) for node in layers}


def _columns(graph: Graph, node: Node, mean: Tensor) -> Tensor:
    """Return the mean window [G, K] of a layer from the mean [C, H, W] (or [I]) of its input."""
    if not isinstance(node.op, Conv):
        return mean[None]
    top, left, bottom, right = node.op.pads
    padded = functional.pad(mean, (left, right, top, bottom))[None]
    kernel = graph.shape(node.inputs[1])[2:]
    windows = functional.unfold(padded, kernel, node.op.dilations, 0, node.op.strides)
    return windows.mean(-1).reshape(node.op.groups, -1)


def assemble(quantised: Graph, original: Graph, settings: Settings, means: tuple[Means, Means] | None = None) -> Graph:
    """Return a laid-out graph with weights that were settled before, and corrected biases.

    Args:
        quantised: from `quant.ptq.lay_out`.
        original: the prepared float graph.
        settings: from `settle`. A layer whose bias would leave the accumulator at these scales keeps its own.
        means: mean columns of the float graph, and of the graph with these activations; None corrects no bias.
    """
    weights, tensors = dict(quantised.weights), dict(quantised.tensors)
    twins = {node.name: node for node in original.nodes}
    for node in quantised.nodes:
        if not isinstance(node.op, Conv | Gemm):
            continue
        weight, name = node.inputs[1], node.name
        exact, bias = (original.weights[key].astype(np.float64) for key in twins[name].inputs[1:])
        source, quant = quantised.quant(node.inputs[0]), settings[name].quant
        if _holds(bias, source, quant):
            weights[weight], tensors[weight] = settings[name].codes, replace(tensors[weight], quant=quant)
        graph = replace(quantised, weights=weights, tensors=tensors)
        if means is not None:
            bias = bias + _product(exact, means[0][name]) - _product(real_weight(graph, weight), means[1][name])
        weights[node.inputs[2]] = quantise_bias(bias, source, graph.quant(weight))
    return replace(quantised, weights=weights, tensors=tensors)


def _holds(bias: Array, source: Quant, weight: Quant) -> bool:
    """Whether an accumulator in these scales holds the bias with room to spare."""
    floor, scale = bias_floor(bias, source, weight.format), np.array(weight.scale)
    return bool((scale >= (floor if len(scale) > 1 else floor.max())).all())


def _product(weight: Array, mean: Tensor) -> Array:
    """Return a layer's mean output [O] without bias, from weights [O, ...] and mean columns [G, K]."""
    rows = weight.reshape(len(mean), -1, mean.shape[-1])
    product: Array = (rows @ mean.numpy()[:, :, None]).reshape(-1)
    return product
