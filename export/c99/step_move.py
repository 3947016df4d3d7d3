"""Pad, slice, concatenate and reshape as C: copies of blocks."""

from __future__ import annotations

from dataclasses import dataclass

from export.c99.layout import c_type, same_order
from export.c99.numbers import TYPES
from export.c99.piece import Context, Piece, structure
from export.c99.template import Kernel
from export.errors import ExportError
from quant import operators as ops
from quant.formats import Format
from quant.program import MoveStep

BLOCK = Kernel("block", "block")

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class _Block:
    """Extents, start elements and strides of one copy, on the three axes in memory order."""

    extent: Triple
    from_start: int
    from_strides: Triple
    to_start: int
    to_strides: Triple


def move_piece(context: Context, step: MoveStep) -> Piece:
    """Return the C of a step that only moves codes.

    Raises:
        ExportError: the step moves along the batch axis, or tensors of more than four axes.
    """
    match step.op:
        case ops.Reshape():
            return _reshape(context, step)
        case ops.Pad():
            return _pad(context, step, step.op)
        case ops.Slice():
            return _copies(context, step, (_slice(context, step, step.op),))
        case ops.Concat():
            return _copies(context, step, _concat(context, step, step.op))


def _shape(context: Context, tensor: str) -> tuple[int, ...]:
    return context.program.tensors[tensor].shape


def _memory(step: MoveStep, values: tuple[int, ...], missing: int) -> Triple:
    """Order one value per axis of a tensor (the batch axis first) as its axes lie in memory, outermost first."""
    match values[1:]:
        case (one,):
            return missing, missing, one
        case (one, two):
            return missing, one, two
        case (channels, rows, columns):
            return rows, columns, channels
        case _:
            raise ExportError(
                f"arm-m: node '{step.name}' ({type(step.op).__name__}) works on a tensor of {len(values)} axes; "
                "this target moves tensors of 2 to 4 axes."
            )


def _strides(extent: Triple) -> Triple:
    return extent[1] * extent[2], extent[2], 1


def _offset(position: Triple, strides: Triple) -> int:
    return sum(p * s for p, s in zip(position, strides, strict=True))


def _extent(context: Context, step: MoveStep, tensor: str) -> Triple:
    return _memory(step, _shape(context, tensor), 1)


def _pad(context: Context, step: MoveStep, op: ops.Pad) -> Piece:
    if op.before[0] or op.after[0]:
        raise ExportError(f"arm-m: node '{step.name}' (Pad) pads the batch axis; only one sample at a time runs here.")
    extent, to = _extent(context, step, step.xs[0]), _strides(_extent(context, step, step.y))
    start = _offset(_memory(step, op.before, 0), to)
    piece = _copies(context, step, (_Block(extent, 0, _strides(extent), start, to),))
    fmt = context.format(step.y)
    fill = Kernel("fill", f"fill_{c_type(fmt)[:-2]}", (("X_T", c_type(fmt)),))
    call = f"{fill.name}({context.names[step.y]}, {context.size(step.y)}, {step.fill});"
    return Piece((fill, *piece.kernels), piece.constants, (call, *piece.statements))


def _slice(context: Context, step: MoveStep, op: ops.Slice) -> _Block:
    shape = _shape(context, step.xs[0])
    parts = zip(op.starts, op.ends, op.steps, shape, strict=True)
    ranges = [range(*slice(start, end, by).indices(size)) for start, end, by, size in parts]
    source, target = _strides(_extent(context, step, step.xs[0])), _extent(context, step, step.y)
    start = _memory(step, tuple(r.start for r in ranges), 0)
    by = _memory(step, tuple(r.step for r in ranges), 1)
    strides = (source[0] * by[0], source[1] * by[1], source[2] * by[2])
    return _Block(target, _offset(start, source), strides, 0, _strides(target))


def _concat(context: Context, step: MoveStep, op: ops.Concat) -> tuple[_Block, ...]:
    rank, to = len(_shape(context, step.y)), _strides(_extent(context, step, step.y))
    axis, done, blocks = op.axis % rank, 0, []
    for x in step.xs:
        extent = _extent(context, step, x)
        start = _memory(step, tuple(done if a == axis else 0 for a in range(rank)), 0)
        blocks.append(_Block(extent, 0, _strides(extent), _offset(start, to), to))
        done += _shape(context, x)[axis]
    return tuple(blocks)


def _copies(context: Context, step: MoveStep, blocks: tuple[_Block, ...]) -> Piece:
    fmt = context.format(step.y)
    kernel = Kernel("copy", f"copy_{c_type(fmt)[:-2]}", (("X_T", c_type(fmt)),), (BLOCK,))
    constants, calls = [], []
    for number, (x, block) in enumerate(zip(step.xs, blocks, strict=True)):
        name = context.label(f"block{number}")
        constants.append(_structure(name, block))
        source = f"{context.names[x]} + {block.from_start}"
        calls.append(f"{kernel.name}({source}, {context.names[step.y]} + {block.to_start}, &{name});")
    return Piece((kernel,), tuple(constants), tuple(calls))


def _structure(name: str, block: _Block) -> str:
    fields = {"extent": block.extent, "from": block.from_strides, "to": block.to_strides}
    return structure("block", name, {key: "{" + ", ".join(map(str, value)) + "}" for key, value in fields.items()})


def _reshape(context: Context, step: MoveStep) -> Piece:
    source, target = context.names[step.xs[0]], context.names[step.y]
    if same_order(_shape(context, step.xs[0]), _shape(context, step.y)):
        size = f"{context.size(step.y)} * sizeof({context.c_type(step.y)})"
        same = source == target
        return Piece((), (), () if same else (f"memcpy({target}, {source}, {size});",))
    fmt, name = context.format(step.y), context.label("window")
    kernel = Kernel("reshape", f"reshape_{c_type(fmt)[:-2]}", (("X_T", c_type(fmt)),), (TYPES,))
    height, width, channels = context.image(step.xs[0])
    out_height, out_width, out_channels = context.image(step.y)
    fields: dict[str, object] = {"height": height, "width": width, "channels": channels}
    fields |= {"out_height": out_height, "out_width": out_width, "out_channels": out_channels}
    call = f"{kernel.name}({source}, {target}, &{name});"
    return Piece((kernel,), (structure("window", name, fields),), (call,))


def tidy_kernel(fmt: Format) -> Kernel:
    """Return the kernel that copies codes of a minifloat without negative zeros."""
    return Kernel("tidy", f"tidy_{fmt.name}", (("X_T", c_type(fmt)), ("SIGN_BIT", str(1 << (fmt.bits - 1)))))
