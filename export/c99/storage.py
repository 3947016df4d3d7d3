"""Which tensors share memory, where each lives, and for how long: the input of the memory plan."""

from __future__ import annotations

from dataclasses import dataclass

from export.c99.arena import Buffer
from export.c99.by_row import Pairs, reads_at, row_bytes
from export.c99.in_place import overwritable
from export.c99.layout import same_order, size
from quant import operators as ops
from quant.program import AddStep, MoveStep, Program
from quant.steps import reads

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


def store(program: Program, pairs: Pairs) -> Storage:
    """Decide where every tensor lives.

    Of what passes between two steps that run row by row (`pairs`) only one row does.

    A reshape that moves nothing, and a step that may write over what nothing else reads, share memory with their input.
    The reference rewrites negative zeros of a minifloat input as positive ones; every kernel that decodes does the
    same, so only steps that move input codes need a copy.
    """
    roots = _roots(program, pairs)
    out = roots[program.output]
    moved = any(roots[x] == program.input for s in program.steps if isinstance(s, MoveStep) for x in s.xs)
    minifloat = program.quant(program.input).format.is_minifloat
    tidy = minifloat and (moved or out == program.input)
    homes = {program.input: "tidied" if tidy else INPUT}
    if out != program.input:
        homes[out] = OUTPUT
    names = {tensor: homes.get(root, f"tensor{_born(program, root)}") for tensor, root in roots.items()}
    names |= {program.steps[conv].y: f"step{conv}_row" for conv in pairs.values()}
    buffers = _buffers(program, pairs, roots, names)
    return Storage(names, buffers, tidy, out == program.input)


def _roots(program: Program, pairs: Pairs) -> dict[str, str]:
    """Map every tensor to the first tensor of its memory."""
    roots = {program.input: program.input}
    for index, step in enumerate(program.steps):
        kept = _kept(program, pairs, roots, index)
        shared = (roots[x] for x in overwritable(program, pairs, index) if roots[x] not in kept)
        roots[step.y] = next((root for root in shared if _bytes(program, root) == _bytes(program, step.y)), step.y)
        if isinstance(step, MoveStep) and isinstance(step.op, ops.Reshape):
            x = step.xs[0]
            if same_order(program.tensors[x].shape, program.tensors[step.y].shape):
                roots[step.y] = roots[x]
    return roots


def _kept(program: Program, pairs: Pairs, roots: dict[str, str], index: int) -> set[str]:
    """Return the memory that step `index` may not write over: the caller's, and what is read later."""
    later = [x for number in range(index + 1, len(program.steps)) for x in reads_at(program, pairs, number)]
    held = {roots[x] for x in (*later, program.output) if x in roots} | {program.input}
    if index in pairs and isinstance(program.steps[index], AddStep):
        held |= {roots[x] for x in reads(program.steps[pairs[index]])}
    return held


def _born(program: Program, tensor: str) -> int:
    return next((i for i, step in enumerate(program.steps) if step.y == tensor), -1)


def _buffers(program: Program, pairs: Pairs, roots: dict[str, str], names: dict[str, str]) -> tuple[Buffer, ...]:
    rows = [
        Buffer(names[program.steps[conv].y], row_bytes(program, program.steps[conv].y), add, add)
        for add, conv in pairs.items()
    ]
    lives: dict[str, tuple[int, int]] = {}
    for index, step in enumerate(program.steps):
        made = () if index in pairs.values() else (step.y,)
        for tensor in (*reads_at(program, pairs, index), *made):
            root = roots[tensor]
            first = lives.get(root, (_born(program, root), index))[0]
            lives[root] = (first, index)
    whole = (
        Buffer(names[root], _bytes(program, root), first, last)
        for root, (first, last) in lives.items()
        if names[root] not in (INPUT, OUTPUT)
    )
    return (*rows, *whole)


def _bytes(program: Program, tensor: str) -> int:
    return size(program.tensors[tensor].shape) * program.quant(tensor).format.dtype.itemsize
