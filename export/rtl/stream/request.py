"""What a user asks of a core, and the record of how it was folded that travels with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from export import strict_json
from export.errors import ExportError
from export.rtl.stream.build import Core, build
from export.rtl.stream.device import FAMILIES, XILINX, Device, Resources
from export.rtl.stream.fold import LUT_SHARE, for_budget, for_cycles
from export.rtl.stream.units import STYLES, Fold
from quant.program import Program

#: The architectures: a unit for every layer, or one multiply-accumulate for all of them.
ARCHITECTURES = ("stream", "sequential")
#: Clocks of a frame that a core gets by itself where the device has room: 2,000 frames a second at 100 MHz.
CYCLES = 50_000
#: Look-up tables, DSP blocks and block memories of an XC7Z020 (Pynq-Z2), the device when none is named.
BUDGET = Resources(53_200, 220, 140)


@dataclass(frozen=True, eq=False)
class CircuitRequest:
    """A core for a device, at most so many clocks a frame, or with given folds.

    Attributes:
        architecture: `stream`, `sequential`, or empty: stream where it fits, else sequential.
        device: the family of the FPGA.
        budget: what the device has.
        cycles: clocks a frame, at most; None: at most `CYCLES` if that fits, else as few as fit.
        folds: fold by step name instead of a search.
        input_lanes: codes in a beat of the input, with `folds`.
    """

    architecture: str = ""
    device: Device = XILINX
    budget: Resources = BUDGET
    cycles: int | None = None
    folds: Mapping[str, Fold] | None = None
    input_lanes: int = 1


def fulfil(name: str, program: Program, request: CircuitRequest) -> Core:
    """Build the streaming core that a request asks for.

    Raises:
        ExportError: it does not fit the budget (with a table by layer and the fastest folding that does), or a given
            fold does not divide its layer.
    """
    if request.folds is not None:
        return build(name, program, request.folds, request.input_lanes, request.device)
    budget = Resources(request.budget.lut * LUT_SHARE, request.budget.dsp, request.budget.bram)
    if request.cycles is not None:
        found = for_cycles(program, request.cycles, request.device, budget)
    else:
        found = for_budget(program, request.device, budget)
        if found.cycles < CYCLES:
            found = for_cycles(program, CYCLES, request.device, budget)
    return build(name, program, found.folds, found.input_lanes, request.device)


def folding_record(core: Core) -> dict[str, Any]:
    """Return the JSON record from which `core_of` builds the same core again."""
    folds = {unit.step.name: asdict(fold) for unit, fold in core.folds()}
    return {
        "architecture": "stream",
        "family": core.plan.device.family,
        "folds": folds,
        "input_lanes": core.plan.input_lanes,
    }


def core_of(name: str, program: Program, path: Path) -> Core:
    """Build the core whose folding a file records.

    Raises:
        ExportError: the file is damaged, or is not a folding of this network.
    """
    return build(name, program, *_read(path))


def read_folds(path: Path) -> tuple[dict[str, Fold], int, Device]:
    """Read folds, input lanes and family from a folding file; anyone may have edited it.

    Raises:
        ExportError: naming the file and the key.
    """
    return _read(path)


def _read(path: Path) -> tuple[dict[str, Fold], int, Device]:
    try:
        record = strict_json.parse_object(path.read_bytes(), str(path))
    except OSError as error:
        raise ExportError(f"cannot read {path}: {error.strerror or error}.") from error
    strict_json.fields(record, ("architecture", "family", "folds", "input_lanes"), str(path))
    family, folds = record["family"], record["folds"]
    device = next((one for one in FAMILIES if one.family == family), None)
    if device is None or record["architecture"] != "stream" or not isinstance(folds, dict):
        known = ", ".join(one.family for one in FAMILIES)
        raise ExportError(f"{path}: not the folding of a streaming core for one of the families {known}.")
    lanes = _count(record["input_lanes"], f"{path}: input_lanes")
    return {name: _fold(fold, f"{path}: folds: {name}") for name, fold in folds.items()}, lanes, device


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
