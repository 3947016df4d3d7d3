"""Measurements as strict JSON: one object each, exact keys and types, older schemas read as well."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields

from devices import strict
from devices.circuit import circuit_from_record
from devices.errors import DeviceError
from devices.measurement import LoadgenVerdict, Measurement, Step, Warmup
from devices.meters.energy_record import energy_from_record
from devices.state import conditions_from_record

SCHEMA = 4
#: Earlier schemas that are read as well: what they lack, and what that is then.
_LACKED: Mapping[int, Mapping[str, object]] = {
    2: {"circuit": None},
    3: {"samples_per_query": 1, "loadgen": None, "energy": None},
}
#: What a step had before schema 4.
_STEP_BEFORE_4 = ("name", "macs", "instructions", "cycles")


def to_record(measurement: Measurement) -> dict[str, object]:
    """Turn a measurement into an object that JSON can hold."""
    record = asdict(measurement)
    record["versions"] = dict(measurement.versions)
    record["absent"] = dict(measurement.absent)
    if measurement.loadgen is not None:
        record["loadgen"] = {**asdict(measurement.loadgen), "figures": dict(measurement.loadgen.figures)}
    state = measurement.conditions
    record["conditions"] = {**asdict(state), "settings": dict(state.settings), "absent": dict(state.absent)}
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
    if type(schema) is not int or schema not in (*_LACKED, SCHEMA):
        readable = ", ".join(str(number) for number in (*_LACKED, SCHEMA))
        raise DeviceError(f"{where}: measurement schema {schema!r}; this version reads {readable}.")
    current, lacked = (
        schema == SCHEMA,
        {k: v for old, keys in _LACKED.items() if schema <= old for k, v in keys.items()},
    )
    names = tuple(f.name for f in fields(Measurement) if f.name not in lacked)
    body = {**lacked, **strict.fields(record, ("schema", *names), where)}

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
        conditions=conditions_from_record(body["conditions"], f"{where}: conditions", complete=current),
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
        steps=tuple(
            _step(item, f"{where}: steps", timed=current)
            for item in strict.typed(body["steps"], list, f"{where}: steps")
        ),
        circuit=None if body["circuit"] is None else circuit_from_record(body["circuit"], f"{where}: circuit"),
        samples_per_query=strict.count(body["samples_per_query"], f"{where}: samples_per_query"),
        loadgen=None if body["loadgen"] is None else _verdict(body["loadgen"], f"{where}: loadgen"),
        energy=None if body["energy"] is None else energy_from_record(body["energy"], f"{where}: energy"),
    )


def _verdict(value: object, where: str) -> LoadgenVerdict:
    body = strict.fields(value, tuple(f.name for f in fields(LoadgenVerdict)), where)
    return LoadgenVerdict(
        valid=strict.typed(body["valid"], bool, f"{where}.valid"),
        reasons=strict.typed(body["reasons"], str, f"{where}.reasons"),
        figures=strict.words(body["figures"], f"{where}.figures"),
        version=strict.typed(body["version"], str, f"{where}.version"),
    )


def _windows(value: object, where: str) -> tuple[tuple[float, ...], ...] | None:
    if value is None:
        return None
    return tuple(strict.reals(window, where) for window in strict.typed(value, list, where))


def _step(value: object, where: str, *, timed: bool) -> Step:
    names = tuple(f.name for f in fields(Step)) if timed else _STEP_BEFORE_4
    body = {"time_s": None, **strict.fields(value, names, where)}
    counts = {key: body[key] for key in ("instructions", "cycles")}
    return Step(
        name=strict.typed(body["name"], str, f"{where}.name"),
        macs=strict.count(body["macs"], f"{where}.macs"),
        **{key: None if found is None else strict.count(found, f"{where}.{key}") for key, found in counts.items()},
        time_s=None if body["time_s"] is None else strict.real(body["time_s"], f"{where}.time_s"),
    )


def _warmup(value: object, where: str) -> Warmup:
    body = strict.fields(value, tuple(f.name for f in fields(Warmup)), where)
    return Warmup(
        open_s=strict.real(body["open_s"], f"{where}.open_s"),
        first_s=strict.real(body["first_s"], f"{where}.first_s"),
        total_s=strict.real(body["total_s"], f"{where}.total_s"),
        runs=strict.count(body["runs"], f"{where}.runs"),
    )
