"""The rounding of integer outputs as one multiplication, one addition and one shift: constants of the whole layer.

`quant.fixedpoint.multiply_q31` rounds twice: v = floor((acc*q + 2^30) / 2^31), then halves away from zero after r more
bits. Both together, with P = acc*q and r >= 1, are

    floor((P + 2^(30+r) + 2^30) / 2^(31+r))    for P >= 0,
    floor((P + 2^(30+r) - 2^30) / 2^(31+r))    for P < 0,

because floor(floor(x) / n) = floor(x / n) and halves away from zero is floor((v + 2^(r-1) - [v < 0]) / 2^r); where
P < 0 but v = 0 both lines give 0. With r = 0 the terms 2^30 and -2^30 at the end fall away, and a left shift by l is
floor((P + 2^(30-l)) / 2^(31-l)). The zero point joins the constant.

So every code is clip(floor((acc * factor + base +- offset) / 2^shift)), and any smaller factors that give the same
codes for every accumulator that can occur are as good: `shortened` looks for them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from export.rtl.stream.pipes.product import PIECE, effort
from quant.formats import IntArray
from quant.steps import Requant

#: Bits of a number that the search may reach in int64.
_SAFE_BITS = 60


@dataclass(frozen=True, slots=True)
class Affine:
    """code = clip((value * factor + base + offset) >> shift, low, high); `mirrored`: - offset for negative values.

    `factors` and `offsets` have one entry, or one per channel. Values are limited to [-limit - 1, limit] first, which
    changes no code. `tile` is the signed width of the wider side of a multiplier.
    """

    factors: tuple[int, ...]
    offsets: tuple[int, ...]
    mirrored: bool
    base: int
    shift: int
    low: int
    high: int
    limit: int
    tile: int

    @property
    def value_bits(self) -> int:
        """Bits of a limited value, with sign."""
        return self.limit.bit_length() + 1

    @property
    def factor_bits(self) -> int:
        """Bits of the largest factor."""
        return max(max(self.factors).bit_length(), 1)

    def results(self) -> tuple[int, int]:
        """Return bounds of the results before the clip."""
        reach = max(abs(one) for one in self.offsets)
        top = max(self.factors)
        low = (-(self.limit + 1) * top + self.base - reach) >> self.shift
        return low, (self.limit * top + self.base + reach) >> self.shift


def exact(requant: Requant, acc_max: int, tile: int = PIECE + 1) -> Affine:
    """Return the constants that follow from the rule, for accumulators of at most `acc_max`."""
    shifts = [31 - m.exponent for m in requant.multipliers]
    shift = max(shifts)
    factors = [m.mantissa << (shift - own) for m, own in zip(requant.multipliers, shifts, strict=True)]
    offsets = [
        1 << (30 + shift - own) if own > 31 and m.mantissa else 0
        for m, own in zip(requant.multipliers, shifts, strict=True)
    ]
    base = (requant.zero << shift) + (1 << (shift - 1))
    mirrored = any(offsets) and requant.low < requant.zero
    limit = (1 << max(acc_max, 1).bit_length()) - 1
    affine = Affine(tuple(factors), tuple(offsets), mirrored, base, shift, requant.low, requant.high, limit, tile)
    return _merged(lowered(affine))


def lowered(affine: Affine) -> Affine:
    """Drop the zero bits that all factors end with."""
    spare = min((f & -f).bit_length() - 1 for f in affine.factors if f) if any(affine.factors) else 0
    spare = min(spare, affine.shift - 1, *((o & -o).bit_length() - 1 for o in affine.offsets if o), spare)
    return replace(
        affine,
        factors=tuple(f >> spare for f in affine.factors),
        offsets=tuple(o >> spare for o in affine.offsets),
        base=affine.base >> spare,
        shift=affine.shift - spare,
    )


def _merged(affine: Affine) -> Affine:
    """Keep one entry where all channels agree."""
    factors, offsets = set(affine.factors), set(affine.offsets)
    return replace(
        affine,
        factors=affine.factors[:1] if len(factors) == 1 else affine.factors,
        offsets=affine.offsets[:1] if len(offsets) == 1 else affine.offsets,
    )


def clamped(affine: Affine) -> Affine:
    """Return the same with the least limit: larger values have the code of the limit, in every channel."""
    limit = affine.limit
    while limit > 1 and _saturates(affine, limit >> 1):
        limit >>= 1
    return replace(affine, limit=limit)


def _saturates(affine: Affine, limit: int) -> bool:
    """Whether values beyond a limit have the codes of its ends, in every channel."""
    for c in range(max(len(affine.factors), len(affine.offsets))):
        ends = ((limit, affine.limit), (-limit - 1, -affine.limit - 1))
        if any(_code(affine, c, near) != _code(affine, c, far) for near, far in ends):
            return False
    return True


def _code(affine: Affine, channel: int, value: int) -> int:
    factor = affine.factors[channel % len(affine.factors)]
    offset = affine.offsets[channel % len(affine.offsets)]
    signed = -offset if affine.mirrored and value < 0 else offset
    result = (value * factor + affine.base + signed) >> affine.shift
    return min(max(result, affine.low), affine.high)


def shortened(affine: Affine, least: int, most: int) -> Affine | None:
    """Return constants that give the same codes for all values with the shortest factors of `least` to `most` bits."""
    deep = affine.shift - (_SAFE_BITS - 12)
    most = min(most, affine.factor_bits - max(deep, 1), _SAFE_BITS - affine.limit.bit_length())
    if most < least or max(affine.high - affine.low, affine.high) >= 1 << 10 or affine.high == affine.low:
        return None
    steps = _steps(affine)
    if _fitted(affine, steps, most) is None:
        return None
    return next(found for k in range(least, most + 1) if (found := _fitted(affine, steps, k)) is not None)


def _steps(affine: Affine) -> IntArray:
    """Return the least value that has each code or a higher one: [channels, codes above the lowest]."""
    channels = max(len(affine.factors), len(affine.offsets))
    rows = []
    for c in range(channels):
        factor, offset = affine.factors[c % len(affine.factors)], affine.offsets[c % len(affine.offsets)]
        rows.append([_step(affine, factor, offset, code) for code in range(affine.low + 1, affine.high + 1)])
    return np.array(rows, dtype=np.int64)


def _step(affine: Affine, factor: int, offset: int, code: int) -> int:
    outside = affine.limit + 1
    if factor == 0:
        return -outside if affine.base >> affine.shift >= code else outside
    wanted = (code << affine.shift) - affine.base
    step = -((offset - wanted) // factor)
    if step < 0 or (step == 0 and affine.mirrored):
        below = -offset if affine.mirrored else offset
        step = min(-((below - wanted) // factor), 0)
    return min(max(step, -outside), outside)


def _fitted(affine: Affine, steps: IntArray, bits: int) -> Affine | None:
    """Return constants with factors of exactly `bits` bits (in the largest channel) that have these steps, or None."""
    drop = affine.factor_bits - bits
    shift = affine.shift - drop
    if shift < 1:
        return None
    near = np.array([(f + (1 << (drop - 1))) >> drop for f in affine.factors], dtype=np.int64)
    zero = affine.base >> affine.shift
    base = (zero << shift) + (1 << (shift - 1))
    for mirrored in (False, True):
        factors, low, high = _best(affine, steps, near, base, shift, mirrored)
        offsets = roundest(low, high)
        if offsets is not None:
            found = replace(affine, factors=factors, offsets=offsets, mirrored=mirrored and any(offsets), base=base)
            return _merged(replace(found, shift=shift))
    return None


def _best(
    affine: Affine, steps: IntArray, near: IntArray, base: int, shift: int, mirrored: bool
) -> tuple[tuple[int, ...], IntArray, IntArray]:
    """Return by channel the factor next to `near` with the widest interval of offsets, and the intervals."""
    tried = [near + change for change in (0, -1, 1)]
    bounds = [_interval(affine, steps, np.maximum(one, 0), base, shift, mirrored) for one in tried]
    widths = np.stack([high - low for low, high in bounds])
    pick = widths.argmax(axis=0)
    index = np.arange(len(steps))
    low, high = (np.stack([pair[side] for pair in bounds])[pick, index] for side in (0, 1))
    chosen = np.stack([np.maximum(one, 0) for one in tried])[pick, index]
    return tuple(int(f) for f in chosen), low, high


def _interval(
    affine: Affine, steps: IntArray, factors: IntArray, base: int, shift: int, mirrored: bool
) -> tuple[IntArray, IntArray]:
    """Return by channel the least and largest offset with which the codes rise exactly at `steps`."""
    codes = np.arange(affine.low + 1, affine.high + 1, dtype=np.int64)[None, :]
    wanted = (codes << shift) - base
    # Codes must not fall anywhere; between -1 and 0 a mirrored offset could make them.
    low = -(factors >> 1) if mirrored else np.full(len(steps), -(1 << _SAFE_BITS), dtype=np.int64)
    high = np.full(len(steps), 1 << _SAFE_BITS, dtype=np.int64)
    # The value of the step must reach the code, the value before it must not.
    for values, reached in ((steps, True), (steps - 1, False)):
        need = wanted - values * factors[:, None]
        inside = (values >= -affine.limit - 1) & (values <= affine.limit)
        turned = inside & (values < 0) if mirrored else np.zeros_like(inside)
        straight = inside & ~turned
        if reached:
            low = np.maximum(low, np.where(straight, need, low[:, None]).max(axis=1))
            high = np.minimum(high, np.where(turned, -need, high[:, None]).min(axis=1))
        else:
            high = np.minimum(high, np.where(straight, need - 1, high[:, None]).min(axis=1))
            low = np.maximum(low, np.where(turned, 1 - need, low[:, None]).max(axis=1))
    return low, high


def roundest(low: IntArray, high: IntArray) -> tuple[int, ...] | None:
    """Return the roundest offset in each interval, all multiples of one power of two; None where one is empty."""
    if (low > high).any():
        return None
    for zeros in range(_SAFE_BITS - 1, -1, -1):
        first, last = -(-low >> zeros), high >> zeros
        if (first <= last).all():
            return tuple(int(one) << zeros for one in np.clip(0, first, last))
    return None


def planned(requant: Requant, acc_max: int, tile: int) -> Affine:
    """Return the constants of a requantisation that need the fewest multipliers of `tile` x 18 bits.

    Values are limited where that saves multipliers; factors are as short as they can be without changing a code.
    """
    whole = exact(requant, acc_max, tile)
    limited = clamped(whole)
    if effort(limited.value_bits, True, tile) == effort(whole.value_bits, True, tile):
        limited = whole
    one = min(PIECE, tile - 1)
    return shortened(limited, 1, one) or shortened(limited, one + 1, limited.factor_bits) or limited
