"""A program printed as one C99 source and its header: constants, the kernels it uses, and straight calls of them."""

from __future__ import annotations

from dataclasses import dataclass, replace

from export.c99.arena import ALIGNMENT_BYTES, Buffer, Plan, busiest_bytes, plan
from export.c99.by_row import Pairs, candidates, second_piece
from export.c99.layout import c_type, size
from export.c99.piece import Context, Piece
from export.c99.step_byte import NIBBLES
from export.c99.step_conv import conv_piece
from export.c99.step_elementwise import add_piece, mean_piece, requantize_piece, wide_add_piece
from export.c99.step_minimum import minimum_piece
from export.c99.step_move import move_piece, tidy_kernel
from export.c99.step_mul import mul_piece
from export.c99.step_pool import average_pool_piece, max_pool_piece
from export.c99.step_table import table_piece
from export.c99.storage import Storage, store
from export.c99.template import Kernel, in_order, kernel_text, with_short_names
from quant.program import (
    AddStep,
    AveragePoolStep,
    ConvStep,
    MaxPoolStep,
    MeanStep,
    MinimumStep,
    MoveStep,
    MulStep,
    Program,
    RequantizeStep,
    Step,
    TableStep,
    WideAddStep,
)


@dataclass(frozen=True, eq=False)
class Unit:
    """The C source of a program and what it costs: bytes of its arena, and of its weights, biases and multipliers.

    `busiest_bytes` are alive at the busiest step: no plan of the same buffers can be smaller.
    """

    source: str
    arena_bytes: int
    busiest_bytes: int
    weight_bytes: int


def emit(program: Program, name: str) -> Unit:
    """Print a program as C99.

    Args:
        program: integer steps from `quant.program.lower`.
        name: prefix of everything visible; a C identifier.

    Raises:
        ExportError: a step cannot be expressed; the message names its node.
    """
    pairs = _pairs(program)
    storage = store(program, pairs)
    pieces = _pieces(program, storage, pairs)
    buffers = _buffers(storage, pairs, [p.scratch_bytes for p in pieces])
    memory = plan(buffers)
    kernels = _kernels(program, storage, pieces)
    sections = [
        _preamble(name),
        *(kernel_text(kernel).strip().replace("static inline ", "HELPER ") for kernel in kernels),
        *(text for i, p in enumerate(pieces) if p.constants for text in (_heading(program.steps[i]), *p.constants)),
        init_function(name),
        _invoke(program, name, storage, memory, pieces),
    ]
    source = with_short_names("\n\n".join(s for s in sections if s) + "\n", kernels)
    # At least one aligned block, so that an application may always declare an array of this size.
    arena_bytes = max(memory.arena_bytes, ALIGNMENT_BYTES)
    return Unit(source, arena_bytes, busiest_bytes(buffers), sum(p.constant_bytes for p in pieces))


def _buffers(storage: Storage, pairs: Pairs, scratch_bytes: list[int]) -> tuple[Buffer, ...]:
    """Return all buffers; the scratch of the first step of a pair is needed when the second one runs."""
    runs = {first: second for second, first in pairs.items()}
    scratch = (
        Buffer(f"step{i}_patches", count, runs.get(i, i), runs.get(i, i))
        for i, count in enumerate(scratch_bytes)
        if count
    )
    return (*storage.buffers, *scratch)


def _pairs(program: Program) -> Pairs:
    """Choose the pairs that run row by row: as few as give the smallest arena."""
    pairs = candidates(program)
    if not pairs:
        return {}
    names = store(program, {}).names
    scratch = [_piece(Context(program, names, i), step).scratch_bytes for i, step in enumerate(program.steps)]

    def arena_bytes(chosen: Pairs) -> int:
        return plan(_buffers(store(program, chosen), chosen, scratch)).arena_bytes

    least = arena_bytes(pairs)
    for second in tuple(pairs):
        fewer = {key: value for key, value in pairs.items() if key != second}
        if (found := arena_bytes(fewer)) <= least:
            pairs, least = fewer, found
    return pairs


def _pieces(program: Program, storage: Storage, pairs: Pairs) -> list[Piece]:
    """Return every step's piece; the first step of a pair has no statements of its own."""
    pieces = [_piece(Context(program, storage.names, i), step) for i, step in enumerate(program.steps)]
    for second, first in pairs.items():
        pieces[second] = second_piece(program, storage.names, second, (pieces[first], pieces[second]))
        pieces[first] = replace(pieces[first], kernels=(), statements=())
    apart = {*pairs, *pairs.values()}
    return [p if i in apart else _tapped(program, storage, i, p) for i, p in enumerate(pieces)]


def _tapped(program: Program, storage: Storage, index: int, piece: Piece) -> Piece:
    """Show the tensor of a step behind its statements."""
    tensor = program.steps[index].y
    width = size(program.tensors[tensor].shape) * program.quant(tensor).format.dtype.itemsize
    return replace(piece, statements=(*piece.statements, f"TAP({index}, {storage.names[tensor]}, {width});"))


def _piece(context: Context, step: Step) -> Piece:
    match step:
        case ConvStep():
            return conv_piece(context, step)
        case AddStep():
            return add_piece(context, step)
        case WideAddStep():
            return wide_add_piece(context, step)
        case MulStep():
            return mul_piece(context, step)
        case TableStep():
            return table_piece(context, step)
        case MeanStep():
            return mean_piece(context, step)
        case RequantizeStep():
            return requantize_piece(context, step)
        case MaxPoolStep():
            return max_pool_piece(context, step)
        case AveragePoolStep():
            return average_pool_piece(context, step)
        case MinimumStep():
            return minimum_piece(context, step)
        case MoveStep():
            return move_piece(context, step)


def comment(text: str) -> str:
    """Return `text` as it may stand inside a C comment."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_.:- ") else "_" for c in text)


def _heading(step: Step) -> str:
    return f"/* {comment(step.name)} */"


def _preamble(name: str) -> str:
    return (
        f"/* {name}: a quantised network in portable C99. Generated by edgemill; do not edit.\n"
        "   Right shifts of negative numbers must be arithmetic, as every common compiler makes them. */\n"
        f'#include "{name}.h"\n\n#include <string.h>\n\n'
        "#if defined(__GNUC__)\n#define ALIGNED16 __attribute__((aligned(16)))\n"
        "/* Not every processor needs every helper. */\n#define HELPER static inline __attribute__((unused))\n"
        "#else\n#define ALIGNED16\n#define HELPER static inline\n#endif\n\n"
        "#ifdef EDGEMILL_TAP\n"
        "/* Called behind every step with its number, the codes it made and their size in bytes. */\n"
        "extern void edgemill_tap(int tensor, const void *codes, int bytes);\n"
        "#define TAP(tensor, codes, bytes) edgemill_tap(tensor, codes, bytes)\n#else\n"
        "#define TAP(tensor, codes, bytes)\n#endif"
    )


def _kernels(program: Program, storage: Storage, pieces: list[Piece]) -> tuple[Kernel, ...]:
    wanted: list[Kernel] = [kernel for piece in pieces for kernel in piece.kernels]
    if storage.tidy_input:
        wanted.append(tidy_kernel(program.quant(program.input).format))
    # What packed layers need comes first, as one kernel serves packed layers and others.
    return in_order(sorted(wanted, key=lambda kernel: kernel not in NIBBLES))


def init_function(name: str) -> str:
    """Return the C text of NAME_init."""
    upper = name.upper()
    return f"""\
int {name}_init({name}_t *network, void *arena, size_t arena_bytes)
{{
    if (network == NULL || arena == NULL) {{
        return {upper}_ERROR_NULL;
    }}
    if (arena_bytes < {upper}_ARENA_BYTES) {{
        return {upper}_ERROR_ARENA_SIZE;
    }}
    if ((uintptr_t)arena % {upper}_ARENA_ALIGNMENT != 0) {{
        return {upper}_ERROR_ARENA_ALIGNMENT;
    }}
    network->arena = (unsigned char *)arena;
    return {upper}_OK;
}}"""


def _invoke(program: Program, name: str, storage: Storage, memory: Plan, pieces: list[Piece]) -> str:
    lines = [f"void {name}_invoke(const {name}_t *network, const {name}_input_t *input, {name}_output_t *output)", "{"]
    lines += _pointers(program, storage, memory, pieces) or ["    (void)network;"]
    fmt = program.quant(program.input).format
    if storage.tidy_input:
        lines.append(f"    {tidy_kernel(fmt).name}(input, tidied, {size(program.tensors[program.input].shape)});")
    for index, (step, piece) in enumerate(zip(program.steps, pieces, strict=True)):
        lines.append(f"    /* {index}: {comment(step.name)} */")
        lines += [f"    {statement}" for statement in piece.statements]
    if storage.copy_output:
        source = storage.names[program.output]
        lines.append(f"    memcpy(output, {source}, {name.upper()}_OUTPUT_SIZE * sizeof({name}_output_t));")
    return "\n".join([*lines, "}"])


def _pointers(program: Program, storage: Storage, memory: Plan, pieces: list[Piece]) -> list[str]:
    kinds = {storage.names[tensor]: c_type(program.quant(tensor).format) for tensor in storage.names}
    kinds |= {f"step{i}_patches": p.scratch_type for i, p in enumerate(pieces) if p.scratch_bytes}
    return [
        f"    {kinds[buffer]} *const {buffer} = ({kinds[buffer]} *)(void *)(network->arena + {offset});"
        for buffer, offset in sorted(memory.offsets.items(), key=lambda item: item[1])
    ]
