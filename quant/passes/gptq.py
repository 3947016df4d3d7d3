"""GPTQ: round weights column by column, and let the columns not yet rounded make up for each error.

For one output channel the error of rounding w to q is (w - q) H (w - q)^T with H = sum x x^T over calibration columns.
With U the upper Cholesky factor of H^-1, rounding column i with error e = (w_i - q_i) / U_ii is repaired best by
w_j -= e U_ij for all j > i (Frantar et al., arXiv 2210.17323). Grouped and depthwise convolutions have one H a group.
"""

from __future__ import annotations

import torch
from torch import Tensor

from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph, Quant
from quant.layerwise import Layer, Setting, walk
from quant.rounding import encode
from quant.simulate import round_weights

#: Share of the mean diagonal added to H, so that it can be inverted.
DAMPING = 0.01
#: Columns between two updates of all later columns.
BLOCK = 64


def gptq(quantised: Graph, original: Graph, inputs: Array) -> Graph:
    """Round every layer's weights by GPTQ; scales and biases stay.

    Args:
        quantised: laid out from `original`.
        original: the prepared float graph.
        inputs: calibration inputs, float32 [N, ...].
    """

    def visit(layer: Layer) -> Setting:
        weight = gptq_values(layer.with_fixed_bias, layer.quant, torch.from_numpy(layer.weight))
        return Setting(codes_of(layer, layer.quant, weight), layer.quant, layer.current_bias)

    return walk(quantised, original, inputs, visit)


def grouped(layer: Layer, weight: Tensor) -> Tensor:
    """Reshape weights [O, ...] to [G, O/G, K], as moments count them."""
    return weight.reshape(layer.groups, weight.shape[0] // layer.groups, -1)


def grouped_scale(layer: Layer, quant: Quant) -> Tensor:
    """Return the scales of a layer's weights as float64 [G, O/G, 1]."""
    scale = torch.tensor(quant.scale, dtype=torch.float64).expand(len(layer.weight))
    return scale.reshape(layer.groups, -1, 1)


def codes_of(layer: Layer, quant: Quant, values: Tensor) -> Array:
    """Turn weights in units of their scale, [G, O/G, K] and on the grid already, into codes shaped as the weight."""
    return encode(quant.format, values.reshape(layer.weight.shape).numpy())


def gptq_values(layer: Layer, quant: Quant, target: Tensor) -> Tensor:
    """Return the rounded weights of a layer in units of their scale, [G, O/G, K].

    Args:
        layer: with its moments.
        quant: format and scale of the result.
        target: real weights to approximate, float64, shaped as the weight.
    """
    wanted = grouped(layer, target) / grouped_scale(layer, quant)
    hessian = damped(layer.moments.centred)
    order = hessian.diagonal(dim1=-2, dim2=-1).argsort(dim=-1, descending=True)
    rows = order[:, :, None].expand_as(hessian)
    sorted_hessian = hessian.gather(1, rows).gather(2, order[:, None, :].expand_as(hessian))
    columns = order[:, None, :].expand_as(wanted)
    rounded = _in_order(quant, wanted.gather(2, columns).clone(), inverse(sorted_hessian)[1])
    return torch.zeros_like(wanted).scatter_(2, columns, rounded)


def damped(hessian: Tensor, share: float = DAMPING) -> Tensor:
    """Add a share of the mean diagonal; inputs that are always constant count as if they had that much variance."""
    diagonal = hessian.diagonal(dim1=-2, dim2=-1)
    least = (share * diagonal.mean(-1, keepdim=True)).clamp_min(1e-12)
    return hessian + torch.diag_embed(least.expand_as(diagonal))


def inverse(hessian: Tensor) -> tuple[Tensor, Tensor]:
    """Return the inverse of a damped matrix of sums [G, K, K], and the upper Cholesky factor of that inverse.

    Sums are float32 at first: where channels differ by many octaves (equalised layers), their rounding may leave the
    matrix without a factor. It is then damped again, twice as much every time.

    Raises:
        QuantError: the matrix is not finite.
    """
    if not torch.isfinite(hessian).all():
        raise QuantError("inputs of a layer are too large to sum their products; check the calibration data's scale.")
    share = DAMPING
    while True:
        lower, failed = torch.linalg.cholesky_ex(hessian)
        if not failed.any():
            made = torch.cholesky_inverse(lower)
            upper, failed = torch.linalg.cholesky_ex(made, upper=True)
            if not failed.any():
                return made, upper
        hessian, share = damped(hessian, share), 2 * share


def _in_order(quant: Quant, weight: Tensor, upper: Tensor) -> Tensor:
    """Round the columns of [G, O/G, K] from first to last; `weight` is overwritten."""
    rounded = torch.empty_like(weight)
    count = weight.shape[-1]
    for start in range(0, count, BLOCK):
        stop = min(start + BLOCK, count)
        errors = torch.empty_like(weight[..., start:stop])
        for i in range(start, stop):
            column = round_weights(quant.format, weight[..., i]).double()
            error = (weight[..., i] - column) / upper[:, i, i, None]
            weight[..., i:stop] -= error[..., None] * upper[:, None, i, i:stop]
            rounded[..., i], errors[..., i - start] = column, error
        weight[..., stop:] -= errors @ upper[:, start:stop, stop:]
    return rounded
