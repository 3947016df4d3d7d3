"""How far one layer of a runtime with its own rounding may be from the reference that gets the same inputs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from quant.formats import Array
from quant.program import (
    AddStep,
    AveragePoolStep,
    ConvStep,
    MeanStep,
    MulStep,
    Program,
    RequantizeStep,
    Step,
    TableStep,
    WideAddStep,
)
from quant.steps import reads

#: Steps that round, and may therefore differ by one step in a runtime with its own rounding.
ROUNDING = (ConvStep, AddStep, WideAddStep, MulStep, TableStep, MeanStep, RequantizeStep, AveragePoolStep)


def sources(step: Step) -> tuple[str, ...]:
    """Return the activations that a step reads."""
    return reads(step)


def allowed_steps(program: Program, step: Step, slack: Mapping[str, float]) -> float:
    """Return how many steps of its output's grid a layer may differ.

    Args:
        program: what the step belongs to.
        step: the layer; one step for its own rounding, if it rounds.
        slack: by how many steps each input may be off: 0 for one that the runtime shows (the reference gets the same
            codes), what was allowed for one that it keeps to itself. A convolution passes on at most the largest sum
            of its weights' magnitudes, a sum of addends as much as their scales say.
    """
    own = 1.0 if isinstance(step, ROUNDING) else 0.0
    if isinstance(step, TableStep):
        # The runtime computes the real function; so far is the table itself from that.
        own += step.off
    if not any(slack[name] for name in sources(step)):
        return own
    if isinstance(step, ConvStep):
        return own + slack[step.x] * _gain(step)
    if isinstance(step, AddStep | WideAddStep | MeanStep | RequantizeStep):
        grid = program.quant(step.y).scale[0]
        return own + sum(slack[name] * program.quant(name).scale[0] / grid for name in sources(step))
    if isinstance(step, MulStep):
        grid = program.quant(step.y).scale[0]
        return own + _of_product(program, step, slack) / grid
    if isinstance(step, TableStep):
        # No function is steeper than hard-swish, whose slope is 1.5 at 3.
        return own + 1.5 * slack[step.x] * program.quant(step.x).scale[0] / program.quant(step.y).scale[0]
    return own + max(slack[name] for name in sources(step))


def _of_product(program: Program, step: MulStep, slack: Mapping[str, float]) -> float:
    """Return by how much a product may differ when each factor is off by its slack: a db + b da + da db."""
    off = [slack[name] * program.quant(name).scale[0] for name in step.xs]
    most = []
    for name in step.xs:
        quant = program.quant(name)
        ends = (quant.format.min - quant.zero, quant.format.max - quant.zero)
        most.append(max(map(abs, ends)) * quant.scale[0])
    return most[0] * off[1] + most[1] * off[0] + off[0] * off[1]


def _gain(step: ConvStep) -> float:
    """Return the largest change of an output, in its steps, when every input changes by one step of its own."""
    shift = 0 if step.requant.format.is_minifloat else 31
    factors = np.array([m.mantissa * 2.0 ** (m.exponent - shift) for m in step.requant.multipliers])
    sums = np.abs(step.weight).reshape(len(step.weight), -1).sum(axis=1)
    return float((sums * factors).max())


def behind_clamps(program: Program, step: Step, values: Mapping[str, Array], shown: Mapping[str, Array]) -> Array:
    """Return where an operand that the runtime keeps in float stands at a limit of its format: a mask like `step.y`.

    The reference clamps such an operand of a sum, product or function and a float one goes on, so the results have no
    bound there. Other steps spread what they read over their output; for them nothing is left out.
    """
    mask: Array = np.zeros(shown[step.y].shape, dtype=bool)
    if isinstance(step, AddStep | MulStep | TableStep):
        for name in reads(step):
            if name not in shown and name != program.input:
                fmt = program.quant(name).format
                ordinals = fmt.to_ordinals(values[name])
                mask |= (ordinals == fmt.max_ordinal) | (ordinals == fmt.min_ordinal)
    return mask


def rounding_depth(program: Program) -> int:
    """Return the largest number of rounding steps on any path from input to output."""
    depth = {program.input: 0}
    for step in program.steps:
        depth[step.y] = max(depth[name] for name in sources(step)) + isinstance(step, ROUNDING)
    return depth[program.output]
