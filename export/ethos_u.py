"""Target `ethos-u`: one `.tflite` file compiled by Vela for several Ethos-U, the plain file, and Vela's estimates."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from dataclasses import fields as names_of
from pathlib import Path

from export import arm_a, strict_json, vela
from export.atomic import write_file, write_text
from export.errors import ExportError
from export.target import Capability, Facts, Source, Target, check_capability
from export.tflite import write_tflite
from export.vela import NPUS, Estimate, Layer

SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Estimates:
    """The version of Vela, its estimate for every NPU that takes the network, and why the others do not."""

    vela: str
    npus: Mapping[str, Estimate]
    refused: Mapping[str, str]


def estimates_file(stem: str) -> str:
    """Return the name of the file that holds the estimates."""
    return f"{stem}_estimates.json"


def write(source: Source, folder: Path) -> Facts:
    """Write `NAME.tflite`, `NAME_ethos-u55-128.tflite` and so on for every NPU, and `NAME_estimates.json`.

    The compiled files hold the same network: Vela replaces what an NPU takes by one operator, the rest stays as it
    was. Nothing here executes them; the plain file is what runtimes check. Where Vela refuses one NPU the facts say so.

    Raises:
        ExportError: the graph holds what a `.tflite` file cannot express, or Vela is missing or refuses every NPU.
    """
    check_capability(TARGET, source.graph)
    reason = vela.missing()
    if reason:
        raise ExportError(f"ethos-u: {reason}.")
    facts = dict(write_tflite(source, folder, int4=False))
    plain = folder / str(facts["file"])
    found, refused = _compiled(plain, folder)
    estimates = Estimates(vela.version(), found, refused)
    write_text(folder / estimates_file(plain.stem), to_json(estimates))
    said = {name: _said(made) for name, made in found.items()}
    return {**facts, "vela": estimates.vela, "npus": said, "refused": refused}


def _compiled(plain: Path, folder: Path) -> tuple[dict[str, Estimate], dict[str, str]]:
    found, refused = {}, {}
    for npu in NPUS:
        try:
            made = vela.compile_for(npu, plain)
        except ExportError as error:
            refused[npu.name] = str(error)
            continue
        write_file(folder / f"{plain.stem}_{npu.name}.tflite", made.data)
        found[npu.name] = made.estimate
    if not found:
        raise ExportError(f"ethos-u: no NPU takes the network. {next(iter(refused.values()))}")
    return found, refused


def _said(made: Estimate) -> dict[str, object]:
    return {
        "cycles": made.cycles,
        "clock_hz": made.clock_hz,
        "sram_bytes": made.sram_bytes,
        "dram_bytes": made.dram_bytes,
        "flash_bytes": made.flash_bytes,
        "on_cpu": [f"{layer.operator} {layer.name}" for layer in made.on_cpu],
    }


def to_json(estimates: Estimates) -> str:
    """Return the estimates of a part as JSON."""
    npus = {name: asdict(made) for name, made in estimates.npus.items()}
    record = {"schema": SCHEMA, "vela": estimates.vela, "npus": npus, "refused": dict(estimates.refused)}
    return json.dumps(record, indent=1, sort_keys=True) + "\n"


def read_estimates(path: Path) -> Estimates:
    """Read what `to_json` wrote.

    Raises:
        ExportError: there is no such file, or it is damaged.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror}. Export the model to ethos-u first.") from error
    keys = ("schema", "vela", "npus", "refused")
    body = strict_json.fields(strict_json.parse_object(text, str(path)), keys, str(path))
    if type(body["schema"]) is not int or body["schema"] != SCHEMA:
        raise ExportError(f"{path}: schema {body['schema']!r}; this version reads {SCHEMA}. Export the model again.")
    npus = strict_json.typed(body["npus"], dict, f"{path}: npus")
    refused = strict_json.typed(body["refused"], dict, f"{path}: refused")
    return Estimates(
        strict_json.typed(body["vela"], str, f"{path}: vela"),
        {name: _estimate(record, f"{path}: {name}") for name, record in npus.items()},
        {name: strict_json.typed(reason, str, f"{path}: refused {name}") for name, reason in refused.items()},
    )


def _estimate(record: object, where: str) -> Estimate:
    body = strict_json.fields(record, tuple(f.name for f in names_of(Estimate)), where)
    layers = strict_json.typed(body.pop("layers"), list, f"{where}: layers")
    return Estimate(**_counts(body, where), layers=tuple(_layer(layer, f"{where}: layers") for layer in layers))


def _layer(record: object, where: str) -> Layer:
    body = strict_json.fields(record, tuple(f.name for f in names_of(Layer)), where)
    name, operator, target = (
        strict_json.typed(body.pop(key), str, f"{where}: {key}") for key in ("name", "operator", "target")
    )
    counts = _counts(body, where)
    return Layer(name, operator, target, counts["cycles"], counts["macs"])


def _counts(body: dict[str, object], where: str) -> dict[str, int]:
    found = {key: strict_json.typed(value, int, f"{where}: {key}") for key, value in body.items()}
    if min(found.values()) < 0:
        raise ExportError(f"{where}: a count is negative.")
    return found


TARGET = Target(
    name="ethos-u",
    summary="the int8 .tflite compiled by Vela for Ethos-U55, U65 and U85, with Arm's estimates of cycles and memory",
    capability=Capability(
        weights=tuple(f"int{bits}" for bits in range(2, 9)),
        activations=("int8", "uint8"),
        operators=arm_a.TARGET.capability.operators,
    ),
    write=write,
)
