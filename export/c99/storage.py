"""Which tensors share memory, where each lives, and for how long: the input of the memory plan."""

from __future__ import annotations

from dataclasses import dataclass

from export.c99.arena import Buffer
from export.c99.layout import same_order, size
from quant import operators as ops
from quant.program import AddStep, MinimumStep, MoveStep, Program, Step, WideAddStep

INPUT, OUTPUT = "input", "output"


@dataclass(frozen=True, eq=False)
class Storage:
    """The C expression of every tensor, the buffers behind them, and what frames the steps.

    `tidy_input` says that the input must first be copied without negative zeros; `copy_output` that the last
    tensor is the input itself and must be copied to the output.
    """

    names: dict[str, str]
    buffers: tuple[Buffer, ...]
    tidy_input: bool
    copy_output: bool


def reads(step: Step) -> tuple[str, ...]:
    """Return the activations a step reads."""
    return step.xs if isinstance(step, AddStep | WideAddStep | MoveStep) else (step.x,)


def store(program: Program) -> Storage:
    """Decide where every tensor lives.

    A reshape that moves nothing, and a Minimum of what nothing else reads, share memory with their input. The
    reference rewrites negative zeros of a minifloat input as positive ones; every kernel that decodes does the same, so
    only steps that move input codes need a copy.
    """
    roots = _roots(program)
    out = roots[program.output]
    moved = any(roots[x] == program.input for s in program.steps if isinstance(s, MoveStep) for x in s.xs)
    minifloat = program.quant(program.input).format.is_minifloat
    tidy = minifloat and (moved or out == program.input)
    homes = {program.input: "tidied" if tidy else INPUT}
    if out != program.input:
        homes[out] = OUTPUT
    names = {tensor: homes.get(root, f"tensor{_born(program, root)}") for tensor, root in roots.items()}
    buffers = _buffers(program, roots, names)
    return Storage(names, buffers, tidy, out == program.input)


def _roots(program: Program) -> dict[str, str]:
    """Map every tensor to the first tensor of its memory."""
    roots = {program.input: program.input}
    for index, step in enumerate(program.steps):
        roots[step.y] = step.y
        if isinstance(step, MinimumStep) and _may_overwrite(program, roots, index, roots[step.x]):
            roots[step.y] = roots[step.x]
        if isinstance(step, MoveStep) and isinstance(step.op, ops.Reshape):
            x = step.xs[0]
            if same_order(program.tensors[x].shape, program.tensors[step.y].shape):
                roots[step.y] = roots[x]
    return roots


def _may_overwrite(program: Program, roots: dict[str, str], index: int, root: str) -> bool:
    """Whether a step may write over the memory `root` that it reads: it is not the caller's, and nobody reads it on."""
    later = [tensor for step in program.steps[index + 1 :] for tensor in reads(step)]
    kept = {roots[tensor] for tensor in (*later, program.output) if tensor in roots}
    return root != program.input and root not in kept


def _born(program: Program, tensor: str) -> int:
    return next((i for i, step in enumerate(program.steps) if step.y == tensor), -1)


def _buffers(program: Program, roots: dict[str, str], names: dict[str, str]) -> tuple[Buffer, ...]:
    lives: dict[str, tuple[int, int]] = {}
    for index, step in enumerate(program.steps):
        for tensor in (*reads(step), step.y):
            root = roots[tensor]
            first = lives.get(root, (_born(program, root), index))[0]
            lives[root] = (first, index)
    return tuple(
        Buffer(names[root], _bytes(program, root), first, last)
        for root, (first, last) in lives.items()
        if names[root] not in (INPUT, OUTPUT)
    )


def _bytes(program: Program, tensor: str) -> int:
    return size(program.tensors[tensor].shape) * program.quant(tensor).format.dtype.itemsize
