"""Give every tensor of a quantised graph scales that are powers of two: requantisation is then a shift.

Tools that know fixed point only (hls4ml, da4ml) need such scales. What it costs is up to one bit: scales of activations
grow by 1 to 2, so that nothing saturates that did not before, and weights are rounded once more.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph, Quant, Tensor, check
from quant.onnx_quant import bias_units, quantise_bias
from quant.operators import Conv, Gemm
from quant.program import lower
from quant.rounding import to_nearest_ordinals


def power_of_two_scales(graph: Graph) -> Graph:
    """Return a quantised graph all of whose scales are powers of two; one that has such scales is unchanged.

    Raises:
        QuantError: the graph is not quantised, or a zero point lies outside its format at the larger scale.
    """
    if not graph.is_quantised:
        raise QuantError(f"graph '{graph.name}' is a float graph; quantise it first.")
    tensors, weights = dict(graph.tensors), dict(graph.weights)
    for name, tensor in graph.tensors.items():
        if tensor.quant is not None:
            tensors[name] = Tensor(tensor.shape, _rounded(tensor.quant))
    for node in graph.nodes:
        if not isinstance(node.op, Conv | Gemm):
            continue
        x, weight, bias = node.inputs
        old, source = graph.quant(weight), tensors[x].quant
        assert source is not None
        weights[weight], new = _weight(graph.weights[weight], old)
        tensors[weight] = Tensor(graph.shape(weight), new)
        real = graph.weights[bias].astype(np.float64) * bias_units(graph.quant(x), old)
        weights[bias] = quantise_bias(real, source, new)
    made = check(replace(graph, tensors=tensors, weights=weights))
    lower(made)
    return made


def has_powers_of_two(quant: Quant) -> bool:
    """Whether every scale is a power of two."""
    return all(math.frexp(scale)[0] == 0.5 for scale in quant.scale)


def _rounded(quant: Quant) -> Quant:
    """Round scales up; the zero point keeps the lowest real value, to the nearest code."""
    scale = tuple(math.ldexp(1.0, _exponent(value)) for value in quant.scale)
    if quant.zero == 0:
        return replace(quant, scale=scale)
    low = quant.format.min_ordinal
    zero = low + round((quant.zero - low) * quant.scale[0] / scale[0])
    return replace(quant, scale=scale, zero=zero)


def _exponent(scale: float) -> int:
    """Return the smallest e with 2^e >= scale."""
    fraction, exponent = math.frexp(scale)
    return exponent - 1 if fraction == 0.5 else exponent


def _weight(codes: Array, old: Quant) -> tuple[Array, Quant]:
    """Return weights with scales rounded up or down, whichever changes their values less, for each scale."""
    real = old.format.decode(codes) * np.array(old.scale).reshape(-1, *(1 for _ in codes.shape[1:]))
    rows = real.reshape(len(old.scale), -1)
    scales = np.ldexp(1.0, [[_exponent(scale) - less for less in (0, 1)] for scale in old.scale])
    ordinals = [to_nearest_ordinals(old.format, rows / column[:, None]) for column in scales.T]
    units = [old.format.decode(old.format.from_ordinals(found)) for found in ordinals]
    errors = [np.square(u * c[:, None] - rows).sum(axis=1) for u, c in zip(units, scales.T, strict=True)]
    down = errors[1] < errors[0]
    chosen = old.format.from_ordinals(np.where(down[:, None], ordinals[1], ordinals[0]))
    scale = np.where(down, scales[:, 1], scales[:, 0])
    return chosen.reshape(codes.shape), replace(old, scale=tuple(scale.tolist()))
