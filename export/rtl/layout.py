"""The plan of one core: operations, contents of the read-only memories, and the width of everything."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from export.errors import ExportError
from export.rtl.arena import Arena, plan
from export.rtl.bounds import centred_range, shift_max, signed_bits, significand_range, unsigned_bits
from export.rtl.operation import Operation, TableEntry
from export.rtl.operations import operations
from quant.formats import Format
from quant.graph import Graph
from quant.program import Program, lower


@dataclass(frozen=True, slots=True)
class Widths:
    """Bits of every kind of value. `loops` follows `LEVELS`; signed ones are marked."""

    code: int
    weight_code: int
    address: int
    weight_address: int
    table_address: int
    loops: tuple[int, ...]
    position: int  # signed
    significand: int  # signed
    shift: int
    weight_significand: int  # signed
    weight_shift: int
    accumulator: int  # signed
    mantissa: int
    exponent: int  # signed
    ordinal: int  # signed
    count: int


@dataclass(frozen=True, eq=False)
class Layout:
    """One core. `weight_bases` and `table_bases` are where an operation's weights and table start."""

    program: Program
    arena: Arena
    operations: tuple[Operation, ...]
    weight_bases: tuple[int, ...]
    table_bases: tuple[int, ...]
    weight_words: tuple[int, ...]
    table: tuple[TableEntry, ...]
    formats: tuple[Format, ...]
    weight_formats: tuple[Format, ...]
    widths: Widths


def layout(graph: Graph) -> Layout:
    """Lower a quantised graph and plan its core.

    Raises:
        QuantError: the graph has no integer meaning.
        ExportError: there is no step, or one that the engine cannot walk.
    """
    program = lower(graph)
    if not program.steps:
        raise ExportError(f"fpga: graph '{graph.name}' has no step; there is nothing to execute.")
    arena = plan(program)
    ops = operations(program, arena)
    weight_sizes = [0 if op.weights is None else op.weights.size for op in ops]
    entry_counts = [len(op.table) for op in ops]
    words = [int(code) & ((1 << op.weight_format.bits) - 1) for op in ops for code in _weights(op) if op.weight_format]
    table = tuple(entry for op in ops for entry in op.table)
    formats = _unique([program.quant(name).format for name in program.tensors])
    weight_formats = _unique([op.weight_format for op in ops if op.weight_format is not None])
    return Layout(
        program,
        arena,
        ops,
        _starts(weight_sizes),
        _starts(entry_counts),
        tuple(words) or (0,),
        table or (TableEntry(0, 0, 0),),
        formats,
        weight_formats,
        widths(program, arena, ops, formats, weight_formats),
    )


def _weights(op: Operation) -> list[int]:
    return [] if op.weights is None else [int(code) for code in np.asarray(op.weights).reshape(-1)]


def _starts(sizes: list[int]) -> tuple[int, ...]:
    return tuple(sum(sizes[:index]) for index in range(len(sizes)))


def _unique(formats: list[Format]) -> tuple[Format, ...]:
    return tuple(dict.fromkeys(formats))


def widths(
    program: Program, arena: Arena, ops: tuple[Operation, ...], formats: tuple[Format, ...], weights: tuple[Format, ...]
) -> Widths:
    """Return widths that hold every value that can occur, and no bit more where that is simple to say."""
    table = [entry for op in ops for entry in op.table] or [TableEntry(0, 0, 0)]
    sums = [op for op in ops if op.output.rule != "pick"]
    significand, shift = _operand(list(ops))
    weight_significand, weight_shift = _weight_operand(sums, weights)
    needed = max((op.acc_max.bit_length() + 1 for op in sums), default=2)
    adds = 32 if any(op.addends for op in ops) else 0
    ordinals = [k for fmt in formats for k in (fmt.min_ordinal, fmt.max_ordinal)]
    ordinal = signed_bits(min(ordinals), max(ordinals))
    return Widths(
        code=max(fmt.bits for fmt in formats),
        weight_code=max((fmt.bits for fmt in weights), default=1),
        address=max(2, unsigned_bits(arena.words - 1)),
        weight_address=unsigned_bits(sum(op.weights.size for op in ops if op.weights is not None) - 1),
        table_address=unsigned_bits(len(table) - 1),
        loops=tuple(max(unsigned_bits(op.loops.counts[level] - 1) for op in ops) for level in range(7)),
        position=signed_bits(*_positions(ops)),
        significand=significand,
        shift=shift,
        weight_significand=weight_significand,
        weight_shift=weight_shift,
        accumulator=max(needed, adds, significand + weight_significand + 1, ordinal),
        mantissa=max(unsigned_bits(e.mantissa) for e in table),
        exponent=signed_bits(min(e.exponent for e in table), max(e.exponent for e in table)),
        ordinal=ordinal,
        count=max(2, *(unsigned_bits(op.loops.terms) for op in ops)),
    )


def _operand(ops: list[Operation]) -> tuple[int, int]:
    """Return the bits of a centred significand and of its shift: of every code that is read, summed or not."""
    low, high, shift = 0, 1, 0
    for op in ops:
        for fmt, zero in zip(op.formats, op.zeros, strict=True):
            least, most = centred_range(fmt, zero)
            low, high, shift = min(low, least), max(high, most), max(shift, shift_max(fmt))
    return signed_bits(low, high), unsigned_bits(shift)


def _weight_operand(sums: list[Operation], weights: tuple[Format, ...]) -> tuple[int, int]:
    ranges = [significand_range(fmt) for fmt in weights]
    low = min((low for low, _ in ranges), default=0)
    high = max(*(f for op in sums for f in op.factors), *(high for _, high in ranges), 1, 1)
    shift = max((shift_max(fmt) for fmt in weights), default=0)
    products = [op for op in sums if op.product]
    bits, shift_bits = _operand(products) if products else (0, 0)
    return max(signed_bits(low, high), bits), max(unsigned_bits(shift), shift_bits)


def _positions(ops: tuple[Operation, ...]) -> tuple[int, int]:
    """Return the least and largest position that the counters of any window reach, and its axes' sizes."""
    low, high = 0, 1
    for op in ops:
        if op.window is None:
            continue
        g, _, y, x, _, h, w = op.loops.counts
        outer_inner = ((op.window.channel, g, 1), (op.window.row, y, h), (op.window.column, x, w))
        for axis, outer, inner in outer_inner:
            low = min(low, axis.origin)
            high = max(high, axis.size, axis.origin + axis.stride * outer + axis.dilation * inner)
    return low, high


def acc_bits(layout: Layout) -> dict[str, int]:
    """Return the accumulator bits that each step needs, sign included, by step name (0 where nothing is summed)."""
    names = [step.name for step in layout.program.steps]
    bits = {names[op.step]: op.acc_max.bit_length() + 1 for op in layout.operations if op.output.rule != "pick"}
    return {name: bits.get(name, 0) for name in names}


def tensor_words(layout: Layout, tensor: str) -> int:
    """Return the number of codes of a tensor."""
    return math.prod(layout.program.tensors[tensor].shape)
