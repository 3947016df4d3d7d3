"""Measurements joined with the bundles they belong to, in the order of the run."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from devices.measurement import METHODS, Measurement
from devices.run_record import BundleRecord, RunRecord

UNKNOWN = "unknown scheme"


@dataclass(frozen=True, slots=True)
class Entry:
    """One measurement and its bundle; None when the run holds no bundle with that digest."""

    measurement: Measurement
    bundle: BundleRecord | None

    @property
    def scheme(self) -> str:
        """The scheme of the bundle."""
        return self.bundle.scheme if self.bundle else UNKNOWN

    @property
    def is_whole(self) -> bool:
        """Whether the measured part is the whole network, so that its cost goes with the network's accuracy."""
        return self.bundle is not None and self.bundle.parts == (self.measurement.part,)

    @property
    def label(self) -> str:
        """Scheme, and part where it is not the whole network."""
        return self.scheme if self.is_whole else f"{self.scheme} {self.measurement.part}"

    @property
    def title(self) -> str:
        """Label and board."""
        return f"{self.label} on {self.measurement.board}"


def entries(run: RunRecord) -> tuple[Entry, ...]:
    """Return every measurement of a run with its bundle."""
    bundles = {bundle.digest: bundle for bundle in run.bundles if bundle.digest is not None}
    return tuple(Entry(item, bundles.get(item.bundle)) for item in run.measurements)


def with_metric(found: Sequence[Entry], metric: str) -> tuple[tuple[str, tuple[Entry, ...]], ...]:
    """Return the entries that hold a metric, by method: figures of two methods never share a table or an axis."""
    holding = [entry for entry in found if entry.measurement.value(metric) is not None]
    groups = ((method, tuple(e for e in holding if e.measurement.method == method)) for method in METHODS)
    return tuple((method, group) for method, group in groups if group)


def cost(entry: Entry, metric: str) -> float:
    """Return the median of a metric's samples: latency in s, energy in J, instructions or cycles per inference."""
    measurement = entry.measurement
    samples: Sequence[float] | None = {
        "latency": measurement.samples_s or None,
        "instructions": measurement.instructions,
        "cycles": measurement.cycles,
        "energy": measurement.energy_j,
    }[metric]
    if samples is None:
        raise ValueError(f"{entry.title} has no {metric}")
    return float(statistics.median(samples))


def energy_method(entry: Entry) -> str:
    """Return how the energy was obtained, which may differ from the latency's method: a trace can be replayed."""
    energy = entry.measurement.energy
    return entry.measurement.method if energy is None else energy.method


def machine(measurement: Measurement) -> str:
    """Say which machine a measurement ran on, without its load, which differs from run to run."""
    state = measurement.conditions
    governor = f"governor {state.governor}" if state.governor else f"governor unknown ({state.governor_reason})"
    return f"{state.cpu_model}, {state.cores} cores, {state.system}; {governor}"
