"""What a run gave, before it becomes a measurement."""

from __future__ import annotations

from dataclasses import dataclass

from devices.circuit import Circuit
from devices.measurement import LoadgenVerdict, Step, Warmup
from devices.meters.energy import Energy


@dataclass(frozen=True, slots=True)
class Found:
    """Raw results of one run, None where it gave nothing; `source` says in words where they come from.

    `absent` is why this run lacks a metric that its board gives otherwise. `method` is set where it is not the board's,
    as for something that stands for a board. `windows_ns` is when each window of `latency_s` began and ended, on the
    runner's CLOCK_MONOTONIC_RAW. Where there was a meter, `energy` is there or its reason is in `absent`.
    """

    source: str
    versions: tuple[tuple[str, str], ...]
    warmup: Warmup | None = None
    latency_s: tuple[tuple[float, ...], ...] | None = None
    instructions: tuple[int, ...] | None = None
    cycles: tuple[int, ...] | None = None
    arena_bytes: int | None = None
    flash_bytes: int | None = None
    code_bytes: int | None = None
    ram_bytes: int | None = None
    stack_bytes: int | None = None
    steps: tuple[Step, ...] = ()
    circuit: Circuit | None = None
    absent: tuple[tuple[str, str], ...] = ()
    samples_per_query: int = 1
    loadgen: LoadgenVerdict | None = None
    method: str | None = None
    windows_ns: tuple[tuple[int, int], ...] = ()
    energy: Energy | None = None
