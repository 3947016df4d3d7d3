"""Binary convolutions for training: weights by a periodic function (BiPer, CVPR 2024) or by their plain sign.

The latent weight w is a float. What the convolution multiplies with depends on the layer's `rule`:

    sine        sin(omega w), a float: BiPer's first stage
    sine-sign   sign(sin(omega w)), straight through sign, so the gradient is omega cos(omega w): its second stage
    sign        sign(w), straight through where |w| <= 1: the plain baseline

omega is the layer's frequency. It sets how much of a period the initial weights span: the smaller, the more evenly
all of them learn; the larger, the closer the sines are to signs.

sign(0) is +1 everywhere. Activations are binarised by their sign with the gradient max(2 - |2a|, 0).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.nn import functional

#: The frequency BiPer was published with.
OMEGA = 20.0
SINE, SINE_SIGN, SIGN = "sine", "sine-sign", "sign"
RULES = (SINE, SINE_SIGN, SIGN)
_EPSILON = 1e-5


class BinaryConv2d(nn.Module):  # type: ignore[misc]  # torch has no types here
    """alpha[c] * conv(sign(a), b(w)), without bias; zero padding adds nothing to a sum.

    `weight` is [out, in, kernel, kernel]; `alpha` is learned, one per output channel, from U(0, 1).
    """

    def __init__(self, channels: int, out: int, kernel: int, stride: int, padding: int, rule: str, omega: float):
        super().__init__()
        self.weight = nn.Conv2d(channels, out, kernel, bias=False).weight
        self.alpha = nn.Parameter(torch.rand(out))
        self.stride, self.padding, self.rule, self.omega = stride, padding, rule, omega

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, in, H, W] to [N, out, H', W']."""
        if self.training:  # moves the window of the gradient over each image's own spread; the sign stays
            x = x * torch.rsqrt(_variance(x) + _EPSILON)
        return self.sums(_WindowedSign.apply(x)) * self.alpha.view(1, -1, 1, 1)

    def sums(self, signs: torch.Tensor) -> torch.Tensor:
        """Convolve +1 and -1 (and zeros around them) with the weights: whole numbers unless the rule is `sine`."""
        return functional.conv2d(signs, self.binary_weight(), None, self.stride, self.padding)

    def binary_weight(self) -> torch.Tensor:
        """Return what the rule makes of the latent weights, same shape."""
        if self.rule == SIGN:
            return _ClippedSign.apply(self.weight)
        return self.sines() if self.rule == SINE else _StraightSign.apply(self.sines())

    def sines(self) -> torch.Tensor:
        """Return sin(omega w), same shape as the latent weights, with gradients."""
        return torch.sin(self.omega * self.weight)


def binary_layers(module: Any) -> Iterator[tuple[str, BinaryConv2d]]:
    """Yield the binary convolutions of a module with their names, in order."""
    for name, layer in module.named_modules():
        if isinstance(layer, BinaryConv2d):
            yield name, layer


def signs_of(x: torch.Tensor) -> torch.Tensor:
    """Return +1 where x >= 0 and -1 elsewhere. torch.sign would make a third value of 0."""
    return (x >= 0).to(x.dtype).mul_(2).sub_(1)  # three times as fast as torch.where on a CPU


def _variance(x: torch.Tensor) -> torch.Tensor:
    """Return the variance of every image, [N, 1, 1, 1]; by moments, twenty times as fast as torch.var on a CPU."""
    flat = x.flatten(1)
    return (flat.square().mean(1) - flat.mean(1).square()).clamp(min=0).view(-1, 1, 1, 1)


class _WindowedSign(torch.autograd.Function):  # type: ignore[misc]
    """Sign of an activation; the gradient is the derivative of a piecewise quadratic that resembles the step."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(x)
        return signs_of(x)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = context.saved_tensors
        return x.abs().mul_(-2).add_(2).clamp_(min=0).mul_(gradient)


class _StraightSign(torch.autograd.Function):  # type: ignore[misc]
    """Sign, with the gradient of the identity."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        return signs_of(x)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient


class _ClippedSign(torch.autograd.Function):  # type: ignore[misc]
    """Sign, with the gradient of a clip to [-1, 1]."""

    @staticmethod
    def forward(context: Any, x: torch.Tensor) -> torch.Tensor:
        context.save_for_backward(x)
        return signs_of(x)

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        (x,) = context.saved_tensors
        return gradient * (x.abs() <= 1)
