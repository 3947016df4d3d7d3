"""What one pipeline run found: the values that `edgemill report` draws and `edgemill compare` puts side by side.

One JSON file, `run.json`, written atomically by the pipeline and read strictly.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from devices import measurement_record, strict
from devices.errors import DeviceError
from devices.measurement import Measurement
from devices.roofline.ceiling import Ceiling
from devices.roofline.ceiling import from_record as ceiling_from_record
from export.parity import LayerDifference, Parity
from quant.cost import Summary

SCHEMA = 3
#: The schema before ceilings, which is read as well.
_WITHOUT_CEILINGS = 2
FILE = "run.json"


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Top-1 accuracy of the float and the quantised network on the same `images`, and how their labels differ.

    `agreement` is the share of images with the same label. `lost`: right in float, wrong quantised; `gained`: the
    reverse; `moved`: wrong in both, with different labels. lost + gained + moved = label flips.
    """

    images: int
    float_accuracy: float
    quantised_accuracy: float
    agreement: float
    lost: int
    gained: int
    moved: int


@dataclass(frozen=True, slots=True)
class SchemeRecord:
    """One quantised network: its scheme, weight size (codes packed at their bits, biases as stored), accuracy, time.

    `cost` is what it takes in hardware; None where the formats have no LUT figure.
    """

    scheme: str
    weight_bytes: int
    accuracy: Accuracy
    quantise_s: float
    cost: Summary | None = None


@dataclass(frozen=True, slots=True)
class BundleRecord:
    """One export: a bundle (`path` relative to the run), or the reason why the target refused the scheme."""

    target: str
    scheme: str
    parts: tuple[str, ...]
    path: str | None
    digest: str | None
    size_bytes: int | None
    refused: str | None
    parity: tuple[Parity, ...]


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A whole run. Sizes in bytes, times in seconds, accuracies as shares; `cut` names the head's last tensor.

    `ceilings`: what the machines that measured latencies can do at most; empty where that was not measured.
    """

    name: str
    version: str
    finished_at: str
    data: str
    train_images: int
    test_images: int
    labels: tuple[str, ...]
    model: str
    parameters: int
    macs: int
    float_bytes: int
    float_accuracy: float
    cut: str | None
    schemes: tuple[SchemeRecord, ...]
    bundles: tuple[BundleRecord, ...]
    measurements: tuple[Measurement, ...]
    ceilings: tuple[Ceiling, ...] = ()


def to_json(run: RunRecord) -> str:
    """Return the run as JSON."""
    record = asdict(run)
    record["measurements"] = [measurement_record.to_record(item) for item in run.measurements]
    return json.dumps({"schema": SCHEMA, **record}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_run(path: Path) -> RunRecord:
    """Read the run in a folder (or its `run.json`).

    Raises:
        DeviceError: there is none, it is damaged, of another schema, or has unknown or missing keys.
    """
    text, where = strict.read_record(path, FILE, "Make a run first: edgemill run CONFIG.toml")
    return from_record(strict.parse_object(text, where), where)


def from_record(record: object, where: str) -> RunRecord:
    """Build a run from parsed JSON; see `read_run`."""
    schema = record.get("schema") if isinstance(record, dict) else None
    if schema not in (_WITHOUT_CEILINGS, SCHEMA):
        raise DeviceError(f"{where}: run schema {schema!r}; this version reads {SCHEMA}.")
    lacking = ("ceilings",) if schema == _WITHOUT_CEILINGS else ()
    names = tuple(name for name in strict.names(RunRecord) if name not in lacking)
    body = {"ceilings": [], **strict.fields(record, ("schema", *names), where)}
    values = {key: body[key] for key in strict.names(RunRecord)}
    values["labels"] = tuple(body["labels"])
    values["schemes"] = tuple(_scheme(item, f"{where}: schemes") for item in body["schemes"])
    values["bundles"] = tuple(_bundle(item, f"{where}: bundles") for item in body["bundles"])
    values["measurements"] = tuple(
        measurement_record.from_record(item, f"{where}: measurements") for item in body["measurements"]
    )
    values["ceilings"] = tuple(ceiling_from_record(item, f"{where}: ceilings") for item in body["ceilings"])
    return RunRecord(**values)


def _scheme(value: object, where: str) -> SchemeRecord:
    body = strict.fields(value, strict.names(SchemeRecord), where)
    accuracy = strict.fields(body["accuracy"], strict.names(Accuracy), f"{where}: accuracy")
    found = body["cost"]
    cost = None if found is None else Summary(**strict.fields(found, strict.names(Summary), f"{where}: cost"))
    return SchemeRecord(body["scheme"], body["weight_bytes"], Accuracy(**accuracy), body["quantise_s"], cost)


def _bundle(value: object, where: str) -> BundleRecord:
    body = strict.fields(value, strict.names(BundleRecord), where)
    parity = tuple(parity_from_record(item, f"{where}: parity") for item in body["parity"])
    return BundleRecord(**{**body, "parts": tuple(body["parts"]), "parity": parity})


def parity_from_record(value: object, where: str) -> Parity:
    """Read one parity result, as certificates and runs hold it."""
    body = strict.fields(value, strict.names(Parity), where)
    first = body["first"]
    if first is not None:
        layer = strict.fields(first, strict.names(LayerDifference), f"{where}: first")
        first = LayerDifference(**{**layer, "index": tuple(layer["index"])})
    return Parity(**{**body, "first": first})
