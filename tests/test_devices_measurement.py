"""Measurements: strict records that come back as they were, and values that are there or have a reason."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from devices.board import METRICS
from devices.errors import DeviceError
from devices.measurement import Measurement, Step
from devices.measurement_record import from_json, from_record, to_json, to_record
from devices.state import Clock, Counter, Temperature
from tests.measurements import CONDITIONS, measurement

SIZES = {"flash_bytes": 9, "code_bytes": 4, "ram_bytes": 1, "stack_bytes": 64}
STEPS = (Step("conv", 4608, 9_000, None), Step("mean", 0, 120, None))
CASES = {
    "latency": measurement(),
    "instructions": measurement(latency_s=None, instructions=(100, 101), warmup=None, steps=STEPS, **SIZES),
    "cycles": measurement(latency_s=None, cycles=(5354,), warmup=None, method="simulated"),
    "energy": measurement(energy_j=(1e-3, 2e-3)),
}


@pytest.mark.parametrize("case", CASES)
def test_json_round_trip_is_exact(case: str) -> None:
    found = CASES[case]
    assert from_json(to_json(found)) == found
    assert "\n" not in to_json(found)


def test_samples_are_in_order() -> None:
    assert measurement(latency_s=((1.0, 2.0), (3.0,))).samples_s == (1.0, 2.0, 3.0)
    assert CASES["cycles"].samples_s == ()


@pytest.mark.parametrize("metric", METRICS)
def test_a_metric_is_there_or_has_a_reason_never_both_or_neither(metric: str) -> None:
    full = measurement(instructions=(1,), cycles=(1,), energy_j=(1.0,), arena_bytes=1, **SIZES)
    assert full.absent == ()
    with pytest.raises(DeviceError, match=f"{metric} has a value and a reason"):
        replace(full, absent=((metric, "why not"),))
    field = next(name for name in Measurement.__dataclass_fields__ if name.split("_")[0] == metric)
    with pytest.raises(DeviceError, match=f"{metric} has no value and no reason"):
        replace(full, **{field: None})
    with pytest.raises(DeviceError, match="reason that is empty"):
        replace(full, **{field: None, "absent": ((metric, ""),)})


def _set(record: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    *parents, last = path.split(".")
    inner = record
    for parent in parents:
        inner = inner[parent]
    inner[last] = value
    return record


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("schema", 1, "schema 1"),
        ("schema", True, "schema True"),
        ("colour", "red", "unknown key 'colour'"),
        ("conditions.colour", "red", "unknown key 'colour'"),
        ("bundle", 7, "bundle must be of type str"),
        ("latency_s", [[1.0], ["fast"]], "latency_s must be of type float"),
        ("latency_s", [[-1.0]], "from 0 up"),
        ("latency_s", [[]], "holds no samples"),
        ("latency_s", [], "holds no samples"),
        ("latency_s", [[1]], "must be of type float, not int"),
        ("method", "guessed", "method 'guessed'"),
        ("absent", {"energy": 0}, "absent of 'energy'"),
        ("absent", {}, "no reason"),
        ("warmup.runs", True, "warmup.runs must be of type int, not bool"),
        ("conditions.load_before", "low", "load_before must be of type float"),
    ],
)
def test_a_wrong_record_is_refused(path: str, value: object, message: str) -> None:
    record = _set(json.loads(to_json(measurement())), path, value)
    with pytest.raises(DeviceError, match=message):
        from_record(record, "m.json")


@pytest.mark.parametrize("key", sorted(to_record(measurement())))
def test_a_missing_key_is_refused(key: str) -> None:
    record = {k: v for k, v in json.loads(to_json(measurement())).items() if k != key}
    with pytest.raises(DeviceError, match=key):
        from_record(record, "m.json")


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"a": 1, "a": 2}', '{"a": NaN}', "nul"])
def test_text_that_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match=r"m\.json"):
        from_json(text, "m.json")


def _record_of(schema: int) -> dict[str, Any]:
    """A record as versions of that schema wrote it."""
    steps = (Step("conv", 4608, 9_000, None),)
    record: dict[str, Any] = json.loads(to_json(measurement(instructions=(9_000,), steps=steps)))
    for key in ("energy", "samples_per_query", "loadgen", *(("circuit",) if schema == 2 else ())):
        record.pop(key, None)
    for key in ("clocks", "temperatures", "throttling", "boot_id", "power_mode", "settings", "absent"):
        del record["conditions"][key]
    del record["steps"][0]["time_s"]
    return {**record, "schema": schema}


@pytest.mark.parametrize("schema", [2, 3])
def test_records_of_earlier_schemas_are_read(schema: int) -> None:
    """What they lack has a reason; a key that they did not know is refused."""
    found = from_json(json.dumps(_record_of(schema)))
    assert found == measurement(instructions=(9_000,), steps=(Step("conv", 4608, 9_000, None),))
    assert dict(found.conditions.absent)["clocks"] == "not recorded when this was measured"
    for key in ("energy", "samples_per_query", *(("circuit",) if schema == 2 else ())):
        with pytest.raises(DeviceError, match=key):
            from_record({**_record_of(schema), key: None})
    with pytest.raises(DeviceError, match="clocks"):
        record = _record_of(schema)
        from_record({**record, "conditions": {**record["conditions"], "clocks": []}})
    with pytest.raises(DeviceError, match="time_s"):
        record = _record_of(schema)
        from_record({**record, "steps": [{**record["steps"][0], "time_s": 1.0}]})


def test_the_state_of_a_device_comes_back_as_it_was() -> None:
    state = replace(
        CONDITIONS,
        clocks=(Clock("17000000.gpu", "nvhost_podgov", 306_000_000, 1_020_000_000, 306_000_000, None),),
        temperatures=(Temperature("gpu-thermal", 41.5, None), Temperature("cold", -12.0, -11.5)),
        throttling=(Counter("soctherm_oc oc3", 27_390, 27_397),),
        boot_id="b0",
        power_mode="MAXN (0)",
        settings=(("nvpmodel", "0 for the run, then 2 again"),),
        absent=(),
    )
    found = from_json(to_json(measurement(conditions=state))).conditions
    assert found == state
    assert [(c.name, c.rise) for c in found.throttled] == [("soctherm_oc oc3", 7)]


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"boot_id": "b0"}, "boot_id"),
        ({"absent": ()}, "clocks"),
        ({"load_after": None}, "load"),
        ({"absent": (*CONDITIONS.absent, ("colour", "red"))}, "colour"),
    ],
)
def test_a_state_is_there_or_has_a_reason(changes: dict[str, Any], name: str) -> None:
    with pytest.raises(DeviceError, match=f"conditions: {name} needs either"):
        replace(CONDITIONS, **changes)
