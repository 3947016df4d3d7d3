"""Small float networks with one planted fault each, for tests of the diagnosis."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from quant.formats import Array
from quant.graph import Graph
from quant.onnx_write import run_float
from quant.ptq import lay_out, prepare, quantise
from quant.ranges import estimate_ranges
from quant.scheme import parse_scheme
from tests.float_nets import INF, Net, inputs

COUNT = 24
WIDTH = 16
#: Node names of `plain`: two convolutions (their Relu fused), a mean, a fully connected layer.
FIRST, SECOND, MEAN, LAST = "n0", "n2", "n4", "n5"


@dataclass(frozen=True, eq=False)
class Case:
    """A network with one fault: scheme, data, where it is, and a graph quantised elsewhere if the fault lies there."""

    graph: Graph
    scheme: str
    inputs: Array
    layer: str
    quantised: Graph | None = None


def plain(*, kernel: int = 3, stride: int = 1, high: float = INF, norm: bool = False) -> Graph:
    """Two convolutions with Relu (or a clip), a mean, a fully connected layer; nothing is wrong with it."""
    net = Net(5)
    net.conv(WIDTH, kernel, stride, (kernel // 2,) * 4)
    net.clip(0.0, high)
    if norm:
        net.norm()
    net.conv(WIDTH)
    net.clip()
    net.mean()
    net.gemm(5)
    return centred(net.graph(), data())


def centred(graph: Graph, x: Array) -> Graph:
    """Take the mean logits out of the last bias, so that labels differ by more than rounding changes."""
    _, bias = parameters(graph, graph.nodes[-1].name)
    return changed(graph, **{bias: graph.weights[bias] - run_float(graph, x).mean(axis=0)})


def data(seed: int = 0) -> Array:
    """Inputs with mean 0 and deviation 1.4."""
    x = inputs(COUNT, seed)
    return np.asarray(x - x.mean(axis=(0, 2, 3), keepdims=True), dtype=np.float32)


def parameters(graph: Graph, node: str) -> tuple[str, str]:
    """Return the names of a layer's weight and bias."""
    found = next(n for n in graph.nodes if n.name == node)
    return found.inputs[1], found.inputs[2]


def changed(graph: Graph, **arrays: Array) -> Graph:
    """Return the graph with other weights."""
    return replace(graph, weights={**graph.weights, **{k: v.astype(np.float32) for k, v in arrays.items()}})


def scaled_channel(graph: Graph, node: str, factor: float, bias: float | None = None) -> Graph:
    """Multiply the weights (and, unless given, the bias) of a layer's channel 0; nothing reads that channel."""
    weight, offset = parameters(graph, node)
    w, b = graph.weights[weight].copy(), graph.weights[offset].copy()
    w[0] *= factor
    b[0] = b[0] * factor if bias is None else bias
    graph = changed(graph, **{weight: w, offset: b})
    reader, _ = parameters(graph, {FIRST: SECOND, SECOND: LAST}[node])
    after = graph.weights[reader].copy()
    after[:, 0] = 0
    return changed(graph, **{reader: after})


def weight_disparity() -> Case:
    return Case(scaled_channel(plain(), FIRST, 256.0), "w8a16-pt", data(), FIRST)


def other_weights() -> Case:
    graph, x = plain(), data()
    weight, _ = parameters(graph, SECOND)
    mixed = changed(graph, **{weight: graph.weights[weight][::-1]})
    return Case(graph, "w8a8", x, SECOND, quantise(mixed, parse_scheme("w8a8"), x))


def dead_weights() -> Case:
    return Case(scaled_channel(plain(), FIRST, 100.0, bias=-1e4), "w8a8-pt", data(), FIRST)


def bias_overflow() -> Case:
    return Case(scaled_channel(plain(), FIRST, 1.0, bias=-1e9), "w8a8-pt", data(), FIRST)


def dead_channels() -> Case:
    return Case(scaled_channel(plain(), FIRST, 0.0, bias=1000.0), "w8a8", data(), FIRST)


def channel_disparity() -> Case:
    return Case(scaled_channel(plain(), FIRST, 1024.0), "w8a8", data(), FIRST)


def bounded_activation() -> Case:
    graph = plain(high=6.0)
    small = {name: graph.weights[name] * 0.005 for name in parameters(graph, FIRST)}
    reader, _ = parameters(graph, SECOND)
    graph = changed(graph, **small, **{reader: graph.weights[reader] * 200})
    return Case(scaled_channel(graph, FIRST, 1000.0), "w8a8", data(), FIRST)


def clipped_range() -> Case:
    return Case(plain(), "w8a8-p90", data(), FIRST)


def spiked(low: float, high: float) -> Array:
    """Data with single values far out, where a convolution of stride 2 does not look."""
    x = data()
    x[3, 1, 1, 1], x[5, 2, 3, 5] = high, low
    return x


def one_sided_outliers() -> Case:
    return Case(plain(kernel=1, stride=2), "w8a8", spiked(0.0, 1500.0), "x")


def outliers() -> Case:
    return Case(plain(kernel=1, stride=2), "w8a8", spiked(-400.0, 400.0), "x")


def loose_range() -> Case:
    graph, x = plain(), data()
    prepared, scheme = prepare(graph), parse_scheme("w8a8")
    ranges = estimate_ranges(prepared, x, None)
    name = next(n.output for n in prepared.nodes if n.name == FIRST)
    ranges[name] = (ranges[name][0] * 256, ranges[name][1] * 256)
    return Case(graph, "w8a8", x, FIRST, lay_out(prepared, scheme, ranges))


def average_pooling() -> Case:
    return Case(plain(), f"w8a8;{MEAN}=w8a3", data(), MEAN)


def batch_norm() -> Case:
    return Case(plain(norm=True), "w8a8;n2=w8a3", data(), "n2")


def preprocessing() -> Case:
    return Case(plain(), "w8a8", data() * np.float32(255), "x")


def preprocessing_too_small() -> Case:
    return Case(plain(), "w8a8", data() / np.float32(255), "x")


def preprocessing_of_a_batch_norm() -> Case:
    net = Net(5)
    net.conv(WIDTH)
    net.norm()
    net.clip()
    net.mean()
    net.gemm(5)
    graph = net.graph()
    # What the batch norm has seen in training: these data.
    from quant.diagnosis.inputs import statistics

    mean, deviation = statistics(graph, graph.nodes[1], data())
    names = graph.nodes[1].inputs[3:]
    graph = changed(graph, **{names[0]: mean, names[1]: deviation**2})
    return Case(graph, "w8a8", data() + np.float32(6), "x")


def preprocessing_of_a_file() -> Case:
    graph, x = plain(), data()
    prepared = prepare(graph)
    ranges = estimate_ranges(prepared, x, None)
    ranges[prepared.input] = (ranges[prepared.input][0] / 20, ranges[prepared.input][1] / 20)
    quantised = lay_out(prepared, parse_scheme("w8a8"), ranges)
    return Case(graph, "w8a8", x, "x", quantised)


def shifted_mean() -> Case:
    x = data() * np.float32(0.1) + np.float32(2)
    return Case(centred(plain(), x), f"w8a8;{FIRST}=w4a8", x, FIRST)


def few_weight_bits() -> Case:
    return Case(plain(), f"w8a8;{FIRST}=w3a8", data(), FIRST)


def few_activation_bits() -> Case:
    return Case(plain(), f"w8a8;{SECOND}=w8a2", data(), SECOND)


#: The cause each case must show.
FAULTS = (
    ("preprocessing", preprocessing),
    ("preprocessing", preprocessing_too_small),
    ("preprocessing", preprocessing_of_a_batch_norm),
    ("preprocessing", preprocessing_of_a_file),
    ("other_weights", other_weights),
    ("bias_overflow", bias_overflow),
    ("dead_weights", dead_weights),
    ("dead_channels", dead_channels),
    ("weight_disparity", weight_disparity),
    ("channel_disparity", channel_disparity),
    ("bounded_activation", bounded_activation),
    ("clipped_range", clipped_range),
    ("one_sided_outliers", one_sided_outliers),
    ("outliers", outliers),
    ("loose_range", loose_range),
    ("average_pooling", average_pooling),
    ("batch_norm", batch_norm),
    ("shifted_mean", shifted_mean),
    ("few_weight_bits", few_weight_bits),
    ("few_activation_bits", few_activation_bits),
)
