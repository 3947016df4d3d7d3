"""Addresses of tensors in one memory, shared by tensors that are never alive together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from export.c99 import arena
from quant.program import Program
from quant.steps import reads


@dataclass(frozen=True, slots=True)
class Arena:
    """First address of every tensor, and the words the memory needs."""

    offsets: dict[str, int]
    words: int


def lifetimes(program: Program) -> dict[str, tuple[int, int]]:
    """Return the first and last step during which each tensor must be kept (the input is there before step 0)."""
    first = {program.input: -1} | {step.y: index for index, step in enumerate(program.steps)}
    last = dict(first)
    for index, step in enumerate(program.steps):
        for name in reads(step):
            last[name] = index
    last[program.output] = len(program.steps)
    return {name: (first[name], last[name]) for name in first}


def plan(program: Program) -> Arena:
    """Place every tensor by the planner of the C target; one code is one word here, where it plans bytes."""
    lives = lifetimes(program)
    buffers = [arena.Buffer(name, math.prod(program.tensors[name].shape), *lives[name]) for name in lives]
    offsets = arena.plan(buffers).offsets
    return Arena(offsets, max(offsets[buffer.name] + buffer.size_bytes for buffer in buffers))
