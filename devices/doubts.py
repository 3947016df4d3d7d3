"""Doubts about a measurement, as values with advice: printed under the table and stored with the figures."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from devices.measurement import Measurement
from devices.stats import autocorrelation, least_count, summarise

#: The percentile that a report should be able to state.
TAIL = 0.9
#: A first window this much slower than the others was not warm yet.
SLOW_FIRST = 1.10
#: Samples so many standard deviations (from the MAD) above the median are outliers; this part of them is too many.
OUTLIER_DEVIATIONS = 10.0
OUTLIER_PART = 0.01
#: Standard deviation of a normal distribution in units of its MAD.
NORMAL_MAD = 1.4826
#: One runnable process for every two cores leaves too little for an undisturbed run.
LOAD_PER_CORE = 0.5
CORRELATED = 0.5


@dataclass(frozen=True, slots=True)
class Doubt:
    """A reason to distrust latency figures: its name, what was seen, and what to do."""

    name: str
    text: str


def doubts(measurement: Measurement) -> tuple[Doubt, ...]:
    """Return what speaks against the latencies of a measurement; empty when nothing does, or there are none."""
    if measurement.latency_s is None or measurement.method != "measured":
        return ()
    found = (
        too_few_samples(measurement),
        slow_first_run(measurement),
        outliers(measurement),
        loaded_machine(measurement),
        correlated_samples(measurement),
    )
    return tuple(doubt for doubt in found if doubt is not None)


def too_few_samples(measurement: Measurement) -> Doubt | None:
    """Fewer samples than a p90 with its bound needs."""
    n, needed = len(measurement.samples_s), least_count(TAIL)
    if n >= needed:
        return None
    return Doubt("TOO_FEW_SAMPLES", f"{n} samples; a p90 needs {needed}. Take more or longer windows.")


def slow_first_run(measurement: Measurement) -> Doubt | None:
    """The first window is slower than the median of the others."""
    medians = [statistics.median(window) for window in measurement.latency_s or ()]
    if len(medians) < 3 or statistics.median(medians[1:]) == 0:  # a clock too coarse for the part gives zeros
        return None
    ratio = medians[0] / statistics.median(medians[1:])
    if ratio <= SLOW_FIRST:
        return None
    return Doubt(
        "SLOW_FIRST_RUN", f"the first window is {ratio:.2f} times as slow as the others. Lengthen the warm-up."
    )


def outliers(measurement: Measurement) -> Doubt | None:
    """Too many samples far above the median."""
    samples = measurement.samples_s
    found = summarise(samples)
    limit = found.median + OUTLIER_DEVIATIONS * NORMAL_MAD * found.mad
    far = sum(sample > limit for sample in samples)
    if far <= OUTLIER_PART * len(samples):
        return None
    return Doubt(
        "OUTLIERS",
        f"{far} of {len(samples)} samples are far above the median (up to {found.most / found.median:.1f} times). "
        "Close other programs and measure again; quote the median, not the mean.",
    )


def loaded_machine(measurement: Measurement) -> Doubt | None:
    """Other programs were running before the measurement began."""
    conditions = measurement.conditions
    if conditions.load_before is None or conditions.load_before <= LOAD_PER_CORE * conditions.cores:
        return None
    return Doubt(
        "LOADED_MACHINE",
        f"the load average was {conditions.load_before:.1f} on {conditions.cores} cores before the run. "
        "Measure on an idle machine; compare only interleaved runs.",
    )


def correlated_samples(measurement: Measurement) -> Doubt | None:
    """Neighbouring samples are alike, so that percentile bounds are optimistic."""
    found = autocorrelation(measurement.samples_s)
    if found <= CORRELATED:
        return None
    return Doubt(
        "CORRELATED_SAMPLES",
        f"neighbouring samples are correlated ({found:.2f}), so percentile bounds are optimistic. Take more windows.",
    )
