"""Networks with hard-swish and squeeze-and-excite, as MobileNetV3 and EfficientNet have them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant import operators as ops
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower
from quant.ptq import prepare, quantise
from quant.reference import fast_dot, quantise_input, run
from quant.scheme import parse_scheme
from quant.simulate import simulate
from tests.float_nets import Net, inputs

CLASSES = 10
#: Functions of the activations and of the gates: MobileNetV3, EfficientNet, and one with the others.
KINDS = {
    "mobilenet": ("hard_swish", "hard_sigmoid"),
    "efficientnet": ("swish", "sigmoid"),
    "other": ("leaky_relu", "tanh"),
}


def function(name: str) -> ops.Function:
    """The function with the parameters that torch gives it."""
    parameters = {"hard_sigmoid": (1 / 6, 0.5), "leaky_relu": (0.125, 0.0)}
    alpha, beta = parameters.get(name, (0.0, 0.0))
    return ops.Function(name=name, alpha=float(np.float32(alpha)), beta=beta)


def gated(kind: str = "mobilenet", seed: int = 0) -> Graph:
    """A stem, an inverted residual with a gate, a second one without, a mean and a linear layer; logits centred."""
    act, gate = (function(name) for name in KINDS[kind])
    net = Net(seed, (1, 3, 12, 12))
    _layer(net, act, 8, 3, 2)
    before = net.top
    _layer(net, act, 16, 1)
    _layer(net, act, 16, 3, 1, 16)
    _squeeze(net, gate)
    net.conv(8, 1, 1, (0, 0, 0, 0))
    net.add(before)
    _layer(net, act, 24, 1)
    _layer(net, act, 24, 3, 2, 24)
    net.conv(12, 1, 1, (0, 0, 0, 0))
    _layer(net, act, 20, 1)
    net.mean()
    net.gemm(CLASSES)
    for name, weight in net.weights.items():
        net.weights[name] = (weight * np.float32(2.0 if weight.ndim > 1 else 0.3)).astype(np.float32)
    graph = prepare(net.graph())
    bias = graph.nodes[-1].inputs[2]
    centred = (graph.weights[bias] - simulate(graph, images(graph)).mean(axis=0)).astype(np.float32)
    return replace(graph, weights={**graph.weights, bias: centred})


def _layer(net: Net, act: ops.Function, out: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
    net.conv(out, kernel, stride, (kernel // 2,) * 4, groups)
    net.node(act, net.shape())


def _squeeze(net: Net, gate: ops.Function) -> None:
    """Mean, two linear layers on one pixel, a gate, and its product with the image."""
    image, channels = net.top, net.shape()[1]
    net.mean(keep=True)
    net.conv(channels // 4, 1, 1, (0, 0, 0, 0))
    net.clip()
    net.conv(channels, 1, 1, (0, 0, 0, 0))
    net.node(gate, net.shape())
    net.node(ops.Mul(), net.shape(image), (image, net.top))


def images(graph: Graph, count: int = 12, seed: int = 5) -> Array:
    """Float inputs of a graph."""
    return inputs(count, seed, graph.shape(graph.input))


def quantised(scheme: str, kind: str = "mobilenet") -> tuple[Graph, Array, dict[str, Array]]:
    """The network quantised, input codes, and the reference's codes of every tensor; that labels differ is asserted."""
    graph = gated(kind)
    x = images(graph)
    made = quantise(graph, parse_scheme(scheme), x)
    codes = quantise_input(made.quant(made.input), x)
    values = run(lower(made), codes, dot=fast_dot)
    functions = [node.output for node in made.nodes if isinstance(node.op, ops.Function | ops.Mul)]
    assert len(functions) == 8
    assert all(len(np.unique(values[name])) > 3 for name in functions)
    ordinals = made.quant(made.output).format.to_ordinals(values[made.output])
    assert len(set(ordinals.argmax(axis=1).tolist())) > 2
    return made, codes, values
