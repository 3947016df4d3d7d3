"""How a tensor's values are spread: ends, channels, outliers, and what its grid clips or rounds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from quant.formats import Array
from quant.graph import Quant
from quant.simulate import fake_quantise

#: Values of one batch that percentiles are read from, evenly picked.
SAMPLE = 1 << 15
#: Share of values between the two percentiles that count as the bulk.
BULK = 0.999


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """Float values of one tensor on the calibration data.

    `low`, `high` are per channel [C]; `sample` holds some of the values. `clipping` and `rounding` are the sums of
    squared differences that the tensor's grid makes of values beyond its ends and between its points. `outside`
    counts values beyond the ends, `count` all.
    """

    low: Array
    high: Array
    sample: Array
    clipping: float
    rounding: float
    outside: int
    count: int

    @property
    def ends(self) -> tuple[float, float]:
        """Smallest and largest value."""
        return float(self.low.min()), float(self.high.max())

    @property
    def bulk(self) -> tuple[float, float]:
        """The ends of what is left without the share 1 - BULK of the values, half of it on each side."""
        low, high = np.quantile(self.sample, [(1 - BULK) / 2, (1 + BULK) / 2])
        return float(low), float(high)


def spread_of(values: Tensor, quants: tuple[Quant, ...]) -> Spread:
    """Return the spread of one batch.

    Args:
        values: float values [N, C, ...].
        quants: the grids the tensor is rounded to, in order; none when it is only moved.
    """
    flat = values.reshape(len(values), values.shape[1], -1)
    sample = flat.reshape(-1)[:: max(1, flat.numel() // SAMPLE)].numpy().copy()
    clipping, rounding, outside = 0.0, 0.0, 0
    if quants:
        rounded = values
        for quant in quants:
            rounded = fake_quantise(quant, rounded)
        low, high = grid_ends(quants[-1])
        beyond = (values < low) | (values > high)
        squares = (rounded - values).double().square()
        clipping, outside = float(squares[beyond].sum()), int(beyond.sum())
        rounding = float(squares.sum()) - clipping
    ends = flat.amin((0, 2)).numpy(), flat.amax((0, 2)).numpy()
    return Spread(*ends, sample, clipping, rounding, outside, flat.numel())


def grid_ends(quant: Quant) -> tuple[float, float]:
    """Return the smallest and largest real value of a tensor's grid, half a step beyond included for integers."""
    fmt, scale = quant.format, quant.scale[0]
    slack = 0.0 if fmt.is_minifloat else 0.5
    return (fmt.min - quant.zero - slack) * scale, (fmt.max - quant.zero + slack) * scale


def merge_spreads(first: Spread, second: Spread) -> Spread:
    """Return the spread of two batches."""
    return Spread(
        np.minimum(first.low, second.low),
        np.maximum(first.high, second.high),
        np.concatenate([first.sample, second.sample]),
        first.clipping + second.clipping,
        first.rounding + second.rounding,
        first.outside + second.outside,
        first.count + second.count,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """What a layer's weights give before bias and clip, and what rounding them (and the bias) changes there.

    `energy` is the sum of squares of the former; `error` that of the latter, `shift` [C] its sum per channel over
    `count` values a channel.
    """

    energy: float
    error: float
    shift: Array
    count: int

    @property
    def shifted(self) -> float:
        """Share of the error that is a constant per channel: a shift of the mean, which a bias could take back."""
        return float((self.shift**2).sum() / self.count / self.error) if self.error > 0 else 0.0

    def __add__(self, other: Response) -> Response:
        """Add the sums of two batches."""
        return Response(
            self.energy + other.energy, self.error + other.error, self.shift + other.shift, self.count + other.count
        )


def response_of(given: Tensor, error: Tensor) -> Response:
    """Return the response of one batch: values before bias and clip [N, C, ...], and their error."""
    wide = error.double().reshape(len(error), error.shape[1], -1)
    shift = wide.sum((0, 2)).numpy()
    count = wide.shape[0] * wide.shape[2]
    return Response(float(given.double().square().sum()), float(wide.square().sum()), shift, count)
