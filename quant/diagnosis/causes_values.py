"""Causes that lie in what a layer makes: ranges, channels, clips, averages.

Thresholds are in bits of resolution lost in that layer (1 bit is 6 dB of its own error), set above what trained
networks show without harm: channels 1.7 bits apart, values 1.6 bits beyond the bulk.
"""

from __future__ import annotations

import numpy as np

from quant.diagnosis.causes_input import preprocessing
from quant.diagnosis.facts import Facts
from quant.diagnosis.finding import Evidence
from quant.diagnosis.spread import grid_ends
from quant.formats import Array

#: The largest channel of an activation against the median one.
DISPARITY_BITS = 3.0
#: All values against the bulk of them.
OUTLIER_BITS = 2.0
#: Share of the excess beyond the bulk that one side must make.
ONE_SIDED = 0.8
#: Error of clipped values against that of rounded ones.
CLIPPING_BITS = 1.0
#: A constant channel's end against that of all others.
DEAD_BITS = 1.0
#: The grid's span against that of the values.
LOOSE_BITS = 1.5
#: Averages want at least this many bits.
AVERAGE_BITS = 8


def _live(facts: Facts) -> Array:
    """Return which channels vary over the calibration data, [C]."""
    spread = facts.damage.spread
    live: Array = spread.high > spread.low
    return live


def _reach(facts: Facts) -> Array:
    """Return the largest magnitude of each channel, [C]."""
    spread = facts.damage.spread
    reach: Array = np.maximum(np.abs(spread.low), np.abs(spread.high)).astype(np.float64)
    return reach


def channel_disparity(facts: Facts) -> Evidence | None:
    """One scale serves channels of very different range, and no clip holds the largest of them."""
    if facts.kind == "Input" or (facts.clip is not None and np.isfinite(facts.clip[1])):
        return None
    return _disparity(facts, "the largest channel reaches {top:.3g}, the median one {median:.3g}")


def bounded_activation(facts: Facts) -> Evidence | None:
    """A ReLU6, or another clip with an upper limit, sets a range that most channels hardly use."""
    if facts.clip is None or not np.isfinite(facts.clip[1]):
        return None
    found = _disparity(
        facts, f"the clip at {facts.clip[1]:g} sets the range ({{top:.3g}}), the median channel reaches {{median:.3g}}"
    )
    if found is None or found.numbers["top"] < 0.9 * facts.clip[1]:
        return None
    return found


def _disparity(facts: Facts, text: str) -> Evidence | None:
    reach = _reach(facts)[_live(facts)]
    if len(reach) < 2 or np.median(reach) <= 0:
        return None
    numbers = {"top": float(reach.max()), "median": float(np.median(reach))}
    bits = float(np.log2(numbers["top"] / numbers["median"]))
    if bits < DISPARITY_BITS:
        return None
    return Evidence(text.format(**numbers), numbers, bits)


def one_sided_outliers(facts: Facts) -> Evidence | None:
    """A few values on one side stretch the range."""
    return _outliers(facts, one_sided=True)


def outliers(facts: Facts) -> Evidence | None:
    """A few values on both sides stretch the range."""
    return _outliers(facts, one_sided=False)


def _outliers(facts: Facts, *, one_sided: bool) -> Evidence | None:
    spread = facts.damage.spread
    (low, high), (bulk_low, bulk_high) = spread.ends, spread.bulk
    bulk = bulk_high - bulk_low
    if bulk <= 0 or facts.quant is None:
        return None
    bits = float(np.log2((high - low) / bulk))
    excess = max(high - bulk_high, bulk_low - low) / max((high - low) - bulk, 1e-30)
    if bits < OUTLIER_BITS or (excess >= ONE_SIDED) != one_sided or _explained_by_channels(facts):
        return None
    numbers = {"low": low, "high": high, "bulk_low": bulk_low, "bulk_high": bulk_high}
    text = f"values reach {low:.3g} .. {high:.3g}, 99.9 % of them lie in {bulk_low:.3g} .. {bulk_high:.3g}"
    return Evidence(text, numbers, bits)


def _explained_by_channels(facts: Facts) -> bool:
    """Whether whole channels stick out, rather than single values."""
    return any(
        found is not None for found in (channel_disparity(facts), bounded_activation(facts), dead_channels(facts))
    )


def clipped_range(facts: Facts) -> Evidence | None:
    """The grid ends before the values do, and what it cuts off is more than what it rounds."""
    spread = facts.damage.spread
    if facts.quant is None or spread.outside == 0 or preprocessing(facts) is not None:
        return None
    low, high = grid_ends(facts.quant)
    bits = 0.5 * float(np.log2((spread.clipping + spread.rounding) / max(spread.rounding, 1e-30)))
    if bits < CLIPPING_BITS:
        return None
    share = spread.clipping / (spread.clipping + spread.rounding)
    numbers = {
        "grid_low": low,
        "grid_high": high,
        "low": spread.ends[0],
        "high": spread.ends[1],
        "outside": spread.outside / spread.count,
        "clipping_share": share,
    }
    text = (
        f"the grid spans {low:.3g} .. {high:.3g}, values {spread.ends[0]:.3g} .. {spread.ends[1]:.3g}: "
        f"{numbers['outside']:.2%} are cut off, which makes {share:.0%} of the error"
    )
    return Evidence(text, numbers, bits)


def loose_range(facts: Facts) -> Evidence | None:
    """The grid reaches far beyond every value: it was calibrated on other data, or shared with a wider tensor."""
    if facts.quant is None or facts.kind in ("Input", "AveragePool"):
        return None
    low, high = (min(facts.damage.spread.ends[0], 0.0), max(facts.damage.spread.ends[1], 0.0))
    ends = grid_ends(facts.quant)
    fmt = facts.quant.format
    # A symmetric grid leaves one side of one-sided values free: a bit that is the scheme's choice.
    free = 1.0 if (fmt.is_minifloat or facts.quant.zero == 0) and (low == 0 or high == 0) else 0.0
    bits = float(np.log2((ends[1] - ends[0]) / max(high - low, 1e-30))) - free
    if bits < LOOSE_BITS:
        return None
    numbers = {"grid_low": ends[0], "grid_high": ends[1], "low": low, "high": high}
    text = f"the grid spans {ends[0]:.3g} .. {ends[1]:.3g}, values only {low:.3g} .. {high:.3g}"
    return Evidence(text, numbers, bits)


def dead_channels(facts: Facts) -> Evidence | None:
    """Channels that never change set the range of those that do."""
    live, reach = _live(facts), _reach(facts)
    if facts.quant is None or live.all() or not live.any() or reach[live].max() <= 0:
        return None
    bits = float(np.log2(max(reach.max(), 1e-30) / reach[live].max()))
    if bits < DEAD_BITS:
        return None
    numbers = {"dead": float((~live).sum()), "dead_reach": float(reach.max()), "live_reach": float(reach[live].max())}
    text = (
        f"{int(numbers['dead'])} of {len(live)} channels are constant and reach {numbers['dead_reach']:.3g}, "
        f"the others {numbers['live_reach']:.3g}"
    )
    return Evidence(text, numbers, bits)


def average_pooling(facts: Facts) -> Evidence | None:
    """Averages lie closer together than the values they are made of, and here they get few bits."""
    if facts.kind not in ("Mean", "AveragePool") or facts.format is None or facts.format.bits >= AVERAGE_BITS:
        return None
    low, high = facts.damage.spread.ends
    numbers = {"bits": float(facts.format.bits), "low": low, "high": high}
    text = f"averages of {low:.3g} .. {high:.3g} are rounded to {facts.format.name}"
    return Evidence(text, numbers, float(AVERAGE_BITS - facts.format.bits))


def batch_norm_left(facts: Facts) -> Evidence | None:
    """A batch norm that could not be folded stands alone: one more rounding, on either side of it."""
    if not facts.batch_norm:
        return None
    share = facts.share
    return Evidence(
        f"a batch norm stands alone as {facts.kind} and makes {share:.0%} of the noise at the logits", {"share": share}
    )
