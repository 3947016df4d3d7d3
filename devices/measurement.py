"""One measurement: raw samples and the conditions they were taken under. Statistics are computed when asked (`stats`).

A metric is either there, or it has a reason why not: never 0, never a guess. Written and read by `measurement_record`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from devices.board import METRICS
from devices.circuit import Circuit
from devices.errors import DeviceError
from devices.meters.energy import Energy
from devices.state import Conditions

#: `synthesised`: what synthesis, place and route say of a netlist, with cycles that are simulated or exact by design.
METHODS = ("measured", "replayed", "simulated", "synthesised", "analytic")


@dataclass(frozen=True, slots=True)
class Warmup:
    """What came before the first window: time to open the part, the first inference, and how many were thrown away."""

    open_s: float
    first_s: float
    total_s: float
    runs: int


@dataclass(frozen=True, slots=True)
class LoadgenVerdict:
    """What MLPerf LoadGen said of its own run: valid or not and why, its figures as it prints them, its version."""

    valid: bool
    reasons: str
    figures: tuple[tuple[str, str], ...]
    version: str


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the network: its multiply-accumulates, and its share of the metric that the board counts.

    Counts hold one inference, the marker behind the step included. None where the board counts the other metric.
    `time_s` is the median or mean of a run of its own with a profiler, which is slower than one without.
    """

    name: str
    macs: int
    instructions: int | None
    cycles: int | None
    time_s: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one part did on one board.

    Attributes:
        bundle: digest of the bundle.
        part, target, board, runtime: by name.
        versions: of the runtime and the tools, sorted pairs.
        scenario: one of `devices.scenario.SCENARIOS`, by name; one inference after the other, batch 1, in each.
        method: one of METHODS; holds for every figure here.
        source: in words, what gave the figures.
        started_at: UTC, ISO 8601.
        conditions, warmup: see there; no warm-up where no time was measured.
        latency_s: seconds of each query, by window; a query has `samples_per_query` inferences.
        instructions, cycles: of each inference.
        energy_j: joules per inference, by window.
        arena_bytes, flash_bytes, ram_bytes, stack_bytes: what an inference takes of the device's memories; flash
            holds code and constants, RAM the arena and everything static.
        code_bytes: the part of flash that is instructions.
        steps: what each step of the network costs, in order; empty where the board does not tell.
        circuit: what the core takes of an FPGA, and its clock; None where the part is no circuit.
        absent: sorted pairs of every metric that is None, and why.
        samples_per_query: inferences of one query: 1 in single-stream, 8 in multi-stream, a window's in offline.
        loadgen: what MLPerf LoadGen said where it put the queries; None elsewhere.
        energy: where `energy_j` comes from: meter, method of its own, net energy, uncertainty; None where there is no
            energy, and in records of earlier schemas.
    """

    bundle: str
    part: str
    target: str
    board: str
    runtime: str
    versions: tuple[tuple[str, str], ...]
    scenario: str
    method: str
    source: str
    started_at: str
    conditions: Conditions
    warmup: Warmup | None
    latency_s: tuple[tuple[float, ...], ...] | None
    instructions: tuple[int, ...] | None
    cycles: tuple[int, ...] | None
    energy_j: tuple[float, ...] | None
    arena_bytes: int | None
    flash_bytes: int | None
    code_bytes: int | None
    ram_bytes: int | None
    stack_bytes: int | None
    absent: tuple[tuple[str, str], ...]
    steps: tuple[Step, ...] = ()
    circuit: Circuit | None = None
    samples_per_query: int = 1
    loadgen: LoadgenVerdict | None = None
    energy: Energy | None = None

    def __post_init__(self) -> None:
        """Refuse a value that is not there without a reason, and a reason for one that is."""
        if self.method not in METHODS:
            raise DeviceError(f"method '{self.method}' is unknown; known are {', '.join(METHODS)}.")
        reasons = dict(self.absent)
        for metric in METRICS:
            if (self.value(metric) is None) != (metric in reasons):
                lack = "has no value and no reason" if self.value(metric) is None else "has a value and a reason"
                raise DeviceError(f"measurement on {self.board}: {metric} {lack}.")
        unknown = sorted(set(reasons) - set(METRICS))
        if unknown or not all(reasons.values()):
            raise DeviceError(f"measurement on {self.board}: {unknown or 'a reason that is empty'} in 'absent'.")
        _check_samples(self)

    def value(self, metric: str) -> object:
        """Return the raw value of a metric of METRICS, or None."""
        values: Mapping[str, object] = {
            "latency": self.latency_s,
            "instructions": self.instructions,
            "cycles": self.cycles,
            "energy": self.energy_j,
            "arena": self.arena_bytes,
            "flash": self.flash_bytes,
            "code": self.code_bytes,
            "ram": self.ram_bytes,
            "stack": self.stack_bytes,
        }
        return values[metric]

    @property
    def throughput_per_s(self) -> float | None:
        """Inferences per second of the timed queries alone; None where there is no time, or the clock saw none."""
        seconds = math.fsum(self.samples_s)
        return self.samples_per_query * len(self.samples_s) / seconds if seconds > 0 else None

    @property
    def samples_s(self) -> tuple[float, ...]:
        """Every latency of a query in the order it was taken; empty where there is none."""
        return tuple(sample for window in self.latency_s or () for sample in window)


def _check_samples(measurement: Measurement) -> None:
    if measurement.samples_per_query < 1:
        raise DeviceError(f"measurement on {measurement.board}: a query has at least one sample.")
    for name in ("latency_s", "instructions", "cycles", "energy_j"):
        samples = getattr(measurement, name)
        if samples is not None and (not samples or any(sample == () for sample in samples)):
            raise DeviceError(f"measurement on {measurement.board}: {name} is there but holds no samples.")
    if measurement.energy is not None and measurement.energy_j != measurement.energy.gross_j:
        raise DeviceError(f"measurement on {measurement.board}: energy_j is not the gross energy of its meter.")
