"""Made-up measurements for tests."""

from __future__ import annotations

from typing import Any

from devices.board import METRICS
from devices.measurement import Measurement, Warmup
from devices.state import Conditions

CONDITIONS = Conditions("A CPU", 4, "Linux", 0.1, 0.2, None, "no cpufreq here")


def measurement(**changes: Any) -> Measurement:
    """A quiet measurement of 5 windows of 20 samples near 1 ms; metrics that are None get a reason."""
    values: dict[str, Any] = {
        "bundle": "ab" * 32,
        "part": "model",
        "target": "host",
        "board": "host-ort",
        "runtime": "onnxruntime",
        "versions": (("onnxruntime", "1"), ("python", "3")),
        "scenario": "single-stream",
        "method": "measured",
        "source": "wall clock",
        "started_at": "2026-01-01T00:00:00+00:00",
        "conditions": CONDITIONS,
        "warmup": Warmup(0.1, 0.01, 0.3, 30),
        "latency_s": steady(),
        "instructions": None,
        "cycles": None,
        "energy_j": None,
        "arena_bytes": None,
        "flash_bytes": None,
        "code_bytes": None,
        "ram_bytes": None,
        "stack_bytes": None,
    }
    values.update(changes)
    present = {"latency": "latency_s", "energy": "energy_j", "arena": "arena_bytes"}
    present |= {name: f"{name}_bytes" for name in ("flash", "code", "ram", "stack")}
    absent = tuple((m, "no meter here") for m in sorted(METRICS) if values[present.get(m, m)] is None)
    return Measurement(**{"absent": absent, **values})


def steady(windows: int = 5, samples: int = 20) -> tuple[tuple[float, ...], ...]:
    """Latencies near 1 ms that jump up and down a little, without a trend."""
    return tuple(
        tuple(1e-3 * (1 + ((w * samples + s) * 7919 % 101 - 50) / 5000) for s in range(samples)) for w in range(windows)
    )
