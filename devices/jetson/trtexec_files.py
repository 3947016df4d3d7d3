"""The JSON files that trtexec exports: every inference's times, time by layer, and what became of the layers.

Read in the sources of TensorRT 8.2 to 10. The file of times holds the warm-up in 8.2 and not in later releases,
although the log counts without it in all of them: what the log does not count is taken off the front.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass
from typing import Any

from devices.errors import DeviceError

#: Of each inference; `endToEndMs` is there in 8.x only.
_TIMES = ("startH2dMs", "startComputeMs", "h2dMs", "computeMs", "d2hMs", "latencyMs")
#: Two figures of one inference are sums of rounded ones: so many milliseconds apart they may be.
_ROUNDING_MS = 2e-3
_PRECISION = re.compile(r"\b(FP32|FP16|BF16|FP8|INT8|INT4|FP4|INT32|INT64|Float|Half|Int8)\b", re.IGNORECASE)
_SHORT = {"FLOAT": "FP32", "HALF": "FP16"}


@dataclass(frozen=True, slots=True)
class Inference:
    """One inference, in seconds: latency is copying in, computing and copying out."""

    latency_s: float
    compute_s: float
    copy_in_s: float
    copy_out_s: float


@dataclass(frozen=True, slots=True)
class LayerTime:
    """A layer of the engine (its name joins those of the network's nodes with ` + `): time of one inference.

    `median` says that `time_s` is the median over inferences; older releases give the mean only.
    """

    name: str
    time_s: float
    median: bool


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer of the engine: its type and the number format of its output, both empty where the file has names only."""

    name: str
    kind: str
    precision: str


def read_times(text: str, queries: int | None, where: str = "times") -> tuple[Inference, ...]:
    """Read `--exportTimes`.

    Args:
        text: the file.
        queries: how many inferences the log counted behind the warm-up; None where it does not say.
        where: for messages.

    Raises:
        DeviceError: it is damaged, empty, shorter than the log says, or its figures contradict each other.
    """
    rows = [_times(row, f"{where}, inference {number}") for number, row in enumerate(_listed(text, where))]
    if queries is not None and len(rows) < queries:
        raise DeviceError(f"{where} holds {len(rows)} inferences; trtexec's log counts {queries}. It was cut off.")
    rows = rows if queries is None else rows[len(rows) - queries :]
    if not rows:
        raise DeviceError(f"{where} holds no inference behind the warm-up. Let it run longer.")
    return tuple(
        Inference(row["latencyMs"] / 1e3, row["computeMs"] / 1e3, row["h2dMs"] / 1e3, row["d2hMs"] / 1e3)
        for row in rows
    )


def read_profile(text: str, where: str = "profile") -> tuple[LayerTime, ...]:
    """Read `--exportProfile`: the count of inferences, then a layer each.

    Raises:
        DeviceError: it is damaged, or holds no layer or no inference.
    """
    rows = _listed(text, where)
    count = rows[0].get("count") if rows and isinstance(rows[0], dict) else None
    if type(count) is not int or count < 1:
        raise DeviceError(f"{where} does not begin with the count of inferences.")
    layers = tuple(_layer_time(row, count, where) for row in rows[1:])
    if not layers:
        raise DeviceError(f"{where} holds no layer.")
    return layers


def read_layers(text: str, where: str = "layers") -> tuple[Layer, ...]:
    """Read `--exportLayerInfo`: objects where the engine was built with detailed verbosity, else names.

    Raises:
        DeviceError: it is damaged.
    """
    body = _parsed(text, where)
    rows = body.get("Layers") if isinstance(body, dict) else None
    if not isinstance(rows, list):
        raise DeviceError(f"{where} has no list called Layers.")
    return tuple(_layer(row, where) for row in rows)


def _layer(row: Any, where: str) -> Layer:
    if isinstance(row, str):
        return Layer(row, "", "")
    if not isinstance(row, dict) or not isinstance(row.get("Name"), str):
        raise DeviceError(f"{where} has a layer without a name.")
    outputs = row.get("Outputs")
    first = outputs[0] if isinstance(outputs, list) and outputs and isinstance(outputs[0], dict) else {}
    found = _PRECISION.search(str(first.get("Format/Datatype", first.get("Datatype", ""))))
    precision = found[1].upper() if found else ""
    return Layer(row["Name"], str(row.get("LayerType", "")), _SHORT.get(precision, precision))


def _layer_time(row: Any, count: int, where: str) -> LayerTime:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise DeviceError(f"{where} has a layer without a name.")
    named = f"{where}, layer '{row['name'][:60]}'"
    if "medianMs" in row:
        return LayerTime(row["name"], _number(row, "medianMs", named) / 1e3, True)
    if "averageMs" in row:
        return LayerTime(row["name"], _number(row, "averageMs", named) / 1e3, False)
    return LayerTime(row["name"], _number(row, "timeMs", named) / count / 1e3, False)


def _times(row: Any, where: str) -> dict[str, float]:
    if not isinstance(row, dict):
        raise DeviceError(f"{where} is not an object.")
    found = {key: _number(row, key, where) for key in _TIMES}
    parts = found["h2dMs"] + found["computeMs"] + found["d2hMs"]
    if abs(parts - found["latencyMs"]) > _ROUNDING_MS + 1e-4 * parts:
        raise DeviceError(f"{where}: latency {found['latencyMs']} ms is not the sum of its parts, {parts} ms.")
    return found


def _number(row: dict[str, Any], key: str, where: str) -> float:
    value: Any = row.get(key)
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise DeviceError(f"{where}: {key} is {value!r}; it must be a number from 0 up.")
    return float(value)


def _listed(text: str, where: str) -> list[Any]:
    found = _parsed(text, where)
    if not isinstance(found, list):
        raise DeviceError(f"{where} is not a list.")
    return found


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DeviceError(
            f"{where} is not JSON: {error}. trtexec was stopped while it wrote, or its disk is full."
        ) from error
