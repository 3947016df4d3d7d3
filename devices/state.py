"""The state of a device before and after a run: what makes two latencies comparable, or not.

What could not be read has a reason in `absent`: never 0, never a guess. `conditions` reads it, here is what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from devices import strict
from devices.errors import DeviceError

#: What may be absent, each with a reason then.
STATES = ("load", "clocks", "temperatures", "throttling", "boot_id", "power_mode")
#: What a record of an earlier schema lacks.
NOT_RECORDED = tuple((name, "not recorded when this was measured") for name in sorted(STATES) if name != "load")
#: The same as JSON.
_EARLIER: Mapping[str, object] = {
    "clocks": [],
    "temperatures": [],
    "throttling": [],
    "boot_id": None,
    "power_mode": None,
    "settings": {},
    "absent": dict(NOT_RECORDED),
}


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock domain (`policy0` of the CPUs, `17000000.gpu`): its frequencies in Hz, None where a file was unreadable.

    `least_hz` and `most_hz` are the limits in force, `before_hz` and `after_hz` the frequency around the run.
    """

    name: str
    governor: str | None
    least_hz: int | None
    most_hz: int | None
    before_hz: int | None
    after_hz: int | None


@dataclass(frozen=True, slots=True)
class Temperature:
    """A thermal zone in degrees Celsius, None where the sensor was off or unreadable."""

    zone: str
    before_c: float | None
    after_c: float | None


@dataclass(frozen=True, slots=True)
class Counter:
    """A counter of throttling events since boot: a rise means that the device was slowed down during the run."""

    name: str
    before: int | None
    after: int | None

    @property
    def rise(self) -> int | None:
        """How often it happened during the run; None where that is unknown."""
        return None if self.before is None or self.after is None else self.after - self.before


@dataclass(frozen=True, slots=True)
class Conditions:
    """The state of the machine around a run.

    Attributes:
        cpu_model, cores, system: what it is; `system` is operating system, kernel and architecture.
        load_before, load_after: load averages over one minute; None with a reason for `load`.
        governor: frequency governor of the first CPU; None with a `governor_reason` where the system does not say.
        clocks, temperatures, throttling: empty with a reason where there is none.
        boot_id: the kernel's id of this boot: counters of two boots do not continue each other.
        power_mode: the vendor's power mode (`MAXN (0)`).
        settings: what was set for the run and how it was left, sorted pairs.
        absent: sorted pairs of every one of STATES that is not there, and why.
    """

    cpu_model: str
    cores: int
    system: str
    load_before: float | None
    load_after: float | None
    governor: str | None
    governor_reason: str | None
    clocks: tuple[Clock, ...] = ()
    temperatures: tuple[Temperature, ...] = ()
    throttling: tuple[Counter, ...] = ()
    boot_id: str | None = None
    power_mode: str | None = None
    settings: tuple[tuple[str, str], ...] = ()
    absent: tuple[tuple[str, str], ...] = NOT_RECORDED

    def __post_init__(self) -> None:
        """Refuse a state that is not there without a reason, and a reason for one that is."""
        there = {
            "load": self.load_before is not None and self.load_after is not None,
            "clocks": bool(self.clocks),
            "temperatures": bool(self.temperatures),
            "throttling": bool(self.throttling),
            "boot_id": self.boot_id is not None,
            "power_mode": self.power_mode is not None,
        }
        reasons = dict(self.absent)
        wrong = [name for name in STATES if there[name] == bool(reasons.get(name))]
        wrong += sorted(set(reasons) - set(STATES))
        if wrong:
            raise DeviceError(f"conditions: {wrong[0]} needs either a value or a reason, not both and not neither.")

    @property
    def throttled(self) -> tuple[Counter, ...]:
        """The counters that rose during the run."""
        return tuple(counter for counter in self.throttling if counter.rise)


def conditions_from_record(value: object, where: str, *, complete: bool = True) -> Conditions:
    """Read what `dataclasses.asdict` made of conditions, with `absent` and `settings` as objects.

    Args:
        value: the parsed JSON.
        where: for messages.
        complete: False for schemas before 4, which hold no more than load and governor.

    Raises:
        DeviceError: naming `where` and the key.
    """
    names = tuple(f.name for f in fields(Conditions))
    body = {**_EARLIER, **strict.fields(value, names if complete else names[:7], where)}

    def real(key: str) -> float | None:
        return None if body[key] is None else strict.real(body[key], f"{where}.{key}")

    def text(key: str) -> str | None:
        return strict.optional(body[key], str, f"{where}.{key}")

    def listed(key: str) -> list[object]:
        return list(strict.typed(body[key], list, f"{where}.{key}"))

    return Conditions(
        cpu_model=strict.typed(body["cpu_model"], str, f"{where}.cpu_model"),
        cores=strict.count(body["cores"], f"{where}.cores"),
        system=strict.typed(body["system"], str, f"{where}.system"),
        load_before=real("load_before"),
        load_after=real("load_after"),
        governor=text("governor"),
        governor_reason=text("governor_reason"),
        clocks=tuple(_clock(item, f"{where}.clocks") for item in listed("clocks")),
        temperatures=tuple(_temperature(item, f"{where}.temperatures") for item in listed("temperatures")),
        throttling=tuple(_counter(item, f"{where}.throttling") for item in listed("throttling")),
        boot_id=text("boot_id"),
        power_mode=text("power_mode"),
        settings=strict.words(body["settings"], f"{where}.settings"),
        absent=strict.words(body["absent"], f"{where}.absent"),
    )


def _integer(value: object, where: str) -> int | None:
    return None if value is None else strict.count(value, where)


def _clock(value: object, where: str) -> Clock:
    body = strict.fields(value, tuple(f.name for f in fields(Clock)), where)
    governor = strict.optional(body["governor"], str, f"{where}.governor")
    limits = [_integer(body[key], f"{where}.{key}") for key in ("least_hz", "most_hz", "before_hz", "after_hz")]
    return Clock(strict.typed(body["name"], str, f"{where}.name"), governor, *limits)


def _temperature(value: object, where: str) -> Temperature:
    body = strict.fields(value, tuple(f.name for f in fields(Temperature)), where)
    degrees = [strict.optional(body[key], float, f"{where}.{key}") for key in ("before_c", "after_c")]
    return Temperature(strict.typed(body["zone"], str, f"{where}.zone"), *degrees)


def _counter(value: object, where: str) -> Counter:
    body = strict.fields(value, tuple(f.name for f in fields(Counter)), where)
    counts = [_integer(body[key], f"{where}.{key}") for key in ("before", "after")]
    return Counter(strict.typed(body["name"], str, f"{where}.name"), *counts)
