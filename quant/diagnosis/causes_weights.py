"""Causes that lie in a layer's weights and bias."""

from __future__ import annotations

import numpy as np

from quant.diagnosis.facts import Facts, Weights
from quant.diagnosis.finding import Evidence
from quant.formats import Array

#: The largest output channel's weights against the median one's, when one scale serves all.
DISPARITY_BITS = 2.0
#: Weights of dead channels against those of all others.
DEAD_BITS = 1.0
#: A scale raised for the bias against the one the weights need.
RAISED_BITS = 1.0
#: Share of the weights' error that is one constant per channel.
SHIFTED = 0.5
#: Largest magnitudes of stored biases: int32, and 48 bits with minifloats.
LIMITS = (2.0**31 - 1, 2.0**47)


#: Rounding changes a weight by less than this many steps, and all of them by less than this share of their energy.
STEPS, CHANGED, MANY = 1.5, 0.25, 0.1


def other_weights(facts: Facts) -> Evidence | None:
    """The quantised weights are not those of the float model, rounded."""
    weights = facts.weights
    if weights is None:
        return None
    difference = np.abs(weights.decoded - weights.real)
    energy = float(np.square(weights.real.astype(np.float64)).sum())
    share = float(np.square(difference).sum()) / energy if energy > 0 else 0.0
    far = float((difference > STEPS * weights.steps).mean())
    if share < CHANGED or far < MANY:
        return None
    text = f"{far:.0%} of the weights are over {STEPS} steps from the float model's: {share:.0%} of their energy"
    return Evidence(text, {"far": far, "changed": share})


def _live(facts: Facts) -> Array:
    """Return which output channels vary over the calibration data, [O]."""
    spread = facts.damage.spread
    live: Array = spread.high > spread.low
    return live


def weight_disparity(facts: Facts) -> Evidence | None:
    """One scale serves output channels whose weights are of very different size."""
    weights = facts.weights
    if weights is None or not weights.per_tensor:
        return None
    tops = weights.tops[_live(facts)]
    if len(tops) < 2 or np.median(tops) <= 0:
        return None
    numbers = {"top": float(tops.max()), "median": float(np.median(tops))}
    bits = float(np.log2(numbers["top"] / numbers["median"]))
    if bits < DISPARITY_BITS:
        return None
    text = (
        f"one scale for all channels: the largest weights reach {numbers['top']:.3g}, the median channel's "
        f"{numbers['median']:.3g}"
    )
    return Evidence(text, numbers, bits)


def dead_weights(facts: Facts) -> Evidence | None:
    """Weights of channels that never change set the scale of those that do."""
    weights = facts.weights
    if weights is None or not weights.per_tensor:
        return None
    live, tops = _live(facts), weights.tops
    if live.all() or not live.any() or tops[live].max() <= 0:
        return None
    bits = float(np.log2(max(tops.max(), 1e-30) / tops[live].max()))
    if bits < DEAD_BITS:
        return None
    numbers = {"dead": float((~live).sum()), "dead_top": float(tops.max()), "live_top": float(tops[live].max())}
    text = (
        f"{int(numbers['dead'])} of {len(live)} channels are constant; their weights reach {numbers['dead_top']:.3g}, "
        f"the others' {numbers['live_top']:.3g}, with one scale for all"
    )
    return Evidence(text, numbers, bits)


def bias_overflow(facts: Facts) -> Evidence | None:
    """Biases do not fit the accumulator: they saturate, or the weights' scale was raised to make them fit."""
    weights = facts.weights
    if weights is None:
        return None
    return _saturated(weights) or _raised(weights, _live(facts))


def _saturated(weights: Weights) -> Evidence | None:
    wanted = np.abs(weights.bias.astype(np.float64)) / weights.bias_units
    stored = np.abs(weights.bias_codes.astype(np.float64))
    cut = (stored < 0.99 * wanted) & np.isin(stored, [*LIMITS, LIMITS[0] + 1])
    if not cut.any():
        return None
    worst = int(np.argmax(np.where(cut, wanted, 0)))
    numbers = {"channels": float(cut.sum()), "wanted": float(wanted[worst]), "stored": float(stored[worst])}
    text = (
        f"{int(cut.sum())} of {len(cut)} biases saturate: channel {worst} needs {wanted[worst]:.3g} units and holds "
        f"{stored[worst]:.3g}"
    )
    return Evidence(text, numbers, float(np.log2(wanted[worst] / stored[worst])))


def _raised(weights: Weights, live: Array) -> Evidence | None:
    """Whether a bias, and not the weights, set the scale."""
    tops = np.array([weights.tops.max()]) if weights.per_tensor else weights.tops[live]
    scales = np.array(weights.quant.scale)
    scales = scales[:1] if weights.per_tensor else np.broadcast_to(scales, live.shape)[live]
    needed = tops / weights.quant.format.max
    ratio = np.where(needed > 0, scales / np.maximum(needed, 1e-300), 1.0)
    if not ratio.size or ratio.max() < 2.0**RAISED_BITS:
        return None
    bias = float(np.abs(weights.bias).max())
    # Foreign tools may choose wide scales for other reasons: only a bias near the accumulator's end explains it.
    codes = float(np.abs(weights.bias_codes.astype(np.float64)).max())
    if codes < 2.0**24:
        return None
    numbers = {"raised": float(ratio.max()), "bias": bias, "top": float(tops.max()), "bias_code": codes}
    text = f"a bias of {bias:.3g} ({codes:.3g} units) raised the weights' scale {ratio.max():.3g} times"
    return Evidence(text, numbers, float(np.log2(ratio.max())))


def shifted_mean(facts: Facts) -> Evidence | None:
    """Inputs have a mean, so rounded weights shift each output channel by a constant that a bias could take back."""
    response = facts.damage.response
    if facts.weights is None or response is None or response.shifted < SHIFTED:
        return None
    share = response.shifted
    numbers = {"shifted": share}
    bits = 0.5 * float(np.log2(1 / max(1 - share, 1e-6)))
    return Evidence(f"{share:.0%} of what rounding the weights changes is one constant per channel", numbers, bits)
