"""The timing loop: queries of a scenario, one after the other, in windows on a clock that no time service slews."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

from devices.scenario import Scenario

Clock = Callable[[], int]
#: Runs one inference or one query.
Ask = Callable[[], None]

#: A window of a very fast part ends after so many queries, or raw samples would fill the disk.
MAX_SAMPLES = 5000


def raw_clock() -> int:
    """Return nanoseconds of a clock that no time service slews."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


@dataclass(frozen=True, slots=True)
class Window:
    """When a window began and ended, and the duration of every query in it, in nanoseconds."""

    t0_ns: int
    t1_ns: int
    samples_ns: list[int]


def window(ask: Ask, clock: Clock, length_s: float, most: int = MAX_SAMPLES) -> Window:
    """Time single queries for `length_s` or `most` of them, at least one; the garbage collector rests meanwhile."""
    samples: list[int] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = end = clock()
        stop = start + round(length_s * 1e9)
        while (end < stop and len(samples) < most) or not samples:
            begin = clock()
            ask()
            end = clock()
            samples.append(end - begin)
    finally:
        if collecting:
            gc.enable()
    return Window(start, end, samples)


@dataclass(frozen=True, slots=True)
class Warm:
    """What the warm-up took: its first query, all of it, in nanoseconds, and its number of queries."""

    first_ns: int
    total_ns: int
    runs: int


def warm_up(ask: Ask, clock: Clock, length_s: float) -> Warm:
    """Run queries for at least `length_s`, at least one."""
    first = window(ask, clock, 0.0).samples_ns[0]
    total, runs = first, 1
    while total < length_s * 1e9:
        rest = window(ask, clock, length_s - total / 1e9).samples_ns
        total, runs = total + sum(rest), runs + len(rest)
    return Warm(first, total, runs)


def query(infer: Ask, samples: int) -> Ask:
    """Return what runs a query of so many samples; a query of one sample is the inference itself."""
    if samples == 1:
        return infer

    def ask() -> None:
        for _ in range(samples):
            infer()

    return ask


def samples_of_query(scenario: Scenario, warm: Warm, window_s: float) -> int:
    """Return a scenario's samples per query; where a query is a whole window, as many as will fill it, at least one.

    The last half of a warm-up is not apart from the first, so a part that was cold gives a window that is too short,
    never one that is too long.
    """
    if scenario.samples_per_query is not None:
        return scenario.samples_per_query
    mean_ns = warm.total_ns / warm.runs
    return max(1, round(window_s * 1e9 / mean_ns)) if mean_ns > 0 else 1
