"""Two complementary networks: which pair to take, when to ask the second, and whose answer counts.

"Reducing Inference Energy Consumption Using Dual Complementary CNNs" (FGCS 2024, arXiv 2412.01039). The first network
answers where it is sure; else the second is asked, and with the post-check the surer of both answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from edge.errors import EdgeError
from quant.formats import Array

#: How complementary two networks are: as the paper defines it, and as its authors' code computes it.
MEASURES = ("paper", "code")
#: Thresholds tried are the scores themselves, thinned to so many.
CANDIDATES = 2000


@dataclass(frozen=True, slots=True)
class CascadeFigures:
    """What a cascade does on some inputs: accuracy, share that asks the second network, expected MACs."""

    threshold: float
    accuracy: float
    second_share: float
    macs: float


@dataclass(frozen=True, eq=False)
class Member:
    """One network on some inputs: whether each answer is right, its score [N], and multiply-accumulates."""

    right: Array
    score: Array
    macs: int


def complementarity(right_a: Array, right_b: Array, measure: str = "paper") -> float:
    """Return how far two networks are right on different inputs.

    paper: 2 min(|A without B|, |B without A|) / N. code: (|A without B| + |B without A|) / N, which also rewards a pair
    of a good and a bad network.

    Raises:
        EdgeError: the measure is unknown.
    """
    if measure not in MEASURES:
        raise EdgeError(f"complementarity '{measure}' is unknown; known are {', '.join(MEASURES)}.")
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    return (2 * min(only_a, only_b) if measure == "paper" else only_a + only_b) / len(right_a)


def best_pair(right: Mapping[str, Array], measure: str = "paper") -> tuple[str, str]:
    """Return the two most complementary networks of a pool, in the pool's order; ties go to the first pair.

    Raises:
        EdgeError: the pool has fewer than two networks.
    """
    if len(right) < 2:
        raise EdgeError("a pair needs a pool of at least two networks.")
    return max(combinations(right, 2), key=lambda pair: complementarity(right[pair[0]], right[pair[1]], measure))


def figures(a: Member, b: Member, threshold: float, *, post_check: bool) -> CascadeFigures:
    """Return what a threshold does: b is asked where a's score is below it."""
    asked = ~(a.score >= threshold)
    takes_b = asked & (b.score > a.score) if post_check else asked
    share = float(asked.mean())
    return CascadeFigures(threshold, float(np.where(takes_b, b.right, a.right).mean()), share, a.macs + share * b.macs)


def candidates(scores: Array) -> Array:
    """Return thresholds worth trying: never asking, and every score that is there, thinned evenly."""
    levels = np.unique(scores)
    if len(levels) > CANDIDATES:
        levels = levels[np.linspace(0, len(levels) - 1, CANDIDATES).round().astype(int)]
    return np.concatenate([[-np.inf], levels, [np.inf]])


def most_accurate(a: Member, b: Member, *, post_check: bool, most_share: float = 1.0) -> CascadeFigures:
    """Return the most accurate threshold that asks the second network at most so often; ties go to the cheaper one."""
    found = [figures(a, b, float(t), post_check=post_check) for t in candidates(a.score)]
    return max((f for f in found if f.second_share <= most_share), key=lambda f: (f.accuracy, -f.second_share))


def fullest(a: Member, b: Member, *, post_check: bool, most_share: float) -> CascadeFigures:
    """Return the threshold that asks the second network as often as allowed, however accurate that is here.

    A threshold that is the most accurate one of thousands was lucky, too. This one looks at no label.
    """
    found = [figures(a, b, float(t), post_check=post_check) for t in candidates(a.score)]
    return max((f for f in found if f.second_share <= most_share), key=lambda f: f.second_share)


def cheapest(a: Member, b: Member, least_accuracy: float, *, post_check: bool) -> CascadeFigures:
    """Return the threshold with the fewest expected MACs whose accuracy is at least as asked.

    Raises:
        EdgeError: no threshold reaches the accuracy; the message says what is reached.
    """
    found = [figures(a, b, float(t), post_check=post_check) for t in candidates(a.score)]
    able = [f for f in found if f.accuracy >= least_accuracy]
    if not able:
        best = max(f.accuracy for f in found)
        raise EdgeError(f"no threshold reaches an accuracy of {least_accuracy:.4f}; the most is {best:.4f}.")
    return min(able, key=lambda f: (f.macs, -f.accuracy))
