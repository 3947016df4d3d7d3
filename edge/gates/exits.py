"""Early exits: thresholds for a share of inputs at every exit, and what exits cost and answer.

The thresholds follow Dynamic Perceiver (ICCV 2023): with the wanted shares, exit k takes the surest of those validation
inputs that no earlier exit took. An input leaves at the first exit whose score is at least the threshold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge.errors import EdgeError
from quant.formats import Array, IntArray

#: Scores further apart than this are told apart; thresholds lie between neighbours.
ALWAYS, NEVER = -math.inf, math.inf


@dataclass(frozen=True, slots=True)
class ExitFigures:
    """What a network with exits does on some inputs.

    Attributes:
        shares: of inputs that leave at each exit.
        accuracy: of all inputs together.
        accuracies: of those that leave at each exit, None where nobody does.
        macs: expected multiply-accumulates of one inference.
    """

    shares: tuple[float, ...]
    accuracy: float
    accuracies: tuple[float | None, ...]
    macs: float


def geometric_shares(q: float, exits: int) -> tuple[float, ...]:
    """Return shares proportional to q^k, k = 1..exits: small q prefers the first exits."""
    if not q > 0 or exits < 1:
        raise EdgeError(f"shares need q above 0 and at least one exit, not q = {q} and {exits} exits.")
    weights = [q**k for k in range(1, exits + 1)]
    return tuple(weight / sum(weights) for weight in weights)


def exit_thresholds(scores: Sequence[Array], shares: Sequence[float]) -> tuple[float, ...]:
    """Return a threshold per exit; the last is -inf, since its answer is taken whatever it is.

    Args:
        scores: [N] per exit, of validation inputs in the same order, higher is surer.
        shares: wanted at each exit, adding up to 1.

    Raises:
        EdgeError: shares and exits differ in number, or the shares are no shares.
    """
    if len(scores) != len(shares) or not scores:
        raise EdgeError(f"{len(scores)} exits and {len(shares)} shares: give one share per exit.")
    if any(share < 0 for share in shares) or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise EdgeError(f"the shares {', '.join(f'{s:g}' for s in shares)} must be 0 or more and add up to 1.")
    left, found = np.ones(len(scores[0]), bool), []
    for values, share in zip(scores[:-1], shares[:-1], strict=True):
        threshold = _threshold(np.asarray(values)[left], round(share * len(left)))
        left &= ~(np.asarray(values) >= threshold)
        found.append(threshold)
    return (*found, ALWAYS)


def _threshold(values: Array, wanted: int) -> float:
    """Return the score of the `wanted`-th surest. Ties let more through: of two levels the nearer one is taken."""
    if wanted <= 0 or not len(values):
        return NEVER
    ordered = np.sort(values)[::-1]
    if wanted >= len(ordered):
        return ALWAYS
    at = float(ordered[wanted - 1])
    through, before = int((ordered >= at).sum()), int((ordered > at).sum())
    if wanted - before < through - wanted:
        return float(ordered[before - 1]) if before else NEVER
    return at


def exit_of(scores: Sequence[Array], thresholds: Sequence[float]) -> IntArray:
    """Return the exit that answers every input, int64 [N]."""
    sure = np.stack([np.asarray(v) >= t for v, t in zip(scores, thresholds, strict=True)])
    sure[-1] = True
    return np.asarray(sure.argmax(axis=0), np.int64)


def exit_figures(taken: IntArray, answers: Sequence[Array], labels: Array, macs: Sequence[int]) -> ExitFigures:
    """Return what some choice of exits does.

    Args:
        taken: [N] the exit of every input.
        answers: [N] labels that each exit would answer.
        labels: [N] the right ones.
        macs: multiply-accumulates up to and with each exit.
    """
    stacked = np.stack([np.asarray(answer) for answer in answers])
    right = stacked[taken, np.arange(len(taken))] == labels
    here = [taken == k for k in range(len(answers))]
    return ExitFigures(
        shares=tuple(float(found.mean()) for found in here),
        accuracy=float(right.mean()),
        accuracies=tuple(float(right[found].mean()) if found.any() else None for found in here),
        macs=float(np.asarray(macs, np.float64)[taken].mean()),
    )
