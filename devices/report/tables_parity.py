"""Tables of the proof: what was executed, how it agreed, what was not executed, what a target refused."""

from __future__ import annotations

from devices.report import units
from devices.report.table import Cell, Column, Table, cells, number_columns, text_columns
from devices.report.verdict import refusals
from devices.run_record import BundleRecord, RunRecord
from export.parity import LayerDifference, Parity

#: How a status is shown. `not run` is no success and no failure.
KINDS = {"bit-exact": "good", "bounded": "good", "wrong": "bad", "inconclusive": "warn", "not run": "absent"}
NO_RUNTIME = "no runtime or emulator here executes this target; run the bundle's own test on the device"


def parity_table(run: RunRecord) -> Table:
    """Return one row for every check, and one for every bundle that had none."""
    rows = [row for bundle in run.bundles if bundle.refused is None for row in _bundle_rows(bundle)]
    columns = (
        *text_columns("target", "scheme", "part", "runtime", "status"),
        *number_columns("vectors", "labels", "max steps", "values that differ", "same top-1"),
        Column("first layer that differs, or the reason", wide=True),
    )
    return Table(
        "Codes of every executed part against the integer reference, in steps of the output grid", columns, tuple(rows)
    )


def _bundle_rows(bundle: BundleRecord) -> list[tuple[Cell, ...]]:
    if not bundle.parity:
        status = Cell("not run", kind=KINDS["not run"])
        head = cells(bundle.target, bundle.scheme, "+".join(bundle.parts), units.DASH, status)
        return [(*head, *_dashes(5), Cell(NO_RUNTIME))]
    return [_parity_row(bundle, parity) for parity in bundle.parity]


def _parity_row(bundle: BundleRecord, found: Parity) -> tuple[Cell, ...]:
    status = Cell(found.status, kind=KINDS[found.status])
    head = cells(bundle.target, bundle.scheme, found.part, found.runtime, status)
    if found.vectors == 0:
        return (*head, *_dashes(5), Cell(found.reason))
    differ = f"{units.count(found.differing)} of {units.count(found.total)}"
    figures = cells(str(found.vectors), str(found.labels), str(found.max_steps), differ)
    return (*head, *figures, Cell(units.percent(found.top1_agreement, 1)), _first(found))


def _first(found: Parity) -> Cell:
    return Cell(found.reason) if found.first is None else Cell(layer_text(found.first), found.reason)


def layer_text(layer: LayerDifference) -> str:
    """Say which layer differs, how much, and the codes at the first place."""
    place = ", ".join(str(i) for i in layer.index)
    steps = f"{layer.max_steps} step{'s' if layer.max_steps != 1 else ''}"
    return (
        f"{layer.node} ({layer.kind}): up to {steps} in {units.count(layer.differing)} of {units.count(layer.total)}; "
        f"at [{place}] expected {layer.expected}, got {layer.actual}"
    )


def _dashes(number: int) -> tuple[Cell, ...]:
    return tuple(Cell(units.DASH) for _ in range(number))


def refusal_table(run: RunRecord) -> Table:
    """Return the pairs of target and scheme that were refused, with the reason."""
    rows = tuple(cells(bundle.target, bundle.scheme, reason) for bundle, reason in refusals(run))
    columns = (*text_columns("target", "scheme"), Column("reason", wide=True))
    return Table("Refused: the target cannot express the scheme", columns, rows)
