"""One measurement: raw samples and the conditions they were taken under. Statistics are computed when asked (`stats`).

A metric is either there, or it has a reason why not: never 0, never a guess. Written and read by `measurement_record`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from devices.board import METRICS
from devices.circuit import Circuit
from devices.errors import DeviceError

#: `synthesised`: what synthesis, place and route say of a netlist, with cycles that are simulated or exact by design.
METHODS = ("measured", "replayed", "simulated", "synthesised", "analytic")


@dataclass(frozen=True, slots=True)
class Conditions:
    """The state of the machine: load averages over one minute before and after, and the frequency governor.

    `governor` is None with a `governor_reason` where the system does not say.
    """

    cpu_model: str
    cores: int
    system: str
    load_before: float
    load_after: float
    governor: str | None
    governor_reason: str | None


@dataclass(frozen=True, slots=True)
class Warmup:
    """What came before the first window: time to open the part, the first inference, and how many were thrown away."""

    open_s: float
    first_s: float
    total_s: float
    runs: int


@dataclass(frozen=True, slots=True)
class Step:
    """One step of the network: its multiply-accumulates, and its share of the metric that the board counts.

    Counts hold one inference, the marker behind the step included. None where the board counts the other metric.
    """

    name: str
    macs: int
    instructions: int | None
    cycles: int | None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What one part did on one board.

    Attributes:
        bundle: digest of the bundle.
        part, target, board, runtime: by name.
        versions: of the runtime and the tools, sorted pairs.
        scenario: `single-stream`: one inference after the other, batch 1.
        method: one of METHODS; holds for every figure here.
        source: in words, what gave the figures.
        started_at: UTC, ISO 8601.
        conditions, warmup: see there; no warm-up where no time was measured.
        latency_s: seconds of each inference, by window.
        instructions, cycles: of each inference.
        energy_j: joules per inference, by window.
        arena_bytes, flash_bytes, ram_bytes, stack_bytes: what an inference takes of the device's memories; flash
            holds code and constants, RAM the arena and everything static.
        code_bytes: the part of flash that is instructions.
        steps: what each step of the network costs, in order; empty where the board does not tell.
        circuit: what the core takes of an FPGA, and its clock; None where the part is no circuit.
        absent: sorted pairs of every metric that is None, and why.
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
    def samples_s(self) -> tuple[float, ...]:
        """Every latency in the order it was taken; empty where there is none."""
        return tuple(sample for window in self.latency_s or () for sample in window)


def _check_samples(measurement: Measurement) -> None:
    for name in ("latency_s", "instructions", "cycles", "energy_j"):
        samples = getattr(measurement, name)
        if samples is not None and (not samples or any(sample == () for sample in samples)):
            raise DeviceError(f"measurement on {measurement.board}: {name} is there but holds no samples.")
