"""How sure an accuracy is: standard errors, and the exact test on the images whose result changed."""

from __future__ import annotations

import math

from devices.run_record import Accuracy

#: Below this p, a change of accuracy is more than chance.
LEVEL = 0.05


def standard_error(accuracy: float, images: int) -> float | None:
    """Return sqrt(a (1 - a) / n), the standard error of a share; None where all or no images are right.

    There the formula gives 0, which says nothing about the next image.
    """
    if images < 1 or accuracy in (0.0, 1.0):
        return None
    return math.sqrt(accuracy * (1 - accuracy) / images)


def paired_error(found: Accuracy) -> float | None:
    """Return the standard error of (quantised - float) on the same images; None where no result changed.

    With b images lost and c gained of n, the difference per image is -1, 0 or 1, so that its variance is
    (b + c)/n - ((c - b)/n)^2.
    """
    changed = found.lost + found.gained
    if changed == 0 or found.images < 1:
        return None
    mean = (found.gained - found.lost) / found.images
    return math.sqrt(max(changed / found.images - mean * mean, 0.0) / found.images)


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided p of McNemar's exact test: were losses and gains equally likely?

    Under the null hypothesis the smaller of the two counts is Bin(lost + gained, 1/2).
    """
    n, least = lost + gained, min(lost, gained)
    term = total = 1
    for k in range(least):
        term = term * (n - k) // (k + 1)
        total += term
    return float(min(1.0, 2 * total / (1 << n)))


def statement(found: Accuracy) -> str:
    """Say in words what the paired test found."""
    if found.lost + found.gained == 0:
        return "no image changed between right and wrong"
    p = mcnemar(found.lost, found.gained)
    shown = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
    if p >= LEVEL:
        return f"{shown}: no difference shown on {found.images} images"
    return f"{shown}: {'worse' if found.lost > found.gained else 'better'} than float, more than chance"
