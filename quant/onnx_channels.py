"""Activations with one scale per channel (NNCF has them before depthwise convolutions) as activations with one scale.

Channel c of a tensor has the scale s_c, and S is the largest. The layer before makes t_c * S / s_c instead of t_c, by
its weight scales, so that the codes with the one scale S are the very codes; the depthwise convolution behind, where
a channel never meets another, has weight scales times s_c / S. Accumulators, biases and codes stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from quant import onnx_nodes as convert
from quant import operators as ops
from quant.formats import Array
from quant.graph import Node, Quant
from quant.onnx_build import Build
from quant.onnx_quant import Stored

_ADVICE = "Use one scale for activations (in NNCF QuantizationParameters(per_channel=False))."


def one_scale(build: Build, node: Any, stored: Stored) -> Quant:
    """Return the number format with one scale for the tensor that a quantiser with a scale per channel reads.

    Raises:
        QuantError: scales do not run along channels, or the tensor is not made by a layer with quantised weights that
            nothing else reads, with no clip but Relu, or one beyond the codes.
    """
    quant, source = stored.quant, build.activation(node, 0)
    if quant.axis != 1:
        raise convert.refuse(build.model, node, f"activation scales must run along axis 1. {_ADVICE}")
    scales = np.array(quant.scale)
    chain = _chain(build, source)
    if not chain or build.readers[source] > 1 or not isinstance(chain[0].op, ops.Conv | ops.Gemm):
        raise convert.refuse(
            build.model,
            node,
            "activations with one scale per channel are supported right behind a layer with quantised weights that "
            f"nothing else reads. {_ADVICE}",
        )
    for clip in chain[1:]:
        build.nodes[build.nodes.index(clip)] = replace(clip, op=_free_clip(build, node, clip.op, stored))
    weight = chain[0].inputs[1]
    if weight not in build.quants:
        raise convert.refuse(build.model, node, f"the weights before it are not quantised. {_ADVICE}")
    top = float(scales.max())
    build.quants[weight] = scaled(build.quants[weight], top / scales)
    build.ratios[node.output[0]] = scales / top
    return replace(quant, scale=(top,), axis=None)


def _chain(build: Build, name: str) -> list[Node]:
    """Return the layer that makes a tensor and the clips behind it, as long as each has one reader."""
    found: list[Node] = []
    for node in reversed(build.nodes):
        if node.output == name:
            found.insert(0, node)
            if not isinstance(node.op, ops.Clip) or build.readers[node.inputs[0]] > 1:
                break
            name = node.inputs[0]
    return found


def _free_clip(build: Build, node: Any, op: Any, stored: Stored) -> ops.Clip:
    """Return a clip that means the same in every channel's scale: limits that no code reaches are none."""
    fmt, zero, scales = stored.quant.format, stored.quant.zero, np.array(stored.quant.scale)
    low, high = ((fmt.units_of_ordinal(k) - zero) * fmt.unit for k in (fmt.min_ordinal, fmt.max_ordinal))
    free = [
        op.low == 0 or op.low <= (low * scales).min(),
        op.high == 0 or op.high >= (high * scales).max() * (1 - 1e-6),
    ]
    if not all(free):
        raise convert.refuse(
            build.model,
            node,
            f"activations with one scale per channel and a clip to [{op.low}, {op.high}] that codes exceed. {_ADVICE}",
        )
    return ops.Clip(low=0.0 if op.low == 0 else -np.inf, high=0.0 if op.high == 0 else np.inf)


def scaled(quant: Quant, factors: Array) -> Quant:
    """Return a weight's format with its scales times one factor per output channel."""
    scales = np.broadcast_to(np.array(quant.scale), factors.shape) * factors
    return replace(quant, scale=tuple(float(s) for s in scales.astype(np.float32)), axis=0)


def weight_factors(build: Build, node: Any, outputs: int) -> Array | None:
    """Return what a layer's weight scales must be multiplied by for its input's channels; None for nothing.

    Raises:
        QuantError: the layer sums over channels of different scales.
    """
    ratios = build.ratios.get(build.source(node.input[0]))
    if ratios is None:
        return None
    if node.op_type != "Conv" or int(convert.attributes(node).get("group", 1)) != len(ratios):
        raise convert.refuse(
            build.model,
            node,
            f"its input has one scale per channel, which only a depthwise convolution can read. {_ADVICE}",
        )
    return np.repeat(ratios, outputs // len(ratios))
