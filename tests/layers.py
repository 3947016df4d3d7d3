"""Networks of one layer with inputs as images have them, for tests of passes that set layers one by one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from quant.formats import Array, Format
from quant.graph import Graph
from quant.layerwise import Layer, Setting, walk
from quant.operators import Conv, Gemm
from quant.passes.gptq import codes_of, grouped, grouped_scale
from quant.ptq import lay_out, prepare, quantise_weight, scheme_ranges
from quant.scheme import parse_scheme
from tests.float_nets import Net

#: Layers as networks have them; `multiplier` is depthwise with two outputs a channel.
KINDS = ("plain", "pointwise", "grouped", "depthwise", "multiplier", "gemm")


def one_layer(kind: str, seed: int = 0) -> Graph:
    """A float graph of a single layer with random weights; the strength of its output channels differs."""
    net = Net(seed, (1, 24) if kind == "gemm" else (1, 16 if kind == "pointwise" else 8, 9, 8))
    match kind:
        case "gemm":
            net.gemm(10)
        case "plain":
            net.conv(8, 3, 2, (0, 1, 1, 0))
        case "pointwise":
            net.conv(12, 1, 1, (0, 0, 0, 0))
        case "grouped":
            net.conv(8, 3, groups=2)
        case "depthwise":
            net.conv(8, 3, groups=8)
        case "multiplier":
            net.conv(16, 3, groups=8)
    weight = net.weights["w0"]
    weight *= np.float32(net.rng.uniform(0.3, 2.0, (len(weight), *(1 for _ in weight.shape[1:]))))
    return net.graph()


def alike_inputs(graph: Graph, count: int = 64, seed: int = 1) -> Array:
    """Inputs whose neighbours and channels are alike, none negative, float32 [count, ...]."""
    rng, shape = np.random.default_rng(seed), graph.shape(graph.input)[1:]
    mixing = np.eye(shape[0]) + rng.normal(size=(shape[0], shape[0])) / np.sqrt(shape[0])
    noise = rng.normal(size=(count, *(n + 2 for n in shape[1:]), shape[0])) @ mixing
    x = np.moveaxis(noise, -1, 1)
    for axis in range(2, x.ndim):
        x = sum(np.take(x, np.arange(k, x.shape[axis] - 2 + k), axis) for k in range(3)) / 3
    return np.maximum(x + rng.uniform(0, 0.5, (1, shape[0], *(1 for _ in shape[1:]))), 0).astype(np.float32)


@contextmanager
def every_window() -> Iterator[None]:
    """Collect moments over all windows, not a sample of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("quant.moments.LEAST_COLUMNS", 10**8)
        patch.setattr("quant.moments.MOST_COLUMNS", 10**8)
        yield


def layers_of(graph: Graph, scheme: str, x: Array) -> dict[str, Layer]:
    """Return every layer as a walk over the graph under a scheme shows it, by name; the layers stay as laid out."""
    parsed, found = parse_scheme(scheme), {}
    made = lay_out(graph, parsed, scheme_ranges(graph, parsed, x))

    def look(layer: Layer) -> Setting:
        found[layer.node.name] = layer
        return Setting(made.weights[layer.node.inputs[1]], layer.quant, layer.current_bias)

    with every_window():
        walk(made, graph, x, look)
    return found


def in_format(layer: Layer, fmt: Format, *, per_channel: bool = True) -> Layer:
    """Return the layer with weights in another format, their scales from the largest weights."""
    codes, quant = quantise_weight(layer.weight, fmt, per_channel=per_channel)
    scale = np.array(quant.scale).reshape(-1, *(1 for _ in layer.weight.shape[1:]))
    return replace(layer, quant=quant, current=fmt.decode(codes) * scale, floor=np.zeros(len(layer.weight)))


def real(layer: Layer, values: torch.Tensor) -> Array:
    """Return weights in units of their scale, [G, O/G, K], as real weights [O, ...]."""
    product: Array = (values.double() * grouped_scale(layer, layer.quant)).reshape(layer.weight.shape).numpy()
    return product


def nearest(layer: Layer) -> Array:
    """Return the real weights rounded to nearest, through the codes that a graph stores."""
    from quant.simulate import round_weights

    scaled = grouped(layer, torch.from_numpy(layer.weight)) / grouped_scale(layer, layer.quant)
    codes = codes_of(layer, layer.quant, round_weights(layer.quant.format, scaled))
    return real(layer, torch.from_numpy(layer.quant.format.decode(codes)).reshape(scaled.shape))


def outputs(layer: Layer, weight: Array, x: Array) -> Array:
    """Run a layer without bias and clip on real inputs, all in float64: [O, every place of every image]."""
    op, wide, w = layer.node.op, torch.from_numpy(x).double(), torch.from_numpy(weight)
    if isinstance(op, Gemm):
        return (wide @ w.T).T.numpy()
    assert isinstance(op, Conv)
    top, left, bottom, right = op.pads
    padded = functional.pad(wide, (left, right, top, bottom))
    y = functional.conv2d(padded, w, None, op.strides, 0, op.dilations, op.groups)
    found: Array = y.transpose(0, 1).flatten(1).numpy()
    return found


def output_error(layer: Layer, weight: Array, x: Array, *, centred: bool = True) -> float:
    """Return the mean squared error of a layer's output on x, without its mean where a bias can take that."""
    error = outputs(layer, weight - layer.weight, x)
    return float(np.square(error - error.mean(axis=1, keepdims=True) * centred).mean())


def small_net(seed: int = 0, shape: tuple[int, ...] = (1, 3, 9, 8)) -> Graph:
    """A residual net with a depthwise and a grouped convolution, ReLU6, and classes that inputs do differ in."""
    net = Net(seed, shape)
    net.conv(8)
    net.clip()
    first = net.top
    net.conv(8, 3, 1, (1, 1, 1, 1), 8)
    net.clip(0.0, 6.0)
    net.conv(8, 3, 1, (1, 1, 1, 1), 2)
    net.add(first)
    net.mean()
    net.gemm(6)
    net.weights[net.nodes[-1].inputs[2]] *= np.float32(0.1)
    return prepare(net.graph())
