"""Fronts, matrices and rows of a sweep, as values."""

from __future__ import annotations

import math
from collections.abc import Sequence

from devices.report import units
from devices.report.cloud import Cloud
from devices.report.front import Point, short_count
from devices.report.paired import standard_error
from devices.report.table import Cell, Column, Table, cells, number_columns
from devices.run_record import Accuracy
from devices.sweep_record import SweepCell, SweepRecord, measured
from quant.formats import find_format

Known = Sequence[tuple[SweepCell, Accuracy]]
#: A drop of so many standard errors, and of twice as many, changes a cell's colour in a matrix.
SURE = 2.0


def clouds(sweep: SweepRecord) -> tuple[Cloud, ...]:
    """Return accuracy against the size of the weights, against LUTs, and against bit operations."""
    found = measured(sweep.cells)
    if not found:
        return ()
    family = f"LUTs per MAC ({sweep.family}, {sweep.tool})"
    sides = (
        ("Size", "weights, scales and biases", [cell.cost.parameter_bytes / 1024 for cell, _ in found], _size),
        ("FPGA logic", family, [cell.cost.luts_per_mac for cell, _ in found], units.significant),
        (
            "Bit operations",
            "bit operations per inference",
            [cell.cost.bit_operations for cell, _ in found],
            short_count,
        ),
    )
    kinds = tuple(kind_of(cell) for cell, _ in found)
    return tuple(
        Cloud(title, axis, _points(sweep, found, costs, luts=axis is family), kinds, sweep.float_accuracy, text)
        for title, axis, costs, text in sides
    )


def _size(kibibytes: float) -> str:
    return units.size(round(1024 * kibibytes))


def _points(sweep: SweepRecord, found: Known, costs: Sequence[float], *, luts: bool) -> tuple[Point, ...]:
    return tuple(
        Point(
            title_of(sweep, cell) + (" (fitted)" if luts and cell.cost.luts_measured < 1.0 else ""),
            float(value),
            accuracy.quantised_accuracy,
            standard_error(accuracy.quantised_accuracy, accuracy.images),
        )
        for (cell, accuracy), value in zip(found, costs, strict=True)
    )


def title_of(sweep: SweepRecord, cell: SweepCell) -> str:
    """Return a cell's scheme, with its passes where a sweep has several."""
    return cell.scheme if len({other.method for other in sweep.cells}) == 1 else f"{cell.scheme}, {cell.method}"


def kind_of(cell: SweepCell) -> str:
    """Say whether a cell's formats are both integers, both minifloats, or mixed."""
    kinds = {find_format(name).is_minifloat for name in (cell.weight, cell.activation)}
    return "mixed" if len(kinds) == 2 else "minifloats" if kinds == {True} else "integers"


def variants(sweep: SweepRecord) -> tuple[tuple[str, bool], ...]:
    """Return the methods and granularities of a sweep, in order."""
    return tuple(dict.fromkeys((cell.method, cell.per_channel) for cell in sweep.cells))


def variant_name(variant: tuple[str, bool]) -> str:
    """Return a method and granularity in words."""
    return f"passes {variant[0]}, weight scales per {'channel' if variant[1] else 'tensor'}"


def matrix(sweep: SweepRecord, variant: tuple[str, bool]) -> Table:
    """Return the accuracy of every pair of formats, weights downwards and activations to the right."""
    group = [cell for cell in sweep.cells if (cell.method, cell.per_channel) == variant]
    by_pair = {(cell.weight, cell.activation): cell for cell in group}
    rows, columns = (tuple(dict.fromkeys(names)) for names in zip(*by_pair, strict=True))
    body = tuple(
        cells(row, *(_matrix_cell(sweep, by_pair.get((row, column)), digits=1) for column in columns)) for row in rows
    )
    caption = f"Top-1 accuracy in %, {variant_name(variant)}: weights downwards, activations to the right"
    return Table(caption, (Column(""), *number_columns(*columns)), body)


def bits_matrix(sweep: SweepRecord) -> Table:
    """Return the best pair at every number of bits of weights and activations."""
    found = measured(sweep.cells)
    rows, columns = (sorted({getattr(cell, key) for cell, _ in found}) for key in ("weight_bits", "activation_bits"))
    body = []
    for row in rows:
        line = []
        for column in columns:
            here = [(c, a) for c, a in found if (c.weight_bits, c.activation_bits) == (row, column)]
            line.append(_best_cell(sweep, here))
        body.append(cells(f"{row}-bit weights", *line))
    heads = number_columns(*(f"{column}-bit activations" for column in columns))
    return Table("Best pair of formats at every number of bits: top-1 accuracy in %", (Column(""), *heads), tuple(body))


def _best_cell(sweep: SweepRecord, here: Known) -> Cell:
    if not here:
        return Cell(units.DASH, kind="absent")
    best, _ = max(here, key=lambda pair: (pair[1].quantised_accuracy, -pair[0].cost.luts_per_mac))
    shown = _matrix_cell(sweep, best, digits=2)
    return Cell(shown.text, f"{best.weight}, {best.activation}", shown.kind)


def _matrix_cell(sweep: SweepRecord, cell: SweepCell | None, digits: int) -> Cell:
    """Return an accuracy, coloured by how far below float it is in standard errors."""
    if cell is None or cell.accuracy is None:
        return Cell(units.DASH, kind="absent")
    value = cell.accuracy.quantised_accuracy
    drop = sweep.float_accuracy - value
    error = math.sqrt(max(sweep.float_accuracy * (1 - sweep.float_accuracy), 1e-9) / cell.accuracy.images)
    kind = "near" if drop <= SURE * error else "low" if drop <= 4 * SURE * error else "lost"
    return Cell(f"{100 * value:.{digits}f}", kind=kind)


def refusals(sweep: SweepRecord) -> tuple[tuple[str, str], ...]:
    """Return the scheme of every cell without accuracy, and why."""
    return tuple((title_of(sweep, cell), cell.refused) for cell in sweep.cells if cell.refused is not None)
