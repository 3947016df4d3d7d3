"""Division by a small constant as one multiplication, proven exact for the whole range of the dividend."""

from __future__ import annotations

from quant.fixedpoint import Multiplier

#: The engine drops this many bits of the product before the shift of its own.
FIXED_SHIFT = 31


def reciprocal(divisor: int, dividend_max: int) -> Multiplier:
    """Return m, -r such that (n * m) >> (31 + r) == n // divisor for every 0 <= n <= dividend_max.

    With k = 31 + r, m = ceil(2^k / d) and e = m*d - 2^k >= 0, n*m / 2^k = n/d + n*e / (d * 2^k). The fraction of n/d
    is at most (d-1)/d, so the floor is right exactly as long as n*e < 2^k (Granlund and Montgomery, "Division by
    invariant integers using multiplication", 1994). r is the smallest that fulfils it.
    """
    right = 0
    while True:
        whole = 1 << (FIXED_SHIFT + right)
        mantissa = -(-whole // divisor)
        if dividend_max * (mantissa * divisor - whole) < whole:
            return Multiplier(mantissa, -right)
        right += 1
