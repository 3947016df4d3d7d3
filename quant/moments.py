"""What a layer's inputs look like: second moments and means of the columns its weights are multiplied with.

A layer's output error is a quadratic form of its weight error: with columns x (a window of the input, flattened) and
H = sum x x^T, the squared error of rounding W to Q is tr((W - Q) H (W - Q)^T). When the inputs are quantised too, the
float layer sees x + d where the quantised one sees x; sum d x^T says how far weights can make up for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from quant.graph import Node
from quant.operators import Conv

#: Columns per layer are thinned to this many times its inputs per output, within the two limits.
COLUMNS_PER_INPUT, LEAST_COLUMNS, MOST_COLUMNS = 16, 4096, 16384


@dataclass(frozen=True, eq=False)
class Moments:
    """Sums over `count` columns of a layer with G groups of K inputs; float64.

    `square` [G, K, K] is sum x x^T and `mean` [G, K] the mean of x, both of the inputs the quantised layer gets.
    `cross` [G, K, K] is sum d x^T and `shift` [G, K] the mean of d, where d is float input minus quantised input.
    """

    count: int
    square: Tensor
    mean: Tensor
    cross: Tensor
    shift: Tensor

    @property
    def centred(self) -> Tensor:
        """Sum (x - mean)(x - mean)^T: what is left of `square` when the bias takes up the mean error."""
        return self.square - self.count * self.mean[:, :, None] * self.mean[:, None, :]

    @property
    def centred_cross(self) -> Tensor:
        """Sum (d - shift)(x - mean)^T."""
        return self.cross - self.count * self.shift[:, :, None] * self.mean[:, None, :]


def moments(node: Node, kernel: tuple[int, int], pairs: Iterable[tuple[Tensor, Tensor]], total: int) -> Moments:
    """Collect the moments of a Conv's or Gemm's inputs.

    Args:
        node: the layer.
        kernel: height and width of its kernel; (1, 1) for Gemm.
        pairs: batches of (quantised input, float input), both real values [N, C, H, W] or [N, I].
        total: images in all batches; decides how far columns are thinned.
    """
    chooser = torch.Generator().manual_seed(0)
    sums: list[Tensor] = []
    count = 0
    for x, exact in pairs:
        columns, wanted = _columns(node, kernel, x, exact, total, chooser)
        delta = wanted - columns
        parts = (columns @ columns.mT, columns.sum(-1), delta @ columns.mT, delta.sum(-1))
        sums = [a + b.double() for a, b in zip(sums or (0.0, 0.0, 0.0, 0.0), parts, strict=True)]
        count += columns.shape[-1]
    square, mean, cross, shift = sums
    return Moments(count, square, mean / count, cross, shift / count)


def _columns(
    node: Node, kernel: tuple[int, int], x: Tensor, exact: Tensor, total: int, chooser: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the same columns of both inputs of a batch, each [G, K, columns], float32."""
    if not isinstance(node.op, Conv):
        return x.mT.unsqueeze(0), exact.mT.unsqueeze(0)
    top, left, bottom, right = node.op.pads
    height, width = x.shape[2] + top + bottom, x.shape[3] + left + right
    inputs_per_output = x.shape[1] // node.op.groups * kernel[0] * kernel[1]
    wanted = min(max(COLUMNS_PER_INPUT * inputs_per_output, LEAST_COLUMNS), MOST_COLUMNS)
    places = _places(node.op, kernel, (height, width), max(1, wanted // total), chooser)
    return tuple(  # type: ignore[return-value]
        functional.pad(t, (left, right, top, bottom))
        .flatten(2)[:, :, places]
        .unflatten(1, (node.op.groups, -1))
        .permute(1, 2, 4, 0, 3)
        .reshape(node.op.groups, inputs_per_output, -1)
        for t in (x, exact)
    )


def _places(op: Conv, kernel: tuple[int, int], padded: tuple[int, int], count: int, chooser: torch.Generator) -> Tensor:
    """Return flat indices into a padded image, [windows, kh*kw], of at most `count` windows drawn at random."""
    sizes = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(padded, kernel, op.dilations, op.strides, strict=True)
    ]
    picked = torch.randperm(sizes[0] * sizes[1], generator=chooser)[:count]
    row = (picked // sizes[1] * op.strides[0])[:, None] + torch.arange(kernel[0]) * op.dilations[0]
    column = (picked % sizes[1] * op.strides[1])[:, None] + torch.arange(kernel[1]) * op.dilations[1]
    return (row[:, :, None] * padded[1] + column[:, None, :]).flatten(1)
