"""MobileNet-like toy networks whose activations have an upper limit that many values reach."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant import operators as ops
from quant.formats import Array
from quant.graph import Graph
from quant.passes.equalise import equalise
from quant.program import lower
from quant.ptq import prepare, quantise
from quant.reference import fast_dot, quantise_input, run
from quant.scheme import parse_scheme
from quant.simulate import simulate
from tests.float_nets import Net, inputs

#: Weights are strong enough for a good part of all values to reach the limit.
LIMIT, CLASSES, GAIN = 1.0, 10, 2.5


def mobile(seed: int = 0, limit: float = LIMIT) -> Graph:
    """A stem, depthwise and pointwise layers with limits, a residual sum, a pool, a mean and a linear layer."""
    net = Net(seed, (1, 3, 12, 12))
    _limited(net, limit, 8, 3, 2)
    _limited(net, limit, 8, 3, 1, groups=8)
    before = net.conv(12, 1, 1, (0, 0, 0, 0))
    _limited(net, limit, 24, 1)
    net.pool(ops.MaxPool)
    _limited(net, limit, 24, 3, 1, groups=24)
    net.conv(12, 1, 1, (0, 1, 0, 0))
    net.add(before)
    _limited(net, limit, 16, 1)
    net.mean()
    net.gemm(CLASSES)
    uneven = net.rng.uniform(-3, 2, len(net.weights))
    for octaves, (name, weight) in zip(uneven, list(net.weights.items()), strict=True):
        if weight.ndim == 4:
            louder = weight * np.exp2(octaves * net.rng.uniform(-1, 1, (len(weight), 1, 1, 1)))
            net.weights[name] = (GAIN * louder / np.sqrt(np.square(louder).mean() * weight[0].size)).astype(np.float32)
    for name in net.weights:
        if net.weights[name].ndim == 1:
            net.weights[name] *= np.float32(0.3)
    graph = prepare(net.graph())
    # Logits are centred, so that labels differ between inputs.
    bias = graph.nodes[-1].inputs[2]
    centred = (graph.weights[bias] - simulate(graph, images(graph)).mean(axis=0)).astype(np.float32)
    return replace(graph, weights={**graph.weights, bias: centred})


def _limited(net: Net, limit: float, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
    edge = kernel // 2
    net.conv(out, kernel, stride, (edge,) * 4, groups)
    net.clip(0.0, limit)


def images(graph: Graph, count: int = 12, seed: int = 5) -> Array:
    """Float inputs of a graph."""
    return inputs(count, seed, graph.shape(graph.input))


def quantised(scheme: str, seed: int = 0) -> tuple[Graph, Array, dict[str, Array]]:
    """The equalised network quantised, input codes, and the reference's codes of every tensor.

    That limits cut values, and that labels differ, is asserted here, for the tests that compare with these codes.
    """
    graph = equalise(mobile(seed))
    x = images(graph)
    made = quantise(graph, parse_scheme(scheme), x)
    codes = quantise_input(made.quant(made.input), x)
    values = run(lower(made), codes, dot=fast_dot)
    cut = [values[n.inputs[0]] != values[n.output] for n in made.nodes if isinstance(n.op, ops.Minimum)]
    assert len(cut) == 5
    assert min(float(part.mean()) for part in cut) > 0.01
    ordinals = made.quant(made.output).format.to_ordinals(values[made.output])
    assert len(set(ordinals.argmax(axis=1).tolist())) > 1
    return made, codes, values
