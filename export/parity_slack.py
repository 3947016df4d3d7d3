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
    MoveStep,
    Program,
    RequantizeStep,
    Step,
    WideAddStep,
)

#: Steps that round, and may therefore differ by one step in a runtime with its own rounding.
ROUNDING = (ConvStep, AddStep, WideAddStep, MeanStep, RequantizeStep, AveragePoolStep)


def sources(step: Step) -> tuple[str, ...]:
    """Return the activations that a step reads."""
    return step.xs if isinstance(step, AddStep | WideAddStep | MoveStep) else (step.x,)


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
    if not any(slack[name] for name in sources(step)):
        return own
    if isinstance(step, ConvStep):
        return own + slack[step.x] * _gain(step)
    if isinstance(step, AddStep | WideAddStep | MeanStep | RequantizeStep):
        grid = program.quant(step.y).scale[0]
        return own + sum(slack[name] * program.quant(name).scale[0] / grid for name in sources(step))
    return own + max(slack[name] for name in sources(step))


def _gain(step: ConvStep) -> float:
    """Return the largest change of an output, in its steps, when every input changes by one step of its own."""
    shift = 0 if step.requant.format.is_minifloat else 31
    factors = np.array([m.mantissa * 2.0 ** (m.exponent - shift) for m in step.requant.multipliers])
    sums = np.abs(step.weight).reshape(len(step.weight), -1).sum(axis=1)
    return float((sums * factors).max())


def behind_clamps(program: Program, step: Step, values: Mapping[str, Array], shown: Mapping[str, Array]) -> Array:
    """Return where a sum's addend, kept in float by the runtime, stands at a limit of its format: a mask like `step.y`.

    The reference clamps such an addend and a float one goes on, so the sums have no bound there. Other steps spread
    what they read over their output; for them nothing is left out.
    """
    mask: Array = np.zeros(shown[step.y].shape, dtype=bool)
    if isinstance(step, AddStep):
        for name in step.xs:
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
