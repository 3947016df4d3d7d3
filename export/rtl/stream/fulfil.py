"""From what a user asks to a core, and the record of its folding, from which the same core can be built again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from export import strict_json
from export.errors import ExportError
from export.rtl.stream.build import Core, build
from export.rtl.stream.check import check_results
from export.rtl.stream.device import FAMILIES, Device, Resources
from export.rtl.stream.fold import LUT_SHARE, for_budget, for_cycles
from export.rtl.stream.folds import STYLES, Fold
from export.rtl.stream.output import Output
from export.rtl.stream.request import CYCLES, CircuitRequest
from quant.program import Program

#: Keys of a record that are there where a core gives more, or something else, than the codes of the network's output.
MORE = ("labels", "taps", "status")


def fulfil(name: str, program: Program, request: CircuitRequest) -> Core:
    """Build the streaming core that a request asks for.

    Raises:
        ExportError: it does not fit the budget (with a table by layer and the fastest folding that does), or a given
            fold does not divide its layer.
    """
    results = request.results(program.output)
    if request.folds is not None:
        return build(name, program, request.folds, request.input_lanes, request.device, results, status=request.status)
    check_results(program, results)
    budget = Resources(request.budget.lut * LUT_SHARE, request.budget.dsp, request.budget.bram)
    if request.cycles is not None:
        found = for_cycles(program, request.cycles, request.device, budget, results)
    else:
        found = for_budget(program, request.device, budget, results)
        if found.cycles < CYCLES:
            found = for_cycles(program, CYCLES, request.device, budget, results)
    return build(name, program, found.folds, found.input_lanes, request.device, results, status=request.status)


def folding_record(core: Core) -> dict[str, Any]:
    """Return the JSON record from which `core_of` builds the same core again."""
    folds = {unit.step.name: asdict(fold) for unit, fold in core.folds()}
    first, *taps = core.plan.results
    outputs = {"labels": first.labels, "taps": [asdict(tap) for tap in taps]} if first.labels or taps else {}
    status = {"status": True} if core.plan.status else {}
    return {
        "architecture": "stream",
        "family": core.plan.device.family,
        "folds": folds,
        "input_lanes": core.plan.input_lanes,
        **outputs,
        **status,
    }


def core_of(name: str, program: Program, path: Path) -> Core:
    """Build the core whose folding a file records.

    Raises:
        ExportError: the file is damaged, or is not a folding of this network.
    """
    return fulfil(name, program, read_request(path))


def read_folds(path: Path) -> tuple[dict[str, Fold], int, Device]:
    """Read folds, input lanes and family from a folding file; anyone may have edited it.

    Raises:
        ExportError: naming the file and the key.
    """
    asked = read_request(path)
    return dict(asked.folds or {}), asked.input_lanes, asked.device


def read_request(path: Path) -> CircuitRequest:
    """Read what a folding file asks for: folds, input lanes, family, and outputs where it names any.

    Raises:
        ExportError: naming the file and the key.
    """
    try:
        record = strict_json.parse_object(path.read_bytes(), str(path))
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror or error}.") from error
    more = tuple(key for key in MORE if key in record)
    strict_json.fields(record, ("architecture", "family", "folds", "input_lanes", *more), str(path))
    family, folds = record["family"], record["folds"]
    device = next((one for one in FAMILIES if one.family == family), None)
    if device is None or record["architecture"] != "stream" or not isinstance(folds, dict):
        known = ", ".join(one.family for one in FAMILIES)
        raise ExportError(f"{path}: not the folding of a streaming core for one of the families {known}.")
    return CircuitRequest(
        "stream",
        device,
        folds={name: _fold(fold, f"{path}: folds: {name}") for name, fold in folds.items()},
        input_lanes=_count(record["input_lanes"], f"{path}: input_lanes"),
        labels=strict_json.typed(record.get("labels", False), bool, f"{path}: labels"),
        taps=tuple(_tap(tap, path) for tap in strict_json.typed(record.get("taps", []), list, f"{path}: taps")),
        status=strict_json.typed(record.get("status", False), bool, f"{path}: status"),
    )


def _tap(value: object, path: Path) -> Output:
    record = strict_json.fields(value, ("tensor", "labels"), f"{path}: taps")
    tensor = strict_json.typed(record["tensor"], str, f"{path}: taps: tensor")
    return Output(tensor, strict_json.typed(record["labels"], bool, f"{path}: taps: labels"))


def _fold(value: object, where: str) -> Fold:
    record = strict_json.fields(value, ("pe", "simd", "style"), where)
    if record["style"] not in STYLES:
        raise ExportError(f"{where}: style '{record['style']}' is none of {', '.join(STYLES)}.")
    return Fold(_count(record["pe"], f"{where}: pe"), _count(record["simd"], f"{where}: simd"), record["style"])


def _count(value: object, where: str) -> int:
    count = strict_json.typed(value, int, where)
    if count < 1:
        raise ExportError(f"{where} is {count}; it must be at least 1.")
    return count
