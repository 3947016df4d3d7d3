"""The files of one core: Verilog from the templates of this package, and the contents of its memories."""

from __future__ import annotations

from importlib import resources

from export.rtl.bounds import unsigned_bits
from export.rtl.cycles import cycles
from export.rtl.decode import decode_modules, stream_bits
from export.rtl.fields import cases, declarations, fields
from export.rtl.layout import Layout, tensor_words

_TEMPLATES = ("core.v", "nest.v", "mac.v", "scale.v", "wide.v", "requantise.v", "memories.v")

_TAPS = """
`ifdef EDGEMILL_TAP
  assign tap_valid = state == LOAD ? accept && !skip : written;
  assign tap_step = state == LOAD ? 16'd0 : {{(16 - OPERATION) {1'b0}}, operation} + 16'd1;
  assign tap_address = {{(32 - ADDRESS) {1'b0}}, state == LOAD ? load_address : write_address};
  assign tap_code = {{(16 - CODE) {1'b0}}, state == LOAD ? loaded_code : written_code};
`endif"""


def template(name: str) -> str:
    """Return the text of a template file of this package."""
    return resources.files("export.rtl").joinpath("templates", name).read_text(encoding="utf-8")


def fill(text: str, values: dict[str, str]) -> str:
    """Replace every @KEY@ of a template."""
    for key, value in values.items():
        text = text.replace(f"@{key}@", value)
    return text


def verilog(name: str, layout: Layout) -> str:
    """Return the Verilog of a core whose top module is `name`: every module carries the name as a prefix."""
    used = _used_templates(layout)
    text = "\n".join(template(part) for part in used) + "\n" + decode_modules(layout)
    return fill(text, _values(layout) | {"NAME": name, "FILES": ", ".join(f"{name}_{m}.mem" for m in MEMORIES)})


#: Memory files by what they hold, `NAME_<this>.mem`.
MEMORIES = ("weights", "bias", "scale")


def memories(name: str, layout: Layout) -> dict[str, str]:
    """Return the texts of the memory files, one hexadecimal word a line, by file name."""
    w = layout.widths
    scales = [_bits(e.exponent, w.exponent) << w.mantissa | e.mantissa for e in layout.table]
    words = {
        "weights": (layout.weight_words, w.weight_code),
        "bias": ([_bits(e.bias, w.accumulator) for e in layout.table], w.accumulator),
        "scale": (scales, w.exponent + w.mantissa),
    }
    return {
        f"{name}_{kind}.mem": "".join(f"{word:0{-(-bits // 4)}x}\n" for word in rows)
        for kind, (rows, bits) in words.items()
    }


def _bits(value: int, bits: int) -> int:
    return value & ((1 << bits) - 1)


def _used_templates(layout: Layout) -> tuple[str, ...]:
    scale = has_scale(layout) or any(op.addends for op in layout.operations)
    unused = {"scale.v": not scale, "wide.v": not has_wide(layout)}
    return tuple(name for name in _TEMPLATES if not unused.get(name, False))


def has_scale(layout: Layout) -> bool:
    """Whether any operation ends in the integer rule or a division."""
    return any(op.output.rule in ("q31", "divide") for op in layout.operations)


def has_wide(layout: Layout) -> bool:
    """Whether any operation ends in the minifloat rule."""
    return any(op.output.rule == "wide" for op in layout.operations)


def _values(layout: Layout) -> dict[str, str]:
    program, items = layout.program, fields(layout)
    in_format, out_format = program.quant(program.input).format, program.quant(program.output).format
    return {
        "TITLE": f"Network '{_printable(program.name)}' as one AXI-Stream core: {len(program.steps)} steps, "
        f"{len(layout.weight_words)} weights, {layout.arena.words} words of activations.",
        "INPUT": _printable(program.input),
        "IN_SHAPE": str(list(program.tensors[program.input].shape[1:])),
        "IN_FORMAT": in_format.name,
        "IN_LAST": str(tensor_words(layout, program.input) - 1),
        "IN_TOP": str(stream_bits(in_format) - 1),
        "OUTPUT": _printable(program.output),
        "OUT_SHAPE": str(list(program.tensors[program.output].shape[1:])),
        "OUT_FORMAT": out_format.name,
        "OUT_LAST": str(tensor_words(layout, program.output) - 1),
        "OUT_TOP": str(stream_bits(out_format) - 1),
        "CYCLES": str(cycles(layout)),
        "PARAMETERS": _parameters(layout),
        "DECLARATIONS": declarations(items),
        "CASES": cases(layout, items),
        "TAPS": _TAPS,
    }


def _printable(name: str) -> str:
    """Return a name from a model file so that it cannot leave its comment."""
    return "".join(c if c.isascii() and c.isprintable() and c not in "@`\\" else "_" for c in name)


def _parameters(layout: Layout) -> str:
    w, program, arena = layout.widths, layout.program, layout.arena
    operation = unsigned_bits(len(layout.operations) - 1)
    per_group = unsigned_bits(max(op.loops.outputs // op.loops.counts[0] for op in layout.operations) - 1)
    values = {
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
        "OPERATION": operation,
        "PER_GROUP": per_group,
        "FORMAT": unsigned_bits(len(layout.formats) - 1),
        "WEIGHT_FORMAT": unsigned_bits(len(layout.weight_formats) - 1),
        "WORDS": arena.words,
        "WEIGHT_WORDS": len(layout.weight_words),
        "TABLE_WORDS": len(layout.table),
        "HAS_ADD": int(any(op.addends for op in layout.operations)),
        "HAS_SCALE": int(has_scale(layout)),
        "HAS_WIDE": int(has_wide(layout)),
    }
    values |= {f"LOOP_{level}": bits for level, bits in zip("GOYXCHW", w.loops, strict=True)}
    sized = {
        "OPERATION_LAST": (len(layout.operations) - 1, operation),
        "INPUT_BASE": (arena.offsets[program.input], w.address),
        "INPUT_LAST": (tensor_words(layout, program.input) - 1, w.address),
        "OUTPUT_BASE": (arena.offsets[program.output], w.address),
        "OUTPUT_LAST": (tensor_words(layout, program.output) - 1, w.address),
    }
    lines = [f"  localparam {key} = {value};" for key, value in values.items()]
    lines += [f"  localparam [{bits - 1}:0] {key} = {bits}'d{value};" for key, (value, bits) in sized.items()]
    return "\n".join(lines)
