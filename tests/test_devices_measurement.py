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
from tests.measurements import measurement

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
