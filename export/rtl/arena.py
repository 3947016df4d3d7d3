"""Addresses of tensors in one memory, shared by tensors that are never alive together."""

from __future__ import annotations

import math
from dataclasses import dataclass

from quant.program import AddStep, MoveStep, Program, Step, WideAddStep


@dataclass(frozen=True, slots=True)
class Arena:
    """First address of every tensor, and the words the memory needs."""

    offsets: dict[str, int]
    words: int


def reads(step: Step) -> tuple[str, ...]:
    """Return the tensors a step reads."""
    return step.xs if isinstance(step, AddStep | WideAddStep | MoveStep) else (step.x,)


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
    """Place the largest tensors first, each at the lowest address free during its whole life."""
    lives = lifetimes(program)
    sizes = {name: math.prod(program.tensors[name].shape) for name in lives}
    offsets: dict[str, int] = {}
    for name in sorted(lives, key=lambda n: (-sizes[n], lives[n][0])):
        rivals = [n for n in offsets if lives[n][0] <= lives[name][1] and lives[name][0] <= lives[n][1]]
        offsets[name] = _lowest_gap(sizes[name], sorted((offsets[n], offsets[n] + sizes[n]) for n in rivals))
    return Arena(offsets, max(offsets[name] + sizes[name] for name in offsets))


def _lowest_gap(size: int, taken: list[tuple[int, int]]) -> int:
    start = 0
    for low, high in taken:
        if low - start >= size:
            return start
        start = max(start, high)
    return start
