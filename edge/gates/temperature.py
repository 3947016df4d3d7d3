"""Temperature scaling (Guo et al. 2017): one number that makes probabilities mean what they say.

Over-confident networks push every threshold to 1, so it comes before thresholds are chosen, and again after
quantisation.
"""

from __future__ import annotations

import numpy as np

from edge.errors import EdgeError
from quant.formats import Array, FloatArray

#: Where a temperature is looked for.
LEAST, MOST = 0.05, 20.0
_GOLDEN = (5**0.5 - 1) / 2
_STEPS = 60


def fit_temperature(logits: Array, labels: Array) -> float:
    """Return the temperature with the least cross-entropy, by golden section over its logarithm.

    Args:
        logits: [N, classes], of validation data the network was not trained on.
        labels: [N], the right classes.

    Raises:
        EdgeError: there are fewer than two inputs, or shapes do not fit.
    """
    if logits.ndim != 2 or len(logits) != len(labels) or len(logits) < 2:
        raise EdgeError(f"a temperature needs logits [N, classes] and N labels, not {logits.shape} and {labels.shape}.")
    low, high = np.log(LEAST), np.log(MOST)
    for _ in range(_STEPS):
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if cross_entropy(logits, labels, float(np.exp(left))) <= cross_entropy(logits, labels, float(np.exp(right))):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def cross_entropy(logits: Array, labels: Array, temperature: float) -> float:
    """Return the mean of -ln p(label) under softmax(logits / temperature)."""
    z = np.asarray(logits, np.float64) / temperature
    z = z - z.max(axis=1, keepdims=True)
    return float((np.log(np.exp(z).sum(axis=1)) - z[np.arange(len(z)), labels]).mean())


def calibration_error(logits: Array, labels: Array, temperature: float, bins: int = 15) -> float:
    """Return the expected calibration error: |accuracy - confidence|, weighted over equal bins of confidence."""
    p = probabilities(logits, temperature)
    sure, right = p.max(axis=1), p.argmax(axis=1) == labels
    place = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [abs(right[place == b].mean() - sure[place == b].mean()) * (place == b).mean() for b in np.unique(place)]
    return float(np.sum(gaps))


def probabilities(logits: Array, temperature: float = 1.0) -> FloatArray:
    """Return softmax(logits / temperature), float64 [N, classes]."""
    z = np.asarray(logits, np.float64) / temperature
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(e / e.sum(axis=1, keepdims=True))
