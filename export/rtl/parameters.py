"""The sizes of a core as Verilog localparams."""

from __future__ import annotations

from export.rtl.bounds import unsigned_bits
from export.rtl.layout import Layout, tensor_words


def has_scale(layout: Layout) -> bool:
    """Whether any operation ends in the integer rule or a division."""
    return any(op.output.rule in ("q31", "divide") for op in layout.operations)


def has_wide(layout: Layout) -> bool:
    """Whether any operation ends in the minifloat rule."""
    return any(op.output.rule == "wide" for op in layout.operations)


def parameters(layout: Layout) -> str:
    """Return the localparams of the top module."""
    lines = [f"  localparam {key} = {value};" for key, value in (_widths(layout) | _sizes(layout)).items()]
    for key, (value, bits) in _limits(layout).items():
        lines.append(f"  localparam [{bits - 1}:0] {key} = {bits}'d{value};")
    return "\n".join(lines)


def _widths(layout: Layout) -> dict[str, int]:
    w = layout.widths
    loops = {f"LOOP_{level}": bits for level, bits in zip("GOYXCHW", w.loops, strict=True)}
    return loops | {
        "CODE": w.code,
        "WEIGHT_CODE": w.weight_code,
        "ADDRESS": w.address,
        "WEIGHT_ADDRESS": w.weight_address,
        "TABLE_ADDRESS": w.table_address,
        "POSITION": w.position,
        "SIGNIFICAND": w.significand,
        "SHIFT": w.shift,
        "WEIGHT_SIGNIFICAND": w.weight_significand,
        "WEIGHT_SHIFT": w.weight_shift,
        "ACC": w.accumulator,
        "MANTISSA": w.mantissa,
        "EXPONENT": w.exponent,
        "ORDINAL": w.ordinal,
        "COUNT": w.count,
    }


def _sizes(layout: Layout) -> dict[str, int]:
    return {
        "OPERATION": _operation_bits(layout),
        "PER_GROUP": unsigned_bits(max(op.loops.outputs // op.loops.counts[0] for op in layout.operations) - 1),
        "FORMAT": unsigned_bits(len(layout.formats) - 1),
        "WEIGHT_FORMAT": unsigned_bits(len(layout.weight_formats) - 1),
        "WORDS": layout.arena.words,
        "WEIGHT_WORDS": len(layout.weight_words),
        "TABLE_WORDS": len(layout.table),
        "HAS_ADD": int(any(op.addends for op in layout.operations)),
        "HAS_SCALE": int(has_scale(layout)),
        "HAS_WIDE": int(has_wide(layout)),
    }


def _limits(layout: Layout) -> dict[str, tuple[int, int]]:
    """Return constants that are compared or added, with their bits."""
    program, arena, address = layout.program, layout.arena, layout.widths.address
    return {
        "OPERATION_LAST": (len(layout.operations) - 1, _operation_bits(layout)),
        "INPUT_BASE": (arena.offsets[program.input], address),
        "INPUT_LAST": (tensor_words(layout, program.input) - 1, address),
        "OUTPUT_BASE": (arena.offsets[program.output], address),
        "OUTPUT_LAST": (tensor_words(layout, program.output) - 1, address),
    }


def _operation_bits(layout: Layout) -> int:
    return unsigned_bits(len(layout.operations) - 1)
