"""Pipes of steps that make one code of each code or pair of codes."""

from __future__ import annotations

from collections.abc import Mapping

from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.add import add
from export.rtl.stream.pipes.mul import mul
from export.rtl.stream.pipes.product import PIECE
from export.rtl.stream.pipes.table import minimum, requantize, table
from export.rtl.stream.pipes.wide_add import wide_add
from quant.formats import Format
from quant.steps import AddStep, MinimumStep, MulStep, RequantizeStep, TableStep, WideAddStep


def elementwise(
    module: str,
    step: AddStep | WideAddStep | MulStep | TableStep | RequantizeStep | MinimumStep,
    formats: Mapping[str, Format],
    lanes: int,
    *,
    tile: int = PIECE + 1,
) -> Pipe:
    """Return the pipe of an elementwise step; `formats` by tensor. Inputs are `in_data`, or `in_a` and `in_b`."""
    match step:
        case AddStep():
            return add(module, step, formats[step.xs[0]], formats[step.xs[1]], lanes, tile=tile)
        case WideAddStep():
            return wide_add(module, step, formats[step.xs[0]], formats[step.xs[1]], lanes, tile=tile)
        case MulStep():
            return mul(module, step, formats[step.xs[0]], formats[step.xs[1]], lanes, tile=tile)
        case TableStep():
            return table(module, step, formats[step.x], formats[step.y], lanes)
        case RequantizeStep():
            return requantize(module, step, formats[step.x], lanes, tile=tile)
        case MinimumStep():
            return minimum(module, step, formats[step.x], lanes)
