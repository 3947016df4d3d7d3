"""The constants of every operation as Verilog: one register per field, or a localparam where all operations agree."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.bounds import signed_bits, unsigned_bits
from export.rtl.layout import Layout
from export.rtl.operation import LEVELS, Axis, Operation
from quant.fixedpoint import Multiplier

_NO_AXIS = Axis(0, 0, 0, 1)


@dataclass(frozen=True, slots=True)
class Field:
    """One constant of the operations: its values, in order, and how it is declared."""

    name: str
    bits: int
    signed: bool
    values: tuple[int, ...]


def literal(value: int, bits: int, signed: bool = False) -> str:
    """Return a sized hexadecimal literal; two's complement, because '-8'sd128' and the like invite sign traps."""
    return f"{bits}'{'s' if signed else ''}h{value & ((1 << bits) - 1):x}"


def fields(layout: Layout) -> tuple[Field, ...]:
    """Return every field of the operations of a core."""
    rows = [_row(layout, index, op) for index, op in enumerate(layout.operations)]
    kinds = _kinds(layout)
    return tuple(Field(name, *kinds[name], tuple(row[name] for row in rows)) for name in rows[0])


def _row(layout: Layout, index: int, op: Operation) -> dict[str, int]:
    return _walk(layout, index, op) | _window(op) | _arithmetic(layout, op) | _output(op)


def _walk(layout: Layout, index: int, op: Operation) -> dict[str, int]:
    counts = {f"last_{level}": count - 1 for level, count in zip(LEVELS, op.loops.counts, strict=True)}
    deltas = {f"step_{level}": delta for level, delta in zip(LEVELS, op.loops.deltas(), strict=True)}
    return (
        counts
        | deltas
        | {
            "read_base": op.loops.base,
            "write_base": op.destination.first,
            "write_jump": op.destination.jump,
            "write_last": op.destination.last,
            "outputs_per_group": op.loops.outputs // op.loops.counts[0] - 1,
            "weight_base": layout.weight_bases[index],
            "weight_rewind": op.loops.terms - 1,
            "table_base": layout.table_bases[index] if op.table else 0,
            "per_channel": int(op.per_channel),
            "by_count": int(op.by_count),
            "limited": int(op.limited),
            "index_mask": (1 << op.formats[0].bits) - 1 if op.by_code else 0,
        }
    )


def _window(op: Operation) -> dict[str, int]:
    axes = (_NO_AXIS,) * 3 if op.window is None else (op.window.channel, op.window.row, op.window.column)
    values = {"checked": int(op.window is not None)}
    for prefix, axis in zip("gyx", axes, strict=True):
        values |= {f"{prefix}_origin": axis.origin, f"{prefix}_stride": axis.stride, f"{prefix}_size": axis.size}
    return values | {"y_dilation": axes[1].dilation, "x_dilation": axes[2].dilation}


def _arithmetic(layout: Layout, op: Operation) -> dict[str, int]:
    index = {fmt: position for position, fmt in enumerate(layout.formats)}
    weight = 0 if op.weight_format is None else layout.weight_formats.index(op.weight_format)
    none = Multiplier(0, 0)
    scales = op.addends.scales if op.addends else (none, none)
    return {
        "format_a": index[op.formats[0]],
        "format_b": index[op.formats[1]],
        "format_w": weight,
        "zero_a": op.zeros[0],
        "zero_b": op.zeros[1],
        "use_weights": int(op.weights is not None),
        "factor_a": op.factors[0],
        "factor_b": op.factors[1],
        "is_product": int(op.product),
        "is_add": int(op.addends is not None),
        "add_left": op.addends.left_shift if op.addends else 0,
        "mantissa_a": scales[0].mantissa,
        "mantissa_b": scales[1].mantissa,
        "right_a": -scales[0].exponent,
        "right_b": -scales[1].exponent,
        "fill": op.fill,
    }


def _output(op: Operation) -> dict[str, int]:
    fmt = op.output.format
    return {
        "is_wide": int(op.output.rule == "wide"),
        "is_divide": int(op.output.rule == "divide"),
        "is_pick": int(op.output.rule == "pick"),
        "out_zero": op.output.zero,
        "out_low": op.output.low,
        "out_high": op.output.high,
        "out_minifloat": int(fmt.is_minifloat),
        "out_sign": fmt.bits - 1,
        "out_mantissa": fmt.mantissa,
        "out_max": fmt.max_ordinal,
    }


def _kinds(layout: Layout) -> dict[str, tuple[int, bool]]:
    """Return bits and signedness by field name."""
    w = layout.widths
    select, weight_select = unsigned_bits(len(layout.formats) - 1), unsigned_bits(len(layout.weight_formats) - 1)
    outputs = max(op.loops.outputs // op.loops.counts[0] for op in layout.operations) - 1
    kinds = {f"last_{level}": (bits, False) for level, bits in zip(LEVELS, w.loops, strict=True)}
    kinds |= {f"step_{level}": (w.address, False) for level in LEVELS}
    kinds |= dict.fromkeys(("read_base", "write_base", "write_jump", "write_last"), (w.address, False))
    kinds |= {f"{p}_{what}": (w.position, True) for p in "gyx" for what in ("origin", "stride", "size", "dilation")}
    kinds |= {"outputs_per_group": (unsigned_bits(outputs), False)}
    kinds |= dict.fromkeys(("weight_base", "weight_rewind"), (w.weight_address, False))
    kinds |= {"table_base": (w.table_address, False), "index_mask": (w.code, False)}
    flags = "per_channel by_count limited checked use_weights is_product is_add is_wide is_divide is_pick out_minifloat"
    kinds |= dict.fromkeys(flags.split(), (1, False))
    kinds |= {"format_a": (select, False), "format_b": (select, False), "format_w": (weight_select, False)}
    kinds |= dict.fromkeys(("zero_a", "zero_b"), (w.significand, True))
    kinds |= dict.fromkeys(("factor_a", "factor_b"), (w.weight_significand, True))
    kinds |= dict.fromkeys(("add_left", "right_a", "right_b", "out_sign"), (5, False))
    kinds |= dict.fromkeys(("mantissa_a", "mantissa_b"), (31, False))
    kinds |= dict.fromkeys(("fill", "out_zero", "out_low", "out_high", "out_max"), (w.ordinal, True))
    return kinds | {"out_mantissa": (3, False)}


def declarations(items: tuple[Field, ...]) -> str:
    """Return the declarations: registers, and localparams for what never changes."""
    lines = []
    for item in items:
        sign = "signed " if item.signed else ""
        span = f"[{item.bits - 1}:0] "
        if len(set(item.values)) == 1:
            lines.append(f"  localparam {sign}{span}{item.name} = {literal(item.values[0], item.bits, item.signed)};")
        else:
            lines.append(f"  reg {sign}{span}{item.name};")
    return "\n".join(lines)


def cases(layout: Layout, items: tuple[Field, ...]) -> str:
    """Return the body of the case that loads the registers of one operation."""
    bits = unsigned_bits(len(layout.operations) - 1)
    changing = [item for item in items if len(set(item.values)) > 1]
    lines = []
    for index, op in enumerate(layout.operations):
        step = layout.program.steps[op.step]
        label = "default" if index == len(layout.operations) - 1 else literal(index, bits)
        lines.append(f"      {label}: begin  // step {op.step}, {type(step).__name__}")
        lines += [f"        {item.name} <= {literal(item.values[index], item.bits, item.signed)};" for item in changing]
        lines.append("      end")
    return "\n".join(lines)


def fits(item: Field) -> bool:
    """Whether every value of a field that is not an address (those wrap on purpose) fits its width."""
    if item.signed:
        return all(signed_bits(min(v, 0), max(v, 0)) <= item.bits for v in item.values)
    return all(0 <= v < 1 << item.bits for v in item.values)
