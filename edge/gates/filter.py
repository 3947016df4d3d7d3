"""The filter: whether there is anything to see, before anything is sent.

Neural Compression and Filtering (arXiv 2007.15818): a small branch on the head's features; where its score is below the
threshold the device sends nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge.errors import EdgeError
from quant.formats import Array


@dataclass(frozen=True, slots=True)
class FilterFigures:
    """What a filter does: recall of interesting frames, and the share of the others that sends nothing."""

    threshold: float
    recall: float
    silenced: float


def roc_auc(scores: Array, interesting: Array) -> float:
    """Return the area under the ROC curve: the chance that an interesting frame scores above another; ties count half.

    Raises:
        EdgeError: only one kind of frame is there.
    """
    yes, no = int(interesting.sum()), int((~interesting).sum())
    if not yes or not no:
        raise EdgeError("a ROC curve needs frames of both kinds.")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - (counts - 1) / 2  # the mean rank of ties, from 1
    rank_sum = float(middle[place][interesting].sum())
    return (rank_sum - yes * (yes + 1) / 2) / (yes * no)


def threshold_for_recall(scores: Array, interesting: Array, least_recall: float) -> FilterFigures:
    """Return the largest threshold that lets at least `least_recall` of the interesting frames through.

    Raises:
        EdgeError: the recall is no share, or there is no interesting frame.
    """
    if not 0.0 < least_recall <= 1.0 or not interesting.any():
        raise EdgeError(f"a recall between 0 and 1 and interesting frames are needed, not {least_recall:g}.")
    ordered = np.sort(scores[interesting])
    n = len(ordered)
    near = math.floor(least_recall * n)
    needed = near if near / n >= least_recall else near + 1
    return filter_figures(scores, interesting, float(ordered[n - needed]))


def filter_figures(scores: Array, interesting: Array, threshold: float) -> FilterFigures:
    """Return what a threshold does: frames below it send nothing."""
    passed = scores >= threshold
    silenced = float((~passed[~interesting]).mean()) if (~interesting).any() else 0.0
    return FilterFigures(threshold, float(passed[interesting].mean()), silenced)
