"""A small convolutional network whose bit widths are chosen at run time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import conv2d, linear

from edge.errors import EdgeError
from edge.models.models import Shape
from edge.recipes.elastic_layers import SMALLEST, ActivationQuantiser, WeightQuantiser
from quant.subnet import END_BITS, WIDTHS, Subnet


@dataclass(frozen=True, slots=True)
class Unit:
    """One convolution with batch norm: output channels, kernel, stride, and whether a Relu follows."""

    channels: int
    kernel: int
    stride: int
    relu: bool = True


#: Strided for speed. Two layers have no Relu (linear bottlenecks), so that activations with a sign occur too.
UNITS = (
    Unit(8, 3, 2),
    Unit(24, 3, 2),
    Unit(16, 1, 1, relu=False),
    Unit(32, 3, 2),
    Unit(16, 1, 1, relu=False),
    Unit(48, 3, 1),
    Unit(64, 1, 1),
)
#: Smallest gamma: the folded scale is the bias's grid too, and biases are integers of 32 bits.
SMALLEST_GAMMA = 1e-3


class ElasticConv(nn.Module):  # type: ignore[misc]  # torch has no types here
    """Convolution, batch norm, perhaps Relu, and the quantisers of its weights and of its output."""

    def __init__(self, channels: int, unit: Unit, weight_widths: tuple[int, ...], output_widths: tuple[int, ...]):
        super().__init__()
        self.conv = nn.Conv2d(channels, unit.channels, unit.kernel, unit.stride, unit.kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(unit.channels)
        self.relu = unit.relu
        self.weight_quantiser = WeightQuantiser(unit.channels, weight_widths)
        self.output_quantiser = ActivationQuantiser(output_widths, signed=not unit.relu)

    def forward(
        self, x: torch.Tensor, subnet: Subnet | None, bits: tuple[int, int] = (0, 0), step: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Map [N, C, H, W] with weights of `bits[0]` and an output of `bits[1]` bits; in float without a subnet.

        `step` is the scale of x. The bias and the output are rounded as the integer network rounds them: at 2 or 3 bits
        the steps of its sums are no small thing.
        """
        if subnet is None:
            y = self.norm(conv2d(x, self.conv.weight, None, self.conv.stride, self.conv.padding))
            return torch.relu(y) if self.relu else y
        weight = quantised_weight(self.conv, self.weight_quantiser, subnet, bits[0])
        sums = conv2d(x, weight, None, self.conv.stride, self.conv.padding)
        grid = step * weight_scale(self.weight_quantiser, subnet, bits[0])
        y, source = self._normalised(sums, grid)
        y = torch.relu_(y) if self.relu else y
        return self.output_quantiser(y, bits[1], subnet.symmetric_activations, source)

    def _normalised(self, sums: torch.Tensor, grid: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Apply batch norm and round its folded bias.

        Args:
            sums: [N, C, H, W].
            grid: their step, [1] or [C].

        Returns:
            The result, and its step [C, 1, 1].
        """
        norm = self.norm
        if self.training:
            norm.num_batches_tracked += 1
        share = float(1 / norm.num_batches_tracked) if norm.momentum is None else norm.momentum
        moments = norm.running_mean, norm.running_var
        # This function, unlike the module, also gives the batch's statistics; in evaluation mode there are none.
        y, mean, inverse = torch.native_batch_norm(
            sums, norm.weight, norm.bias, *moments, self.training, share, norm.eps
        )
        with torch.no_grad():
            if not self.training:
                mean, inverse = norm.running_mean, torch.rsqrt(norm.running_var + norm.eps)
            factor = norm.weight * inverse
            error = rounding_error(norm.bias - mean * factor, grid * factor)
        return y.add_(error[:, None, None]), (grid * factor)[:, None, None]


def quantised_weight(layer: nn.Module, quantiser: WeightQuantiser, subnet: Subnet, bits: int) -> torch.Tensor:
    """Return a layer's weights as a subnet has them."""
    return quantiser(layer.weight, bits, symmetric=subnet.symmetric_weights, per_channel=subnet.per_channel)


def weight_scale(quantiser: WeightQuantiser, subnet: Subnet, bits: int) -> torch.Tensor:
    """Return the scales of a layer's weights, [1] or [channels], without gradients."""
    scale, _ = quantiser.entry(bits, symmetric=subnet.symmetric_weights, per_channel=subnet.per_channel)
    return scale.detach()


def rounding_error(bias: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Return what must be added to a bias to make it a whole number of `grid`, without gradients."""
    bias = bias.detach()
    return torch.round(bias / grid) * grid - bias


class ElasticNet(nn.Module):  # type: ignore[misc]
    """Convolutions, mean over the image, fully connected layer.

    `subnet` says what `forward` computes: a subnet, or the float network when it is None. The first convolution, the
    fully connected layer and their inputs always have 8 bits.
    """

    def __init__(self, shape: Shape, classes: int, units: tuple[Unit, ...] = UNITS):
        super().__init__()
        if len(units) < 3:
            raise EdgeError(f"an elastic network needs at least three convolutions, not {len(units)}.")
        self.units, self.shape = units, shape
        self.subnet: Subnet | None = None
        ends, last = (END_BITS,), len(units) - 1
        channels = (shape[0], *(unit.channels for unit in units))
        self.convs = nn.ModuleList(
            ElasticConv(channels[k], unit, ends if k == 0 else WIDTHS, ends if k == last else WIDTHS)
            for k, unit in enumerate(units)
        )
        self.fc = nn.Linear(channels[-1], classes)
        self.fc_quantiser = WeightQuantiser(classes, ends)
        self.input_quantiser = ActivationQuantiser(ends, signed=True)
        self.mean_quantiser = ActivationQuantiser(ends, signed=not units[-1].relu)
        self.logits_quantiser = ActivationQuantiser(ends, signed=True)

    @property
    def layers(self) -> int:
        """Number of elastic layers: every convolution but the first."""
        return len(self.units) - 1

    def bits(self, subnet: Subnet) -> tuple[tuple[int, int], ...]:
        """Return bits of weights and output of every convolution."""
        weights, outputs = (END_BITS, *subnet.weight_bits), (*subnet.activation_bits, END_BITS)
        return tuple(zip(weights, outputs, strict=True))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map [N, C, H, W] to logits [N, classes]."""
        subnet = self.subnet
        if subnet is None:
            return self._float(x)
        symmetric = subnet.symmetric_activations
        x = self.input_quantiser(x, END_BITS, symmetric)
        step = self.input_quantiser.step(END_BITS, symmetric)
        for conv, bits in zip(self.convs, self.bits(subnet), strict=True):
            x = conv(x, subnet, bits, step)
            step = conv.output_quantiser.step(bits[1], symmetric)
        # The sum, not the mean, is rounded: its step is that of x divided by the power of two in the count.
        count = x[0, 0].numel()
        x = self.mean_quantiser(x.mean((2, 3)), END_BITS, symmetric, step / (1 << (count.bit_length() - 1)))
        grid = self.mean_quantiser.step(END_BITS, symmetric) * weight_scale(self.fc_quantiser, subnet, END_BITS)
        weight = quantised_weight(self.fc, self.fc_quantiser, subnet, END_BITS)
        logits = linear(x, weight, self.fc.bias + rounding_error(self.fc.bias, grid))
        return self.logits_quantiser(logits, END_BITS, symmetric, grid)

    def _float(self, x: torch.Tensor) -> torch.Tensor:
        for conv in self.convs:
            x = conv(x, None)
        return self.fc(x.mean((2, 3)))

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def initialise(self, x: torch.Tensor) -> None:
        """Make every gamma positive and search the first scales on a batch [N, C, H, W] that runs in float.

        A channel whose gamma is negative computes the same when weights, mean and gamma change sign. With positive
        gammas batch norm folds into the scales and leaves the codes alone.
        """
        for conv in self.convs:
            sign = torch.where(conv.norm.weight < 0, -1.0, 1.0)
            conv.conv.weight *= sign[:, None, None, None]
            conv.norm.weight *= sign
            conv.norm.running_mean *= sign
            conv.weight_quantiser.initialise(conv.conv.weight)
        self.fc_quantiser.initialise(self.fc.weight)
        for quantiser, tensor in self._float_tensors(x):
            quantiser.initialise(_sample(tensor))

    def _float_tensors(self, x: torch.Tensor) -> Iterator[tuple[ActivationQuantiser, torch.Tensor]]:
        with running(self, None):
            yield self.input_quantiser, x
            for conv in self.convs:
                x = conv(x, None)
                yield conv.output_quantiser, x
            x = x.mean((2, 3))
            yield self.mean_quantiser, x
            yield self.logits_quantiser, self.fc(x)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def project(self) -> None:
        """Keep scales and gammas above 0, after an optimiser's step."""
        for name, parameter in self.named_parameters():
            if ".scale_" in name:
                parameter.clamp_(min=SMALLEST)
            elif name.endswith("norm.weight"):
                parameter.clamp_(min=SMALLEST_GAMMA)


def _sample(x: torch.Tensor, count: int = 20000) -> torch.Tensor:
    """Return `count` evenly spaced values of a tensor."""
    flat = x.reshape(-1)
    return flat[:: max(1, len(flat) // count)]


@contextmanager
def running(net: ElasticNet, subnet: Subnet | None, *, training: bool = False) -> Iterator[ElasticNet]:
    """Let the network be a subnet (or the float network) inside the block, in training or evaluation mode."""
    before = net.subnet, net.training
    net.subnet = subnet
    net.train(training)
    try:
        yield net
    finally:
        net.subnet = before[0]
        net.train(before[1])
