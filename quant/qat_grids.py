"""Brevitas' quantisers, set up so that each rounds to exactly the grid of a `quant.formats.Format`.

Integers: `IntQuant`. Two things differ from its defaults. Weights have the narrow range unless their codes hold the
lowest one already. A zero point shifts the limits of the clamp and is not added before rounding: x / scale + zero would
round ties the other way where the zero point is odd, and lose low bits of x.

Minifloats: `FloatQuant` with the exponent and mantissa bits of the format and bias 2^(E-1) - 1. Without codes for NaN
and infinity its largest value is that of our all-finite formats; the OCP 8-bit formats get theirs as
`max_available_float`. It keeps subnormals and rounds half to even, as `quant.rounding` does.

Gradients are Brevitas' own: straight through the rounding. Outside the limits they are 0 for activations and for
scales that learn, and pass for weights whose scale is fixed, which could not come back otherwise.
"""

from __future__ import annotations

import torch
from brevitas.core.bit_width import BitWidthConst
from brevitas.core.bit_width.float import StaticExponentBias, StaticMaxMantissa
from brevitas.core.function_wrapper import FloatClamp, Identity, TensorClamp, TensorClampSte
from brevitas.core.quant import IntQuant
from brevitas.core.quant.float import FloatQuant
from torch import Tensor, nn

from quant.errors import QuantError
from quant.formats import Format
from quant.graph import Quant

#: A learned scale is start * 2^(p / this): one learning rate then suits p and weights that are counted in steps.
SCALE_STEPS_PER_OCTAVE = 16


class Scale(nn.Module):  # type: ignore[misc]
    """A scale that starts at the given float32 values, exactly, and stays positive when it learns."""

    def __init__(self, start: Tensor, learned: bool) -> None:
        super().__init__()
        self.start: Tensor
        self.register_buffer("start", start, persistent=False)
        self.octaves = nn.Parameter(torch.zeros_like(start)) if learned else None

    def forward(self, _x: Tensor | None = None, _threshold: Tensor | None = None) -> Tensor:
        """Return the scale; Brevitas hands over what it quantises, which a static scale does not look at."""
        if self.octaves is None:
            return self.start
        return self.start * torch.exp2(self.octaves / SCALE_STEPS_PER_OCTAVE)


class ShiftedClamp(nn.Module):  # type: ignore[misc]
    """A clamp whose limits are those of codes, for values that count from the zero point."""

    def __init__(self, inner: nn.Module, zero: int) -> None:
        super().__init__()
        self.inner, self.zero = inner, zero

    def forward(self, x: Tensor, min_val: Tensor, max_val: Tensor) -> Tensor:
        """Clamp to [min_val - zero, max_val - zero]."""
        clamped: Tensor = self.inner(x, min_val=min_val - self.zero, max_val=max_val - self.zero)
        return clamped


class IntGrid(nn.Module):  # type: ignore[misc]
    """Integers: real values to real values on the grid."""

    def __init__(self, quant: Quant, scale: Scale, clamp: nn.Module, *, narrow: bool) -> None:
        super().__init__()
        self.scale, self.bits = scale, BitWidthConst(quant.format.bits)
        clamp = ShiftedClamp(clamp, quant.zero) if quant.zero else clamp
        self.rounding = IntQuant(
            narrow_range=narrow, signed=quant.format.signed, input_view_impl=Identity(), tensor_clamp_impl=clamp
        )

    def levels(self, x: Tensor) -> Tensor:
        """Round to whole steps, counted from the zero point."""
        steps: Tensor = self.rounding.to_int(self.scale(), torch.zeros(()), self.bits(), x)
        return steps

    def forward(self, x: Tensor) -> Tensor:
        """Round to real values of the grid."""
        values: Tensor = self.rounding(self.scale(), torch.zeros(()), self.bits(), x)
        return values


class FloatGrid(nn.Module):  # type: ignore[misc]
    """Minifloats: real values to real values on the grid."""

    def __init__(self, quant: Quant, scale: Scale, clamp: nn.Module) -> None:
        super().__init__()
        fmt = quant.format
        self.scale = scale
        self.rounding = FloatQuant(
            signed=True,
            exponent_bit_width_impl=BitWidthConst(fmt.exponent),
            mantissa_bit_width_impl=BitWidthConst(fmt.mantissa),
            exponent_bias_impl=StaticExponentBias(fmt.bias),
            float_clamp_impl=FloatClamp(clamp, signed=True, max_available_float=fmt.max if fmt.reserved else None),
            input_view_impl=Identity(),
            compute_max_mantissa=StaticMaxMantissa(fmt.mantissa),
            scaling_impl=scale,
        )

    def levels(self, x: Tensor) -> Tensor:
        """Round to values of the format itself, before the scale."""
        rounding = self.rounding
        values, _ = rounding.quantize(x, self.scale())
        levels: Tensor = rounding.float_clamp_impl(
            values,
            rounding.exponent_bit_width_impl(),
            rounding.compute_max_mantissa(rounding.mantissa_bit_width_impl()),
            rounding.exponent_bias_impl(),
        )[0]
        return levels

    def forward(self, x: Tensor) -> Tensor:
        """Round to real values of the grid."""
        values: Tensor = self.rounding(x)[0]
        return values


Grid = IntGrid | FloatGrid


def activation_grid(quant: Quant, *, learned: bool) -> Grid:
    """Return the quantiser of an activation.

    Raises:
        QuantError: the format has no such quantiser.
    """
    scale = Scale(torch.tensor(quant.scale[0], dtype=torch.float32), learned)
    return _grid(quant, scale, TensorClamp(), narrow=False)


def weight_grid(quant: Quant, axes: int, *, learned: bool, narrow: bool) -> Grid:
    """Return the quantiser of a weight with `axes` axes, one scale or one per output channel.

    Raises:
        QuantError: the format has no such quantiser.
    """
    start = torch.tensor(quant.scale, dtype=torch.float32).reshape(-1, *(1 for _ in range(axes - 1)))
    return _grid(quant, Scale(start, learned), TensorClamp() if learned else TensorClampSte(), narrow=narrow)


def _grid(quant: Quant, scale: Scale, clamp: nn.Module, *, narrow: bool) -> Grid:
    if quant.format.bits < 2:
        raise QuantError(f"format {quant.format.name} has no quantiser to train with; use 2 bits or more.")
    if quant.format.is_minifloat:
        return FloatGrid(quant, scale, clamp)
    return IntGrid(quant, scale, clamp, narrow=narrow)


def mean_step(fmt: Format) -> float:
    """Return the mean distance between neighbours: largest value / codes above 0 (of integers: about 1)."""
    return fmt.max / fmt.max_ordinal
