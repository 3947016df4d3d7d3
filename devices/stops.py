"""What inputs cost by the part after which nothing ran, and what to expect of other shares of such inputs.

An early exit stops at its rule, a cascade at the network that was sure, a filter at the frame that it drops. Inputs
that stop at the same part take the same steps, so their costs are nearly alike; a mean over all inputs is not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from devices.errors import DeviceError
from quant.formats import Array

#: Shares are fractions; they add up to 1 but for rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True, slots=True)
class StopCost:
    """Inputs that stop after one part: how many, and their costs (instructions, seconds, joules): mean and range."""

    part: str
    inputs: int
    mean: float
    least: float
    most: float


def costs_by_stop(names: Sequence[str], stopped: Array, costs: Array) -> tuple[StopCost, ...]:
    """Group costs by the last part that ran.

    Args:
        names: of the parts, in order.
        stopped: int [N], from `export.dynamic.stops`.
        costs: [N], of the same inputs.

    Returns:
        One entry for every part at which an input stopped, in the order of the parts.

    Raises:
        DeviceError: there are not as many costs as inputs, or none.
    """
    if len(stopped) != len(costs) or not len(costs):
        raise DeviceError(f"{len(costs)} costs for {len(stopped)} inputs; each input needs one, and there must be any.")
    return tuple(
        StopCost(names[part], int(here.sum()), *(float(f(costs[here])) for f in (np.mean, np.min, np.max)))
        for part in sorted({int(part) for part in stopped})
        for here in (np.asarray(stopped) == part,)
    )


def shares(found: Sequence[StopCost]) -> dict[str, float]:
    """Return which share of the inputs stopped after each part."""
    total = sum(stop.inputs for stop in found)
    return {stop.part: stop.inputs / total for stop in found}


def expected(found: Sequence[StopCost], wanted: Mapping[str, float]) -> float:
    """Return the mean cost of an input where inputs stop after each part with these shares.

    Args:
        found: costs of inputs that stop after each part.
        wanted: share of inputs by part, 0 to 1; together 1.

    Raises:
        DeviceError: shares do not add up to 1, or a part with a share has no cost.
    """
    if abs(sum(wanted.values()) - 1) > _ROUNDING or min(wanted.values()) < 0:
        raise DeviceError(f"shares of inputs must be 0 or more and add up to 1, not {dict(wanted)}.")
    means = {stop.part: stop.mean for stop in found}
    lacking = sorted(part for part, share in wanted.items() if share > 0 and part not in means)
    if lacking:
        raise DeviceError(
            f"no input stopped after {', '.join(lacking)}, so what that costs is not known: give test vectors that do."
        )
    return sum(share * means[part] for part, share in wanted.items() if share > 0)
