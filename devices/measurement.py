"""One measurement: raw samples and the conditions they were taken under. Statistics are computed when asked (`stats`).

A metric is either there, or it has a reason why not: never 0, never a guess.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from devices import strict
from devices.board import METRICS
from devices.circuit import Circuit, circuit_from_record
from devices.errors import DeviceError

SCHEMA = 3
#: The schema before circuits, which is read as well.
_WITHOUT_CIRCUIT = 2
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


def to_record(measurement: Measurement) -> dict[str, object]:
    """Turn a measurement into an object that JSON can hold."""
    record = asdict(measurement)
    record["versions"] = dict(measurement.versions)
    record["absent"] = dict(measurement.absent)
    return {"schema": SCHEMA, **record}


def to_json(measurement: Measurement) -> str:
    """Return a measurement as one line of JSON with sorted keys."""
    return json.dumps(to_record(measurement), sort_keys=True, allow_nan=False)


def from_json(text: str, where: str = "measurement") -> Measurement:
    """Read what `to_json` wrote.

    Raises:
        DeviceError: naming `where` and the key: not JSON, another schema, a key missing, unknown or of a wrong type.
    """
    return from_record(strict.parse_object(text, where), where)


def from_record(record: object, where: str = "measurement") -> Measurement:
    """Read the object that `to_record` made; see `from_json`."""
    schema = record.get("schema") if isinstance(record, dict) else None
    if type(schema) is not int or schema not in (_WITHOUT_CIRCUIT, SCHEMA):
        raise DeviceError(f"{where}: measurement schema {schema!r}; this version reads {SCHEMA}.")
    names = tuple(f.name for f in fields(Measurement))
    if schema == _WITHOUT_CIRCUIT:
        names = tuple(name for name in names if name != "circuit")
    body = {"circuit": None, **strict.fields(record, ("schema", *names), where)}

    def text(key: str) -> str:
        return strict.typed(body[key], str, f"{where}: {key}")

    def byte_count(key: str) -> int | None:
        return None if body[key] is None else strict.count(body[key], f"{where}: {key}")

    def integers(key: str) -> tuple[int, ...] | None:
        return None if body[key] is None else strict.counts(body[key], f"{where}: {key}")

    return Measurement(
        bundle=text("bundle"),
        part=text("part"),
        target=text("target"),
        board=text("board"),
        runtime=text("runtime"),
        versions=strict.words(body["versions"], f"{where}: versions"),
        scenario=text("scenario"),
        method=text("method"),
        source=text("source"),
        started_at=text("started_at"),
        conditions=_conditions(body["conditions"], f"{where}: conditions"),
        warmup=None if body["warmup"] is None else _warmup(body["warmup"], f"{where}: warmup"),
        latency_s=_windows(body["latency_s"], f"{where}: latency_s"),
        instructions=integers("instructions"),
        cycles=integers("cycles"),
        energy_j=None if body["energy_j"] is None else strict.reals(body["energy_j"], f"{where}: energy_j"),
        arena_bytes=byte_count("arena_bytes"),
        flash_bytes=byte_count("flash_bytes"),
        code_bytes=byte_count("code_bytes"),
        ram_bytes=byte_count("ram_bytes"),
        stack_bytes=byte_count("stack_bytes"),
        absent=strict.words(body["absent"], f"{where}: absent"),
        steps=tuple(_step(item, f"{where}: steps") for item in strict.typed(body["steps"], list, f"{where}: steps")),
        circuit=None if body["circuit"] is None else circuit_from_record(body["circuit"], f"{where}: circuit"),
    )


def _windows(value: object, where: str) -> tuple[tuple[float, ...], ...] | None:
    if value is None:
        return None
    return tuple(strict.reals(window, where) for window in strict.typed(value, list, where))


def _step(value: object, where: str) -> Step:
    body = strict.fields(value, tuple(f.name for f in fields(Step)), where)
    counts = {key: body[key] for key in ("instructions", "cycles")}
    return Step(
        name=strict.typed(body["name"], str, f"{where}.name"),
        macs=strict.count(body["macs"], f"{where}.macs"),
        **{key: None if found is None else strict.count(found, f"{where}.{key}") for key, found in counts.items()},
    )


def _conditions(value: object, where: str) -> Conditions:
    body = strict.fields(value, tuple(f.name for f in fields(Conditions)), where)
    return Conditions(
        cpu_model=strict.typed(body["cpu_model"], str, f"{where}.cpu_model"),
        cores=strict.count(body["cores"], f"{where}.cores"),
        system=strict.typed(body["system"], str, f"{where}.system"),
        load_before=strict.real(body["load_before"], f"{where}.load_before"),
        load_after=strict.real(body["load_after"], f"{where}.load_after"),
        governor=strict.optional(body["governor"], str, f"{where}.governor"),
        governor_reason=strict.optional(body["governor_reason"], str, f"{where}.governor_reason"),
    )


def _warmup(value: object, where: str) -> Warmup:
    body = strict.fields(value, tuple(f.name for f in fields(Warmup)), where)
    return Warmup(
        open_s=strict.real(body["open_s"], f"{where}.open_s"),
        first_s=strict.real(body["first_s"], f"{where}.first_s"),
        total_s=strict.real(body["total_s"], f"{where}.total_s"),
        runs=strict.count(body["runs"], f"{where}.runs"),
    )
