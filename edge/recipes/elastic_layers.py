"""Quantisers of an elastic network: learnt scales and offsets for every width, symmetry and granularity (LSQ+).

The network's weights are shared; what a subnet has for itself is one entry in each of these tables (EQ-Net, ICCV 2023).

    code  = clamp(round(x / s) + z, low, high),  z = clamp(round(-offset / s), low, high)
    value = s * (code - z)

The zero point is whole and inside the range, so that zero is a value (padding is zero) and the quantised graph can say
the same. EQ-Net keeps a real offset instead. Gradients are those of LSQ+ (arXiv 2004.09576): inside the range 1 for x
and round(x / s) - x / s for s; outside the clipped code for s and 1 for the offset.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from quant.elastic import code_range
from quant.subnet import WIDTHS

#: Exponent of the error that the first scales minimise.
LOSS_POWER = 2.4
#: Clips tried for the first scales: 1, 0.99, ... of the largest value.
CLIPS = 80
#: Smallest scale; training may not push one to 0.
SMALLEST = 1e-5


class _Fake(torch.autograd.Function):  # type: ignore[misc]  # torch has no types here
    """Round to codes and back; the gradients of LSQ+, those of scale and offset times `pace`."""

    @staticmethod
    def forward(ctx: Any, x: Any, scale: Any, offset: Any, low: int, high: int, pace: float, fine: Any) -> Any:
        # In place wherever that is safe: on a small network these passes over memory are most of the time.
        steps = x / scale
        whole = torch.round(steps) if fine is None else round_twice(steps, fine)
        zero = zero_point(scale, offset, low, high)
        slope = whole - steps
        codes = whole.add_(zero)
        kept = codes.clamp(low, high)
        inside = (codes == kept).to(x.dtype)
        ctx.save_for_backward(inside, torch.lerp(kept, slope, inside))
        ctx.pace, ctx.shapes = pace, (scale.shape, offset.shape)
        return kept.sub_(zero).mul_(scale)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        inside, slope = ctx.saved_tensors
        through = gradient * inside
        scale = _summed(gradient * slope, ctx.shapes[0]) * ctx.pace
        offset = _summed(gradient - through, ctx.shapes[1]) * ctx.pace if ctx.needs_input_grad[2] else None
        return through, scale, offset, None, None, None, None


def _summed(values: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """Sum over everything a scale is shared by."""
    return values.sum() if not shape else values.reshape(len(values), -1).sum(1).reshape(shape)


def round_twice(steps: torch.Tensor, fine: torch.Tensor) -> torch.Tensor:
    """Round as the integer network does: to whole numbers of `fine`, halves up, then to whole numbers, halves away.

    This is `quant.fixedpoint.multiply_q31` in float. Where sums are small, as they are at 2 or 3 bits, its first
    rounding is felt, and its second one meets many ties.
    """
    once = (steps / fine).add_(0.5).floor_().mul_(fine)
    return torch.sign(once).mul_(once.abs_().add_(0.5).floor_())


def fine_step(multiplier: torch.Tensor) -> torch.Tensor:
    """Return the step of the first rounding for requantisation multipliers m = f * 2^e, 0.5 <= f < 1: 2^min(e, 0)."""
    _, exponent = torch.frexp(multiplier)
    return torch.ldexp(torch.ones_like(multiplier), exponent.clamp(max=0))


def zero_point(scale: torch.Tensor, offset: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Return the whole code of zero."""
    return torch.round(-offset / scale).clamp(low, high)


class ActivationQuantiser(nn.Module):  # type: ignore[misc]
    """One tensor's tables: a scale per width (symmetric), and a scale and an offset per width (asymmetric).

    `signed` is False for tensors that cannot be negative (behind a Relu): their codes start at 0.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS, *, signed: bool):
        super().__init__()
        self.widths, self.signed = widths, signed
        self.scale_sym = nn.Parameter(torch.ones(len(widths)))
        self.scale_asym = nn.Parameter(torch.ones(len(widths)))
        self.offset = nn.Parameter(torch.zeros(len(widths)))

    def forward(self, x: torch.Tensor, bits: int, symmetric: bool, source: torch.Tensor | None = None) -> torch.Tensor:
        """Quantise [N, ...] with the entry of `bits`.

        `source` is the step of the sums that x stands for, one number or one per channel; None for a network's input.
        """
        low, high = code_range(bits, signed=self.signed, weights=False)
        k, pace = self.widths.index(bits), _pace(x[0].numel(), high)
        fine = None if source is None else fine_step(source / self.step(bits, symmetric))
        if symmetric:
            return _Fake.apply(x, self.scale_sym[k], torch.zeros(()), low, high, pace, fine)
        return _Fake.apply(x, self.scale_asym[k], self.offset[k], low, high, pace, fine)

    def step(self, bits: int, symmetric: bool) -> torch.Tensor:
        """Return the scale of a width, without gradients."""
        return (self.scale_sym if symmetric else self.scale_asym)[self.widths.index(bits)].detach()

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def initialise(self, x: torch.Tensor) -> None:
        """Search the clips that quantise a sample of values best."""
        flat = x.reshape(1, -1)
        for k, bits in enumerate(self.widths):
            limits = code_range(bits, signed=self.signed, weights=False)
            self.scale_sym[k], _ = (value[0] for value in best_clip(flat, *limits, symmetric=True))
            self.scale_asym[k], self.offset[k] = (value[0] for value in best_clip(flat, *limits, symmetric=False))


class WeightQuantiser(nn.Module):  # type: ignore[misc]
    """One layer's tables, for the whole layer and for its `channels` output channels."""

    def __init__(self, channels: int, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        self.widths = widths
        for suffix, rows in (("layer", 1), ("channel", channels)):
            for name, start in (("scale_sym", 1.0), ("scale_asym", 1.0), ("offset", 0.0)):
                setattr(self, f"{name}_{suffix}", nn.Parameter(torch.full((rows, len(widths)), start)))

    def forward(self, weight: torch.Tensor, bits: int, *, symmetric: bool, per_channel: bool) -> torch.Tensor:
        """Quantise [O, ...] with the entry of `bits`."""
        scale, offset = self.entry(bits, symmetric=symmetric, per_channel=per_channel)
        low, high = code_range(bits, signed=True, weights=True)
        shape = (-1, *(1 for _ in weight.shape[1:])) if per_channel else ()
        pace = _pace(weight[0].numel() if per_channel else weight.numel(), high) * (2 if per_channel else 1)
        return _Fake.apply(weight, scale.reshape(shape), offset.reshape(shape), low, high, pace, None)

    def entry(self, bits: int, *, symmetric: bool, per_channel: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Return scale and offset of a width, [1] or [channels]; a symmetric offset is 0."""
        k, suffix = self.widths.index(bits), "channel" if per_channel else "layer"
        scale = getattr(self, f"scale_{'sym' if symmetric else 'asym'}_{suffix}")[:, k]
        return scale, torch.zeros_like(scale) if symmetric else getattr(self, f"offset_{suffix}")[:, k]

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def initialise(self, weight: torch.Tensor) -> None:
        """Search the clips that quantise the weights best."""
        for suffix, rows in (("layer", weight.reshape(1, -1)), ("channel", weight.flatten(1))):
            for k, bits in enumerate(self.widths):
                limits = code_range(bits, signed=True, weights=True)
                getattr(self, f"scale_sym_{suffix}")[:, k], _ = best_clip(rows, *limits, symmetric=True)
                scale, offset = best_clip(rows, *limits, symmetric=False)
                getattr(self, f"scale_asym_{suffix}")[:, k], getattr(self, f"offset_{suffix}")[:, k] = scale, offset


def _pace(count: int, high: int) -> float:
    """Return LSQ's gradient scale 1 / sqrt(count * high)."""
    return float((count * high) ** -0.5)


def best_clip(rows: torch.Tensor, low: int, high: int, *, symmetric: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return for each row of [R, M] the scale and offset whose mean |error|^2.4 is least, among CLIPS shrunk ranges."""
    top = rows.abs().amax(1).clamp(min=SMALLEST)
    least, most = rows.amin(1).clamp(max=0), torch.maximum(rows.amax(1), SMALLEST + rows.amin(1).clamp(max=0))
    best = torch.full((len(rows),), torch.inf)
    scale, offset = torch.ones(len(rows)), torch.zeros(len(rows))
    for index in range(CLIPS):
        clip = 1 - 0.01 * index
        tried = top * clip / high if symmetric else (most - least) * clip / (high - low)
        shift = torch.zeros_like(tried) if symmetric else least * clip - low * tried
        tried = tried.clamp(min=SMALLEST)
        columns = tried[:, None], shift[:, None]
        zero = zero_point(*columns, low, high)
        error = ((torch.round(rows / columns[0]) + zero).clamp(low, high) - zero) * columns[0] - rows
        loss = error.abs().pow(LOSS_POWER).mean(1)
        better = loss < best
        best, scale, offset = (torch.where(better, *pair) for pair in ((loss, best), (tried, scale), (shift, offset)))
    return scale, offset
