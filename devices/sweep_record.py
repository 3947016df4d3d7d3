"""What a sweep found: a cell for every pair of formats, granularity and passes. `sweep.json`, schema 1, read strictly.

The same inputs give the same bytes: nothing in the record depends on time or on the machine.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from devices import strict
from devices.errors import DeviceError
from devices.run_record import Accuracy
from quant.cost import Summary

SCHEMA = 1
FILE = "sweep.json"


@dataclass(frozen=True, slots=True)
class SweepCell:
    """One quantised network of a sweep.

    `scheme` and `method` (the passes) make it again. `weight` and `activation` are the names of its formats, `bits` of
    both kinds. `accuracy` is None where `refused` says why. `exact` says whether its accumulators fit the integer
    reference; other cells exist in emulation only.
    """

    scheme: str
    method: str
    weight: str
    activation: str
    weight_bits: int
    activation_bits: int
    per_channel: bool
    exact: bool
    refused: str | None
    accuracy: Accuracy | None
    cost: Summary


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """A whole sweep. Accuracies are shares, of an emulation in float; `family` and `tool` are of the LUTs."""

    model: str
    data: str
    calibration_images: int
    test_images: int
    seed: int
    float_accuracy: float
    parameters: int
    macs: int
    family: str
    tool: str
    cells: tuple[SweepCell, ...]


def to_json(sweep: SweepRecord) -> str:
    """Return the sweep as JSON."""
    return json.dumps({"schema": SCHEMA, **asdict(sweep)}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_sweep(path: Path) -> SweepRecord:
    """Read the sweep in a folder (or its `sweep.json`).

    Raises:
        DeviceError: there is none, it is damaged, of another schema, or has unknown or missing keys.
    """
    text, where = strict.read_record(path, FILE, "Make a sweep first: edgemill sweep MODEL")
    body = strict.fields(strict.parse_object(text, where), ("schema", *strict.names(SweepRecord)), where)
    if body["schema"] != SCHEMA:
        raise DeviceError(f"{where}: sweep schema {body['schema']!r}; this version reads {SCHEMA}.")
    values = {key: body[key] for key in strict.names(SweepRecord)}
    listed = strict.typed(body["cells"], list, f"{where}: cells")
    values["cells"] = tuple(cell_from_record(item, f"{where}: cells") for item in listed)
    return SweepRecord(**values)


def cell_from_record(value: object, where: str) -> SweepCell:
    """Build a cell from parsed JSON; see `read_sweep`."""
    body = strict.fields(value, strict.names(SweepCell), where)
    if (body["accuracy"] is None) == (body["refused"] is None):
        raise DeviceError(f"{where}: cell '{body['scheme']}' needs either an accuracy or the reason why there is none.")
    found = body["accuracy"]
    accuracy = None if found is None else Accuracy(**strict.fields(found, strict.names(Accuracy), f"{where}: accuracy"))
    cost = Summary(**strict.fields(body["cost"], strict.names(Summary), f"{where}: cost"))
    return SweepCell(**{**body, "accuracy": accuracy, "cost": cost})


def measured(cells: Sequence[SweepCell]) -> tuple[tuple[SweepCell, Accuracy], ...]:
    """Return the cells that have an accuracy, with it."""
    return tuple((cell, cell.accuracy) for cell in cells if cell.accuracy is not None)
