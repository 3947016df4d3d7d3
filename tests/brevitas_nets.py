"""Small networks on Brevitas' quantised layers, as its users write and export them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from quant.formats import Array

with warnings.catch_warnings():
    # Brevitas warns of its own deprecated parts.
    warnings.simplefilter("ignore")
    import brevitas.nn as qnn
    from brevitas.export import export_onnx_qcdq, export_qonnx
    from brevitas.quant.float_quant_ocp import Fp8e4m3OCPActPerTensorFloat, Fp8e4m3OCPWeightPerTensorFloat
    from brevitas.quant.scaled_int import (
        Int8ActPerTensorFloat,
        Int8WeightPerChannelFloat,
        Int8WeightPerTensorFloat,
        Int32Bias,
        Uint8ActPerTensorFloat,
    )
    from brevitas.quant.shifted_scaled_int import ShiftedUint8ActPerTensorFloat

SHAPE = (1, 3, 12, 12)


@dataclass(frozen=True)
class Recipe:
    """How a network is quantised. `bias`: None for float, or Brevitas' quantiser."""

    weight: Any = Int8WeightPerChannelFloat
    signed: Any = Int8ActPerTensorFloat
    unsigned: Any = Uint8ActPerTensorFloat
    bias: Any = None
    norm: bool = False
    output: bool = True


def integers(weight: int, act: int, **more: Any) -> Recipe:
    """Integers of so many bits, per-channel weights."""
    return Recipe(
        Int8WeightPerChannelFloat.let(bit_width=weight),
        Int8ActPerTensorFloat.let(bit_width=act),
        Uint8ActPerTensorFloat.let(bit_width=act),
        **more,
    )


def minifloats(exponent: int, mantissa: int, **more: Any) -> Recipe:
    """One OCP minifloat for weights and activations, per-tensor scales."""
    bits = {
        "bit_width": 1 + exponent + mantissa,
        "exponent_bit_width": exponent,
        "mantissa_bit_width": mantissa,
    }
    act = Fp8e4m3OCPActPerTensorFloat.let(**bits)
    return Recipe(Fp8e4m3OCPWeightPerTensorFloat.let(**bits), act, act, **more)


RECIPES = {
    "w8a8, int32 bias": Recipe(bias=Int32Bias),
    "w8a8, float bias": Recipe(),
    "w8a8 per tensor": Recipe(weight=Int8WeightPerTensorFloat),
    "w8a8 asymmetric": Recipe(signed=ShiftedUint8ActPerTensorFloat),
    "w8a8, batch norm": Recipe(norm=True),
    "w8a8, float output": Recipe(output=False),
    "w4a8": integers(4, 8),
    "w3a5": integers(3, 5),
    "w2a4": integers(2, 4),
}


class Net(nn.Module):
    """Conv, depthwise conv, residual add, max pool, pointwise conv, global mean, fully connected."""

    def __init__(self, recipe: Recipe):
        super().__init__()
        layer = {"weight_quant": recipe.weight, "bias_quant": recipe.bias, "bias": True}
        relu = {"act_quant": recipe.unsigned, "return_quant_tensor": True}
        same = {"act_quant": recipe.signed, "return_quant_tensor": True}
        self.input = qnn.QuantIdentity(**same)
        self.stem = qnn.QuantConv2d(3, 8, 3, padding=1, **layer)
        self.norm = nn.BatchNorm2d(8) if recipe.norm else nn.Identity()
        self.relu1 = qnn.QuantReLU(**relu)
        self.depthwise = qnn.QuantConv2d(8, 8, 3, padding=1, groups=8, **layer)
        # Both addends on one grid, as Brevitas asks for.
        self.addend = qnn.QuantIdentity(**same)
        self.relu2 = qnn.QuantReLU(**relu)
        self.maxpool = nn.MaxPool2d(2)
        self.pointwise = qnn.QuantConv2d(8, 12, 1, **layer)
        self.relu3 = qnn.QuantReLU(**relu)
        self.mean = nn.AdaptiveAvgPool2d(1)
        self.pooled = qnn.QuantIdentity(**same)
        self.fc = qnn.QuantLinear(12, 10, **layer)
        self.output = qnn.QuantIdentity(act_quant=recipe.signed) if recipe.output else nn.Identity()

    def forward(self, x: torch.Tensor) -> Any:
        """Return the logits."""
        x = self.relu1(self.norm(self.stem(self.input(x))))
        x = self.relu2(self.addend(x) + self.addend(self.depthwise(x)))
        x = self.relu3(self.pointwise(self.maxpool(x)))
        x = self.pooled(self.mean(getattr(x, "value", x)))
        return self.output(self.fc(x.flatten(1)))


def trained(recipe: Recipe, seed: int = 0) -> Net:
    """Return a network with random weights and calibrated ranges, in evaluation mode."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    net = Net(recipe)
    with torch.no_grad():
        for layer in net.modules():
            if isinstance(layer, nn.BatchNorm2d):
                # A negative factor turns codes.
                layer.weight.uniform_(-2, 2)
                layer.bias.uniform_(-0.5, 0.5)
        net.train()
        for round_ in range(4):
            y = net(samples(32, round_))
            # No class may win on every input.
            net.fc.bias -= (y.value if hasattr(y, "value") else y).mean(dim=0)
    return net.eval()


def samples(count: int, seed: int) -> torch.Tensor:
    """Random images, each with its own mean per channel."""
    noise = torch.Generator().manual_seed(seed)
    return torch.randn(count, *SHAPE[1:], generator=noise) + 2 * torch.randn(count, 3, 1, 1, generator=noise)


def outputs(net: Net, x: Array) -> Array:
    """Return Brevitas' own logits, float32."""
    with torch.no_grad():
        y = net(torch.from_numpy(x))
    result: Array = (y.value if hasattr(y, "value") else y).numpy()
    return result


def qcdq(net: Net, path: Path, *, dynamo: bool = False) -> Path:
    """Export as QCDQ: opset 17 by tracing, or opset 21 by torch.export."""
    export_onnx_qcdq(
        net, args=torch.zeros(SHAPE), export_path=str(path), opset_version=21 if dynamo else 17, dynamo=dynamo
    )
    return path


def qonnx(net: Net, path: Path) -> Path:
    """Export as QONNX, opset 13."""
    export_qonnx(net, args=torch.zeros(SHAPE), export_path=str(path), opset_version=13, dynamo=False)
    return path
