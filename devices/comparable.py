"""May two measurements be compared? Every condition that forbids it, by name and with both values."""

from __future__ import annotations

from devices.measurement import Measurement
from devices.state import Conditions

#: Devices whose hottest zones were further apart than this, in degrees Celsius, were not in the same state.
TEMPERATURE_CLASS_C = 15.0


def differing_conditions(base: Measurement, other: Measurement) -> tuple[str, ...]:
    """Name every condition that differs, with both values; latencies may be compared only when there is none."""
    kind = (
        ("board", base.board, other.board),
        ("runtime", base.runtime, other.runtime),
        ("method", base.method, other.method),
        ("scenario", base.scenario, other.scenario),
        ("queries put by", _driver(base), _driver(other)),
    )
    exact = is_exact(base) and is_exact(other)
    pairs = kind if exact else (*kind, *_machine(base.conditions, other.conditions))
    named = [f"{name}: {old} against {new}" for name, old, new in pairs if old != new]
    named += [] if exact else _warmth(base.conditions, other.conditions)
    return (*named, *differing_versions(base, other))


def _driver(measurement: Measurement) -> str:
    return "LoadGen" if measurement.loadgen else "edgemill"


def _machine(ours: Conditions, theirs: Conditions) -> tuple[tuple[str, object, object], ...]:
    return (
        ("CPU model", ours.cpu_model, theirs.cpu_model),
        ("cores", ours.cores, theirs.cores),
        ("system", ours.system, theirs.system),
        ("governor", ours.governor or "unknown", theirs.governor or "unknown"),
        ("power mode", ours.power_mode or "unknown", theirs.power_mode or "unknown"),
        ("clock limits", _limits(ours), _limits(theirs)),
        ("settings", _settings(ours), _settings(theirs)),
    )


def _limits(state: Conditions) -> str:
    clocks = sorted(state.clocks, key=lambda clock: clock.name)
    return ", ".join(f"{c.name} {c.governor} {c.least_hz} to {c.most_hz} Hz" for c in clocks) or "unknown"


def _settings(state: Conditions) -> str:
    return ", ".join(f"{name}={value}" for name, value in state.settings) or "none"


def _warmth(ours: Conditions, theirs: Conditions) -> list[str]:
    """Name the temperature where one device was much hotter before its run; nothing where one is unknown."""
    old, new = _hottest(ours), _hottest(theirs)
    if old is None or new is None or abs(old - new) <= TEMPERATURE_CLASS_C:
        return []
    return [f"temperature: {old:.0f} °C against {new:.0f} °C"]


def _hottest(state: Conditions) -> float | None:
    return max((zone.before_c for zone in state.temperatures if zone.before_c is not None), default=None)


def is_exact(measurement: Measurement) -> bool:
    """Whether a latency follows from a netlist: it does not vary, and no machine takes part in it."""
    return measurement.method == "synthesised"


def differing_versions(base: Measurement, other: Measurement) -> tuple[str, ...]:
    """Name every runtime, tool or package whose version differs."""
    ours, theirs = dict(base.versions), dict(other.versions)
    return tuple(
        f"{name} version: {ours.get(name, 'none')} against {theirs.get(name, 'none')}"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    )
