"""Doubts about a measurement, as values with advice: printed under the table and stored with the figures."""

from __future__ import annotations

import itertools
import statistics
from dataclasses import dataclass

from devices.measurement import Measurement
from devices.meters.energy import GOOD_SAMPLES
from devices.scenario import MULTI_STREAM, SCENARIOS, SINGLE_STREAM
from devices.stats import autocorrelation, least_count, summarise

#: A first window this much slower than the others was not warm yet.
SLOW_FIRST = 1.10
#: A last third of the windows this much slower than the first third.
SLOWING_DOWN = 1.10
#: A clock that fell by this share during the run.
CLOCK_FALL = 0.05
#: Samples so many standard deviations (from the MAD) above the median are outliers; this part of them is too many.
OUTLIER_DEVIATIONS = 10.0
OUTLIER_PART = 0.01
#: Standard deviation of a normal distribution in units of its MAD.
NORMAL_MAD = 1.4826
#: One runnable process for every two cores leaves too little for an undisturbed run.
LOAD_PER_CORE = 0.5
#: What the run itself adds to the load at most.
OWN_LOAD = 1.0
CORRELATED = 0.5
#: A clock whose steps are a larger part of the median than this blurs it.
COARSE_STEP = 0.01
#: Fewer samples than this do not show the steps of a clock.
SEEN_STEPS = 20


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason to distrust figures: its name, what was seen, and what to do."""

    name: str
    text: str
    advice: str


def doubts(measurement: Measurement) -> tuple[Doubt, ...]:
    """Return what speaks against the figures of a measurement; empty when nothing does, or nothing was measured."""
    energy = (slow_meter(measurement),)
    if measurement.latency_s is None or measurement.method != "measured":
        return tuple(doubt for doubt in energy if doubt is not None)
    found = (
        too_few_samples(measurement),
        invalid_loadgen(measurement),
        coarse_clock(measurement),
        slow_first_run(measurement),
        throttling(measurement),
        slowing_down(measurement),
        outliers(measurement),
        loaded_machine(measurement),
        correlated_samples(measurement),
        *energy,
    )
    return tuple(doubt for doubt in found if doubt is not None)


def too_few_samples(measurement: Measurement) -> Doubt | None:
    """Fewer queries than the scenario's percentile with its bound needs."""
    scenario = next((s for s in SCENARIOS if s.name == measurement.scenario), SINGLE_STREAM)
    if scenario.percentile is None:
        return None
    n, needed = len(measurement.samples_s), least_count(scenario.percentile)
    if n >= needed:
        return None
    what = "queries" if scenario is MULTI_STREAM else "samples"
    text = f"{n} {what}; a p{100 * scenario.percentile:g} needs {needed}."
    return Doubt("TOO_FEW_SAMPLES", text, "Take more or longer windows, or give --complete.")


def invalid_loadgen(measurement: Measurement) -> Doubt | None:
    """LoadGen calls its own run invalid."""
    said = measurement.loadgen
    if said is None or said.valid:
        return None
    return Doubt("INVALID_LOADGEN", f"LoadGen calls the run INVALID: {said.reasons}.", "Take longer windows.")


def coarse_clock(measurement: Measurement) -> Doubt | None:
    """The steps between samples are large, and many samples are alike: the clock, not the part, makes them."""
    samples = measurement.samples_s
    values = sorted(set(samples))
    middle = statistics.median(samples)
    if len(samples) < SEEN_STEPS or 2 * len(values) > len(samples):
        return None
    step = min((b - a for a, b in itertools.pairwise(values)), default=0.0)
    if middle > 0 and step <= COARSE_STEP * middle:
        return None
    share = f"{100 * step / middle:.2g} % of the median" if middle > 0 else "longer than most samples"
    return Doubt(
        "COARSE_CLOCK",
        f"samples differ in steps of {1e6 * step:.3g} us, which is {share}.",
        "Put several inferences into one query: --scenario multi-stream or offline.",
    )


def slow_first_run(measurement: Measurement) -> Doubt | None:
    """The first window is slower than the median of the others."""
    medians = [statistics.median(window) for window in measurement.latency_s or ()]
    if len(medians) < 3 or statistics.median(medians[1:]) == 0:  # a clock too coarse for the part gives zeros
        return None
    ratio = medians[0] / statistics.median(medians[1:])
    if ratio <= SLOW_FIRST:
        return None
    return Doubt(
        "SLOW_FIRST_RUN", f"the first window is {ratio:.2f} times as slow as the others.", "Lengthen the warm-up."
    )


def throttling(measurement: Measurement) -> Doubt | None:
    """The device counted throttling during the run, or a clock fell."""
    state = measurement.conditions
    seen = [f"{counter.name} rose by {counter.rise}" for counter in state.throttled]
    for clock in state.clocks:
        before, after = clock.before_hz, clock.after_hz
        if before and after is not None and after < (1 - CLOCK_FALL) * before:
            seen.append(f"{clock.name} fell from {before / 1e6:.0f} to {after / 1e6:.0f} MHz")
    if not seen:
        return None
    return Doubt(
        "THROTTLING",
        f"the device was slowed down: {', '.join(seen)}.",
        "Cool it, let it rest before the run, or set a lower power mode or fixed clocks.",
    )


def slowing_down(measurement: Measurement) -> Doubt | None:
    """The last third of the windows is slower than the first one."""
    medians = [statistics.median(window) for window in measurement.latency_s or ()]
    third = len(medians) // 3
    if third < 2 or statistics.median(medians[:third]) == 0:
        return None
    ratio = statistics.median(medians[-third:]) / statistics.median(medians[:third])
    if ratio <= SLOWING_DOWN:
        return None
    return Doubt(
        "SLOWING_DOWN",
        f"the last windows are {ratio:.2f} times as slow as the first ones.",
        "Look at temperatures and at what else runs; let the device rest, then measure again.",
    )


def outliers(measurement: Measurement) -> Doubt | None:
    """Too many samples far above the median."""
    samples = measurement.samples_s
    found = summarise(samples)
    limit = found.median + OUTLIER_DEVIATIONS * NORMAL_MAD * found.mad
    far = sum(sample > limit for sample in samples)
    if far <= OUTLIER_PART * len(samples) or found.median == 0:
        return None
    return Doubt(
        "OUTLIERS",
        f"{far} of {len(samples)} samples are far above the median (up to {found.most / found.median:.1f} times).",
        "Close other programs and measure again; quote the median, not the mean.",
    )


def loaded_machine(measurement: Measurement) -> Doubt | None:
    """Other programs were running before the measurement began, or came while it ran."""
    state, limit = measurement.conditions, LOAD_PER_CORE * measurement.conditions.cores
    before, after = state.load_before, state.load_after
    if before is not None and before > limit:
        when = f"{before:.1f} on {state.cores} cores before the run"
    elif after is not None and after > limit + OWN_LOAD:
        when = f"{after:.1f} on {state.cores} cores after the run"
    else:
        return None
    return Doubt(
        "LOADED_MACHINE",
        f"the load average was {when}.",
        "Measure on an idle machine; compare only interleaved runs.",
    )


def correlated_samples(measurement: Measurement) -> Doubt | None:
    """Neighbouring samples are alike, so that percentile bounds are optimistic."""
    found = autocorrelation(measurement.samples_s)
    if found <= CORRELATED:
        return None
    return Doubt(
        "CORRELATED_SAMPLES",
        f"neighbouring samples are correlated ({found:.2f}), so percentile bounds are optimistic.",
        "Take more windows.",
    )


def slow_meter(measurement: Measurement) -> Doubt | None:
    """The meter took too few samples in a window for its energy."""
    energy = measurement.energy
    if energy is None or not energy.samples_per_window or min(energy.samples_per_window) >= GOOD_SAMPLES:
        return None
    return Doubt(
        "METER_TOO_SLOW",
        f"{energy.meter} took {min(energy.samples_per_window)} samples in a window; {GOOD_SAMPLES} keep sampling from "
        "blurring its energy.",
        "Take longer windows (--window-s), or a quicker meter.",
    )
