"""Whether the data are what the network expects."""

from __future__ import annotations

import numpy as np

from quant.diagnosis.facts import Facts
from quant.diagnosis.finding import Evidence
from quant.diagnosis.spread import grid_ends

#: Data beyond the input's grid, or far inside it, by this factor; beyond it, this share of their energy is lost.
WIDER, NARROWER, LOST = 2.0, 1 / 8, 0.3
#: What the first layer's weights give against its bias; trained networks lie between 1 and 7.
GAIN_HIGH, GAIN_LOW = 30.0, 1 / 30
#: Raw pixels reach at least this, normalised ones at most that.
RAW, NORMALISED = 50.0, 5.0
#: The first batch norm's input against its training statistics, in deviations and as a ratio of deviations.
SHIFT, SPREAD = 3.0, 4.0


def preprocessing(facts: Facts) -> Evidence | None:
    """The calibration data do not look like what the network was trained on, or the file was calibrated on."""
    if facts.kind != "Input":
        return None
    return _against_grid(facts) or _against_batch_norm(facts) or _against_bias(facts)


def _against_grid(facts: Facts) -> Evidence | None:
    assert facts.quant is not None
    low, high = facts.damage.spread.ends
    grid_low, grid_high = grid_ends(facts.quant)
    ratio = float(max(high / grid_high if grid_high > 0 else 0.0, low / grid_low if grid_low < 0 else 0.0))
    lost = facts.damage.local.noise >= LOST * facts.damage.local.signal
    if ratio > NARROWER and not (ratio > WIDER and lost):
        return None
    numbers = {"grid_low": grid_low, "grid_high": grid_high, "low": low, "high": high}
    text = f"the data span {low:.3g} .. {high:.3g}, the quantised input {grid_low:.3g} .. {grid_high:.3g}"
    return Evidence(text, numbers, float(abs(np.log2(max(ratio, 1e-30)))))


def _against_batch_norm(facts: Facts) -> Evidence | None:
    shift, gain = facts.drift.get("shift"), facts.drift.get("gain")
    if shift is None or gain is None or (shift <= SHIFT and 1 / SPREAD <= gain <= SPREAD):
        return None
    text = (
        f"the first batch norm remembers other data: its input is {shift:.3g} deviations off its mean, and "
        f"its deviation {gain:.3g} times the trained one"
    )
    return Evidence(text, {"shift": shift, "gain": gain})


def _against_bias(facts: Facts) -> Evidence | None:
    ratio = facts.drift.get("response_to_bias")
    if ratio is None or "gain" in facts.drift:
        return None
    low, high = facts.damage.spread.ends
    reach = max(-low, high)
    if not ((ratio > GAIN_HIGH and reach >= RAW) or (ratio < GAIN_LOW and reach <= NORMALISED)):
        return None
    text = (
        f"the data span {low:.3g} .. {high:.3g}; the first layer makes {ratio:.3g} times its bias of them, trained "
        "networks 1 to 7 times"
    )
    return Evidence(text, {"low": low, "high": high, "response_to_bias": ratio})
