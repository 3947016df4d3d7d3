"""Choosing a folding: for a number of clocks a frame, or the fastest one that a device has room for.

Every layer gets the fewest products at once that keep it within the clocks, so that no unit is much faster than the
slowest one; then DSP blocks replace look-up tables, largest layers first, as long as there are any.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from export.errors import ExportError
from export.rtl.lanes.lanes import Lanes
from export.rtl.stream.device import Device, Resources, total
from export.rtl.stream.folds import Fold
from export.rtl.stream.output import Output
from export.rtl.stream.plan import Design, design
from export.rtl.stream.resources import PER_DSP, design_resources
from export.rtl.stream.schedule import bottleneck
from export.rtl.stream.units import Elementwise, Layer, Windowed, divisors, fold_choices, image, walk_of
from quant.program import Program
from quant.steps import ConvStep, MoveStep, Step, reads

#: Share of a device's look-up tables that an estimate may take: routers need room, and estimates are off.
LUT_SHARE = 0.85


@dataclass(frozen=True, eq=False)
class Folding:
    """Folds by step name, the lanes of the input, the clocks of the slowest place and the estimated resources."""

    folds: Mapping[str, Fold]
    input_lanes: int
    cycles: int
    resources: Resources


def for_cycles(
    program: Program,
    cycles: int,
    device: Device,
    budget: Resources | None = None,
    results: tuple[Output, ...] = (),
) -> Folding:
    """Return the smallest folding that needs at most `cycles` clocks a frame (or as few as possible where none does).

    `results` are the core's outputs, () for the codes of the network's.

    Raises:
        ExportError: with a `budget`, when the folding does not fit it; the message has the table by layer and the
            fastest folding that fits.
    """
    found = _folding(program, cycles, device, budget, results)
    if budget is not None and not found.resources.fits(budget):
        raise ExportError(_refusal(program, found, device, budget, results))
    return found


def for_budget(program: Program, device: Device, budget: Resources, results: tuple[Output, ...] = ()) -> Folding:
    """Return the fastest folding that a budget has room for; `results` as `for_cycles`.

    Raises:
        ExportError: even one product at once in every layer does not fit; the message has the table by layer.
    """
    options = candidate_cycles(program, results)
    low, high, best = 0, len(options) - 1, None
    while low <= high:
        middle = (low + high) // 2
        found = _folding(program, options[middle], device, budget, results)
        if found.resources.fits(budget):
            best, high = found, middle - 1
        else:
            low = middle + 1
    if best is None:
        smallest = _folding(program, options[-1], device, budget, results)
        raise ExportError(
            _table(program, smallest, device, budget, results) + "\nEven the smallest folding does not fit."
        )
    return best


def candidate_cycles(program: Program, results: tuple[Output, ...] = ()) -> list[int]:
    """Return every number of clocks that some folding of some layer takes, ascending, at most 200 of them.

    A network without layers takes as many clocks as its longest stream has codes.
    """
    plan = design(program, {}, results=results)
    layers = [unit.step for unit in plan.units if isinstance(unit, Layer)]
    if not layers:
        return [bottleneck(plan)]
    by_layer = [{walk_of(program, step, fold).steps for fold in fold_choices(program, step)} for step in layers]
    floor = max(min(values) for values in by_layer)
    ordered = sorted(value for value in set().union(*by_layer) if value >= floor)
    return ordered[:: max(1, len(ordered) // 200)] + ordered[-1:]


def _folding(
    program: Program, cycles: int, device: Device, budget: Resources | None, results: tuple[Output, ...]
) -> Folding:
    folds = {step.name: _fold(program, step, cycles) for step in program.steps if not isinstance(step, MoveStep)}
    channels, height, width = image(program, program.input)
    lanes = next((n for n in divisors(channels) if channels * height * width // n <= cycles), channels)
    plan = design(program, folds, lanes, device, results)
    if budget is not None:
        plan = _with_dsps(plan, device, budget)
    chosen = {unit.step.name: unit.fold for unit in plan.units if isinstance(unit, Layer)}
    chosen |= {unit.step.name: Fold(unit.lanes) for unit in plan.units if isinstance(unit, Elementwise)}
    return Folding(chosen, lanes, bottleneck(plan), total(design_resources(plan, device)))


def _fold(program: Program, step: Step, cycles: int) -> Fold:
    """Return the fold with the fewest products within the clocks; of those the one with the longest sums."""
    channels, height, width = image(program, reads(step)[0])
    if not isinstance(step, Windowed):
        lanes = next((n for n in divisors(channels) if channels // n * height * width <= cycles), channels)
        return Fold(lanes)
    choices = fold_choices(program, step)
    enough = [fold for fold in choices if _clocks(program, step, fold) <= cycles]
    if not enough:
        return min(choices, key=lambda fold: (_clocks(program, step, fold), fold.pe * fold.simd))
    return min(enough, key=lambda fold: (fold.pe * fold.simd, fold.pe % 2, fold.pe))


def _clocks(program: Program, step: Windowed, fold: Fold) -> int:
    walk = walk_of(program, step, fold)
    return max(walk.steps, walk.height * walk.row_words)


def _with_dsps(plan: Design, device: Device, budget: Resources) -> Design:
    """Return a design in which DSP blocks make the products of the largest layers, as far as there are any."""
    free = budget.dsp - total(design_resources(plan, device)).dsp
    units = list(plan.units)
    order = sorted(range(len(units)), key=lambda i: -_products(units[i]))
    for index in order:
        unit = units[index]
        style = _style(plan, unit, device) if isinstance(unit, Layer) and isinstance(unit.step, ConvStep) else None
        if style is None or not isinstance(unit, Layer):
            continue
        need = -(-unit.fold.pe * unit.fold.simd // PER_DSP[style])
        if need <= free:
            free -= need
            units[index] = replace(unit, fold=replace(unit.fold, style=style))
    return replace(plan, units=tuple(units))


def _products(unit: object) -> int:
    return unit.fold.pe * unit.fold.simd if isinstance(unit, Layer) and isinstance(unit.step, ConvStep) else 0


def _style(plan: Design, unit: Layer, device: Device) -> str | None:
    """Return the best way to make a layer's products in DSP blocks, None where look-up tables are as good."""
    assert isinstance(unit.step, ConvStep)
    weight, activation = unit.step.weight_format, plan.program.quant(unit.step.x).format
    if weight.is_minifloat or activation.is_minifloat or max(weight.bits, activation.bits) > device.narrow_bits:
        return None
    if unit.apart or unit.fold.pe % 2:
        return "dsp"
    try:
        Lanes(weight, activation, unit.fold.simd, "dsp_pair", device.family)
    except ExportError:
        return "dsp"
    return "dsp_pair"


def _refusal(program: Program, found: Folding, device: Device, budget: Resources, results: tuple[Output, ...]) -> str:
    text = _table(program, found, device, budget, results)
    try:
        fits = for_budget(program, device, budget, results)
    except ExportError:
        return f"{text}\nNo folding of this network fits."
    return f"{text}\nThe fastest folding that fits takes {fits.cycles} clocks a frame: ask for at most that rate."


def _table(program: Program, found: Folding, device: Device, budget: Resources, results: tuple[Output, ...]) -> str:
    """Return the estimate by layer beside the budget."""
    plan = design(program, found.folds, found.input_lanes, device, results)
    rows = [("layer", "clocks", "pe x simd", "LUT", "DSP", "BRAM")]
    for unit, need in zip(plan.units, design_resources(plan, device), strict=True):
        fold = f"{unit.fold.pe} x {unit.fold.simd}" if isinstance(unit, Layer) else "-"
        rows.append((unit.step.name, str(unit.cycles), fold, f"{need.lut:.0f}", str(need.dsp), f"{need.bram:g}"))
    need = found.resources
    rows.append(("together", str(found.cycles), "", f"{need.lut:.0f}", str(need.dsp), f"{need.bram:g}"))
    rows.append(("available", "", "", f"{budget.lut:.0f}", str(budget.dsp), f"{budget.bram:g}"))
    widths = [max(len(row[column]) for row in rows) for column in range(6)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return f"fpga: '{program.name}' with {found.cycles} clocks a frame does not fit (estimates):\n" + "\n".join(lines)
