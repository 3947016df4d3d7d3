"""The rounding of minifloat outputs: a magnitude times a 15-bit factor, cut to the grid of the format, halves to even.

Everything above the largest value of the format saturates, so that only as many bits as that value has (in units) and
one bit below it are looked at; all bits further down only say whether something is left (`sticky`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from export.rtl.stream.pipes.channels import Constant
from export.rtl.stream.pipes.product import PIECE, effort
from quant.fixedpoint import WIDE_MULTIPLIER_BITS, Multiplier
from quant.formats import Format
from quant.steps import Requant

#: A factor of 17 bits holds a 15-bit mantissa shifted by 0, 1 or 2; coarser shifts come behind the product.
FINE = PIECE - WIDE_MULTIPLIER_BITS + 1


@dataclass(frozen=True, slots=True)
class Wide:
    """code = rounded(|value| * factor * 2^(FINE * coarse + exponent)), limited to [low, high].

    `factors` and `coarse` have one entry, or one per channel. Magnitudes are limited to `limit` = 2^k - 1 first, which
    changes no code. `magnitude_bits` hold every magnitude before. `tile` is the signed width of the wider side of a
    multiplier.
    """

    format: Format
    factors: tuple[int, ...]
    coarse: tuple[int, ...]
    exponent: int
    low: int
    high: int
    limit: int
    magnitude_bits: int
    tile: int

    @property
    def factor_bits(self) -> int:
        """Bits of the largest factor."""
        return max(self.factors).bit_length()

    @property
    def coarse_bits(self) -> int:
        """Bits of the coarse shift; 0 where there is none."""
        return max(self.coarse).bit_length()

    def fields(self) -> tuple[Constant, ...]:
        """Return the constants by channel that a lane takes."""
        fields = list[Constant]()
        if self.factors != (1,):
            fields.append(Constant("factor", self.factor_bits, self.factors))
        if self.coarse_bits:
            fields.append(Constant("coarse", self.coarse_bits, self.coarse))
        return tuple(fields)


def wide_rule(requant: Requant, acc_max: int, tile: int) -> Wide:
    """Return the constants of a minifloat output for accumulators of at most `acc_max`."""
    return wide_constants(requant.format, requant.multipliers, requant.low, requant.high, acc_max, tile)


def wide_constants(
    fmt: Format, multipliers: tuple[Multiplier, ...], low: int, high: int, acc_max: int, tile: int
) -> Wide:
    """Return the constants of a minifloat output for these multipliers, one or one per channel."""
    # Exponents beyond these give 0, or the largest value, for every accumulator but 0.
    least, most = -(acc_max.bit_length() + WIDE_MULTIPLIER_BITS + 2), fmt.max_units.bit_length() + 1
    exponents = [min(max(m.exponent, least), most) for m in multipliers]
    exponent, mantissas = min(exponents), [m.mantissa for m in multipliers]
    shifts = [own - exponent for own in exponents]
    if max(shifts) < FINE:
        factors, coarse = [m << s for m, s in zip(mantissas, shifts, strict=True)], [0]
    else:
        factors = [m << s % FINE for m, s in zip(mantissas, shifts, strict=True)]
        coarse = [s // FINE for s in shifts]
    spare = min((f & -f).bit_length() - 1 for f in factors)
    factors = [f >> spare for f in factors]
    bits = max(acc_max, 1).bit_length()
    wide = Wide(fmt, _one(factors), _one(coarse), exponent + spare, low, high, (1 << bits) - 1, bits, tile)
    return _limited(wide)


def _limited(wide: Wide) -> Wide:
    """Limit magnitudes where that saves multipliers."""
    reach = wide.format.units_of_ordinal(max(wide.high, -wide.low, 1))
    channels = range(max(len(wide.factors), len(wide.coarse)))
    least = min(_scaled(wide, channel)[0] << FINE * _scaled(wide, channel)[1] for channel in channels)
    limit = wide.limit
    while limit > 1 and _at_least((limit >> 1) * least, wide.exponent, reach):
        limit >>= 1
    before, after = (effort(one.bit_length(), False, wide.tile) for one in (wide.limit, limit))
    return replace(wide, limit=limit) if after < before else wide


def _scaled(wide: Wide, channel: int) -> tuple[int, int]:
    return wide.factors[channel % len(wide.factors)], wide.coarse[channel % len(wide.coarse)]


def _at_least(value: int, exponent: int, bound: int) -> bool:
    """Whether value * 2^exponent >= bound."""
    return value << exponent >= bound if exponent >= 0 else value >= bound << -exponent


def _one(values: list[int]) -> tuple[int, ...]:
    return tuple(values[:1] if len(set(values)) == 1 else values)
