"""Measurements as strict JSON: one object each, exact keys and types, older schemas read as well."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

from devices import strict
from devices.circuit import circuit_from_record
from devices.errors import DeviceError
from devices.measurement import Conditions, Measurement, Step, Warmup

SCHEMA = 3
#: The schema before circuits, which is read as well.
_WITHOUT_CIRCUIT = 2


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
