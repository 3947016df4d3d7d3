"""How much a candidate's logits differ from float's: of all classes, of close decisions, of labels."""

from __future__ import annotations

import numpy as np

from quant.formats import Array, FloatArray
from quant.passes.centre import close_images


def flat(values: Array) -> FloatArray:
    """Return logits [N, ...] as float64 [N, C]."""
    flat: FloatArray = values.reshape(len(values), -1).astype(np.float64)
    return flat


def relative_error(wanted: FloatArray, found: FloatArray) -> float:
    """Return the power of the error of logits [N, C] relative to that of the logits, both without their class mean.

    Labels of a few dozen images hardly tell candidates apart, nor do probabilities, which are near 0 and 1 on training
    images; every logit of every image counts here. A constant added to all classes changes no label and counts nothing.
    """
    signal, noise = (values - values.mean(axis=1, keepdims=True) for values in (wanted, found - wanted))
    return float(np.square(noise).sum() / max(np.square(signal).sum(), np.finfo(np.float64).tiny))


def margin_error(wanted: FloatArray, found: FloatArray) -> float:
    """Return the root mean square error of margins: of the two leading classes by `wanted` [N, C], in close images."""
    rows = close_images(wanted)
    leading = np.argsort(wanted[rows], axis=1)[:, -2:]
    before, after = (np.take_along_axis(values[rows], leading, axis=1) for values in (wanted, found))
    errors = (after[:, 1] - after[:, 0]) - (before[:, 1] - before[:, 0])
    return float(np.sqrt(np.square(errors).mean()))


def agreement(wanted: FloatArray, found: FloatArray) -> float:
    """Return the share of labels that stay."""
    return float((wanted.argmax(axis=1) == found.argmax(axis=1)).mean())
