"""What a comparison of two runs found, as plain values. `base` is the older run, `other` the one to judge."""

from __future__ import annotations

from dataclasses import dataclass

NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True)
class AccuracyChange:
    """Accuracy of one scheme (or `float`) in both runs, as shares.

    `standard_error` is that of the difference as if the runs had seen different images. They saw the same ones, so
    the true one is smaller; the runs hold no label of each image, hence no paired test. None where it cannot be said.
    `refused` names the condition that forbids comparing; `difference` is then None.
    """

    scheme: str
    base: float
    other: float
    difference: float | None
    standard_error: float | None
    refused: str | None


@dataclass(frozen=True, slots=True)
class SizeChange:
    """Bytes in both runs; `ratio` is other / base, None when the base is 0."""

    what: str
    base_bytes: int
    other_bytes: int
    ratio: float | None


@dataclass(frozen=True, slots=True)
class LatencyChange:
    """Median of the window medians in seconds, their ratio other / base, and its interval.

    `verdict` is `same`, `faster`, `slower`, `inconclusive`, or `not compared` with the condition in `refused`; ratio
    and interval are then None. `doubts` are the names of doubts about either measurement.
    """

    target: str
    scheme: str
    part: str
    board: str
    method: str
    base_s: float
    other_s: float
    ratio: float | None
    low: float | None
    high: float | None
    verdict: str
    refused: str | None
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CountChange:
    """Instructions or cycles over the same number of inferences; `ratio` is exact up to its last digit.

    `base` and `other` are totals over `inferences`. `versions` names tools (compiler, emulator) that differ.
    """

    metric: str
    target: str
    scheme: str
    part: str
    board: str
    method: str
    inferences: int
    base: int
    other: int
    ratio: float | None
    versions: tuple[str, ...]
    refused: str | None


@dataclass(frozen=True, slots=True)
class ParityChange:
    """A check whose status is another one now."""

    target: str
    scheme: str
    part: str
    runtime: str
    base: str
    other: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Everything that two runs have in common, side by side; `unmatched` says what only one of them holds.

    `notes` are conditions of the whole comparison, such as another model or other data.
    """

    base: str
    other: str
    notes: tuple[str, ...]
    accuracies: tuple[AccuracyChange, ...]
    sizes: tuple[SizeChange, ...]
    latencies: tuple[LatencyChange, ...]
    counts: tuple[CountChange, ...]
    parities: tuple[ParityChange, ...]
    unmatched: tuple[str, ...]
