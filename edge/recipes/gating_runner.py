"""One image at a time through a gated network, in numpy, computing only the channels its predictors keep.

Channels that are not kept are not there: kept rows and columns of the weights are gathered, the rest is not touched.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edge.recipes.gating_net import KERNEL, GatedConv, GatedNet

Floats = npt.NDArray[np.float32]
Indices = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A convolution with batch norm folded in, and its predictor with the offset folded in.

    `weight` [O, I, 9], `bias` [O], `scores` [O, I] and `scores_bias` [O]; the last two are None without a predictor.
    """

    weight: Floats
    bias: Floats
    stride: int
    scores: Floats | None
    scores_bias: Floats | None


@dataclass(frozen=True, slots=True, eq=False)
class Runner:
    """The layers, and the fully connected layer `weight` [classes, C], `bias` [classes]."""

    layers: tuple[Layer, ...]
    weight: Floats
    bias: Floats


def runner(net: GatedNet) -> Runner:
    """Take the weights of a trained network as numpy arrays; later training does not change them."""
    layers = tuple(_layer(unit) for unit in net.units)
    return Runner(layers, net.fc.weight.detach().numpy().copy(), net.fc.bias.detach().numpy().copy())


def _layer(unit: GatedConv) -> Layer:
    norm = unit.norm
    factor = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()
    weight = (unit.conv.weight.detach() * factor[:, None, None, None]).contiguous().numpy()
    bias = (norm.bias.detach() - norm.running_mean * factor).numpy()
    scores = scores_bias = None
    if unit.predictor is not None:
        scores = unit.predictor.weight.detach().flatten(1).contiguous().numpy().copy()
        scores_bias = (unit.predictor.bias.detach() - unit.offset).numpy()
    return Layer(weight.reshape(*weight.shape[:2], -1), bias, unit.conv.stride[0], scores, scores_bias)


def run(network: Runner, image: Floats, *, skip: bool = True) -> tuple[Floats, tuple[Indices, ...]]:
    """Run one image.

    Args:
        network: of `runner`.
        image: pre-processed, float32 [C, H, W].
        skip: False computes every channel and asks no predictor: the dense network by the same code.

    Returns:
        Logits [classes], and for every gated layer the channels it kept.
    """
    x, incoming, kept = image, None, []
    for layer in network.layers:
        weight, bias, outgoing = layer.weight, layer.bias, None
        if skip and layer.scores is not None:
            outgoing = _kept(layer, x, incoming)
            kept.append(outgoing)
            weight, bias = weight.take(outgoing, axis=0), bias[outgoing]
        if incoming is not None:
            weight = weight.take(incoming, axis=1)  # twice as fast as indexing
        x, incoming = _convolve(x, weight, bias, layer.stride), outgoing
    weight = network.weight if incoming is None else network.weight[:, incoming]
    return weight @ x.mean(axis=(1, 2)) + network.bias, tuple(kept)


def _kept(layer: Layer, x: Floats, incoming: Indices | None) -> Indices:
    """Return the channels with a positive score. A channel that was skipped before would have the maximum 0."""
    assert layer.scores is not None and layer.scores_bias is not None
    scores = layer.scores if incoming is None else layer.scores.take(incoming, axis=1)
    most = x.reshape(len(x), x.shape[1] * x.shape[2]).max(axis=1)
    return np.flatnonzero(scores @ most + layer.scores_bias > 0)


def _convolve(x: Floats, weight: Floats, bias: Floats, stride: int) -> Floats:
    """Convolve [I, H, W] with [O, I, 9] by one matrix product, add the bias, and take the Relu."""
    pad = KERNEL // 2
    height, width = x.shape[1:]
    padded = np.zeros((len(x), height + 2 * pad, width + 2 * pad), np.float32)
    padded[:, pad:-pad, pad:-pad] = x
    rows, columns = (height - 1) // stride + 1, (width - 1) // stride + 1
    plane, row, item = padded.strides
    shape, steps = (len(x), KERNEL, KERNEL, rows, columns), (plane, row, item, row * stride, item * stride)
    windows = np.lib.stride_tricks.as_strided(padded, shape, steps).reshape(len(x) * KERNEL * KERNEL, rows * columns)
    y = weight.reshape(len(weight), len(windows)) @ windows
    y += bias[:, None]
    return np.maximum(y, 0, out=y).reshape(len(weight), rows, columns)
