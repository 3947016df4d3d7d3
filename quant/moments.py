"""What a layer's inputs look like: second moments and means of the columns its weights are multiplied with.

A layer's output error is a quadratic form of its weight error: with columns x (a window of the input, flattened) and
H = sum x x^T, the squared error of rounding W to Q is tr((W - Q) H (W - Q)^T). When the inputs are quantised too, the
float layer sees x + d where the quantised one sees x; sum d x^T says how far weights can make up for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from quant.graph import Node
from quant.operators import Conv

#: Columns per layer are thinned to this many times its inputs per output, within the two limits.
COLUMNS_PER_INPUT, LEAST_COLUMNS, MOST_COLUMNS = 16, 1024, 16384


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

    @property
    def about_zero(self) -> Moments:
        """The same sums with means of zero: where the bias stays, the weights answer for the mean error too."""
        return replace(self, mean=torch.zeros_like(self.mean), shift=torch.zeros_like(self.shift))


def moments(
    node: Node, kernel: tuple[int, int], pairs: Iterable[tuple[Tensor, Tensor]], total: int, *, second: bool = True
) -> Moments:
    """Collect the moments of a Conv's or Gemm's inputs.

    Args:
        node: the layer.
        kernel: height and width of its kernel; (1, 1) for Gemm.
        pairs: batches of (quantised input, float input), both real values [N, C, H, W] or [N, I].
        total: images in all batches; decides how far columns are thinned.
        second: whether to collect `square` and `cross` too; they are empty otherwise.
    """
    chooser = torch.Generator().manual_seed(0)
    groups = node.op.groups if isinstance(node.op, Conv) else 1
    sums: list[Tensor] = []
    count = 0
    for x, exact in pairs:
        windows, wanted = _windows(node, kernel, x, exact, total, chooser)
        delta = wanted - windows
        parts = [_by_group(t.sum((0, 1), keepdim=True), groups)[..., 0] for t in (windows, delta)]
        if second:
            columns = _by_group(windows, groups)
            parts += [columns @ columns.mT, _by_group(delta, groups) @ columns.mT]
        sums = [a + b.double() for a, b in zip(sums or [0.0] * len(parts), parts, strict=True)]
        count += windows.shape[0] * windows.shape[1]
    mean, shift, square, cross = (*sums, torch.empty(0), torch.empty(0))[:4]
    return Moments(count, square, mean / count, cross, shift / count)


def _windows(
    node: Node, kernel: tuple[int, int], x: Tensor, exact: Tensor, total: int, chooser: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return the same windows of both inputs of a batch, each [N, windows, kh*kw, C], float32."""
    if not isinstance(node.op, Conv):
        return x[:, None, None], exact[:, None, None]
    inputs_per_output = x.shape[1] // node.op.groups * kernel[0] * kernel[1]
    wanted = min(max(COLUMNS_PER_INPUT * inputs_per_output, LEAST_COLUMNS), MOST_COLUMNS)
    places, inside = _places(node.op, kernel, x.shape[2:], max(1, wanted // total), chooser)
    # Channels last, as simulated activations lie in memory: a place then is one run of C values.
    first, second = (t.permute(0, 2, 3, 1).flatten(1, 2)[:, places] for t in (x, exact))
    return first * inside[:, :, None], second * inside[:, :, None]


def _by_group(windows: Tensor, groups: int) -> Tensor:
    """Turn windows [N, windows, kh*kw, C] into columns [G, C/G*kh*kw, N*windows]."""
    return windows.unflatten(-1, (groups, -1)).permute(3, 4, 2, 0, 1).flatten(3).flatten(1, 2)


def _places(
    op: Conv, kernel: tuple[int, int], size: torch.Size, count: int, chooser: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Draw at most `count` windows: flat indices into an image, [windows, kh*kw], and 0 where they lie in the pad."""
    top, left, bottom, right = op.pads
    padded = (size[0] + top + bottom, size[1] + left + right)
    sizes = [
        (n - (k - 1) * d - 1) // s + 1 for n, k, d, s in zip(padded, kernel, op.dilations, op.strides, strict=True)
    ]
    picked = torch.randperm(sizes[0] * sizes[1], generator=chooser)[:count]
    row = (picked // sizes[1] * op.strides[0] - top)[:, None] + torch.arange(kernel[0]) * op.dilations[0]
    column = (picked % sizes[1] * op.strides[1] - left)[:, None] + torch.arange(kernel[1]) * op.dilations[1]
    inside = ((row >= 0) & (row < size[0]))[:, :, None] & ((column >= 0) & (column < size[1]))[:, None, :]
    flat = row.clamp(0, size[0] - 1)[:, :, None] * size[1] + column.clamp(0, size[1] - 1)[:, None, :]
    return flat.flatten(1), inside.flatten(1).float()
