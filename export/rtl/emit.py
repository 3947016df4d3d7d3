"""The files of one core: Verilog from the templates of this package, and the contents of its memories."""

from __future__ import annotations

from importlib import resources

from export.rtl.cycles import cycles
from export.rtl.decode import decode_modules, stream_bits
from export.rtl.fields import cases, declarations, fields
from export.rtl.layout import Layout, tensor_words
from export.rtl.parameters import has_scale, has_wide, parameters

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
        "PARAMETERS": parameters(layout),
        "DECLARATIONS": declarations(items),
        "CASES": cases(layout, items),
        "TAPS": _TAPS,
    }


def _printable(name: str) -> str:
    """Return a name from a model file so that it cannot leave its comment."""
    return "".join(c if c.isascii() and c.isprintable() and c not in "@`\\" else "_" for c in name)
