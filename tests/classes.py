"""A small float net whose labels are sure: its last layer is fitted to classes of inputs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from quant.formats import Array
from quant.graph import Graph
from quant.ptq import prepare
from quant.simulate import forward, simulator
from tests.float_nets import Net

CLASSES, SHAPE = 6, (3, 9, 8)


def class_inputs(count: int, seed: int = 0) -> Array:
    """Inputs of all classes in turn, each a pattern of its class with noise, float32 [count, 3, 9, 8]."""
    patterns = np.random.default_rng(99).normal(size=(CLASSES, *SHAPE[:1], 3, 2))
    large = patterns.repeat(3, axis=2).repeat(4, axis=3)
    noise = np.random.default_rng(seed).normal(size=(count, *SHAPE)) * 0.4
    return (large[np.arange(count) % CLASSES] + noise).astype(np.float32)


def class_net(seed: int = 0) -> Graph:
    """A net every pass can work on: linear stream, Relu pairs, depthwise convolution, ReLU6, uneven channels."""
    net = Net(seed, (1, *SHAPE))
    net.conv(8)
    first = net.top
    net.conv(10, 1, 1, (0, 0, 0, 0))
    net.clip()
    net.conv(8, 1, 1, (0, 0, 0, 0))
    net.add(first)
    net.conv(12)
    net.clip()
    net.conv(12, 3, 1, (1, 1, 1, 1), 12)
    net.clip(0.0, 6.0)
    net.conv(24, 1, 1, (0, 0, 0, 0))
    net.clip()
    net.mean()
    net.gemm(CLASSES)
    _spread(net)
    return _fitted(prepare(net.graph()))


def _spread(net: Net) -> None:
    for name, weight in net.weights.items():
        if weight.ndim == 4:
            loud = np.exp2(net.rng.uniform(-1, 1, (len(weight), 1, 1, 1)))
            net.weights[name] = (weight * loud).astype(np.float32)


def _fitted(graph: Graph) -> Graph:
    """Fit the last layer to the classes by least squares."""
    import torch

    x, layer = class_inputs(600, 1), graph.nodes[-1]
    features = forward(simulator(graph), torch.from_numpy(x), [layer.inputs[0]])[layer.inputs[0]].double().numpy()
    design = np.concatenate([features, np.ones((len(x), 1))], axis=1)
    wanted = 4 * np.eye(CLASSES)[np.arange(len(x)) % CLASSES]
    ridge = 1e-3 * len(x) * np.eye(design.shape[1])
    solution = np.linalg.solve(design.T @ design + ridge, design.T @ wanted).astype(np.float32)
    _, weight, bias = layer.inputs
    return replace(graph, weights={**graph.weights, weight: solution[:-1].T.copy(), bias: solution[-1]})
