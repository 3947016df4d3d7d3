"""The Verilog of a line buffer with its window walk, from the template and the geometry."""

from __future__ import annotations

from export.rtl.bounds import unsigned_bits
from export.rtl.fields import literal
from export.rtl.stream.text import filled
from export.rtl.stream.walk import Walk
from export.rtl.stream.walker import Register, Walker, counting, walker

#: Line buffers of at most this many words are made of LUTs, larger ones of block RAM.
SMALL_BUFFER = 64


def window(module: str, title: str, walk: Walk, rows: int, width: int, fill: int) -> str:
    """Return the module `{module}_window`: words of `width` bits, padding reads `fill`, `rows` rows are kept."""
    depth, made = rows * walk.row_words, walker(walk, rows)
    step = counting("step", walk.groups * walk.terms - 1, "go", "end_n")
    values = {
        "MODULE": module,
        "TITLE": title,
        "PARAMETERS": _parameters(walk, rows, width),
        "NEEDED": _needed(walk, rows),
        "STYLE": ' (* ram_style = "block" *)' if depth > SMALL_BUFFER else "",
        "IN_RESET": _resets(_arrival(walk, rows), 6),
        "IN_UPDATE": _updates(_arrival(walk, rows), 6),
        "IN_REGISTERS": _declared(_arrival(walk, rows)),
        "REGISTERS": _declared(made.registers),
        "WIRES": "\n".join(f"  {line}" for line in made.wires),
        "RESET": _resets(made.registers, 6),
        "UPDATE": _updates(made.registers, 6),
        "STEP_FIRST": step.first,
        "STEP_NEXT": step.next,
        "ADDRESS_OF_STEP": made.address,
        **_insides(made, literal(fill, width)),
    }
    text = filled("walk.v", values)
    for name, bits in {"WIDTH": width, "STEP": step.bits}.items():
        text = text.replace(f"[{name}-1:0]", f"[{bits - 1}:0]")
    return text


def _parameters(walk: Walk, rows: int, width: int) -> str:
    """Return the parameters of the module's body; the ports stand before them."""
    last, count = rows * walk.row_words - 1, unsigned_bits(rows)
    word = unsigned_bits(walk.row_words - 1)
    return "\n".join(
        (
            f"  localparam DEPTH = {last + 1};",
            f"  localparam ADDRESS = {unsigned_bits(last)};",
            f"  localparam COUNT = {count};",
            f"  localparam [{count - 1}:0] ROWS = {literal(rows, count)};",
            f"  localparam [{word - 1}:0] ROW_LAST = {literal(walk.row_words - 1, word)};",
        )
    )


def _arrival(walk: Walk, rows: int) -> tuple[Register, ...]:
    """Return the registers of the words that arrive: which one of its row, and its address."""
    last = rows * walk.row_words - 1
    return (
        counting("word", walk.row_words - 1, "", "row_in"),
        counting("write_at", last, "", f"write_at == {literal(last, unsigned_bits(last))}"),
    )


def _declared(registers: tuple[Register, ...]) -> str:
    return "\n".join(f"  {one.declaration}" for one in registers)


def _resets(registers: tuple[Register, ...], indent: int) -> str:
    return "\n".join(f"{' ' * indent}{one.name} <= {one.first};" for one in registers)


def _updates(registers: tuple[Register, ...], indent: int) -> str:
    return "\n".join(f"{' ' * indent}{one.update}" for one in registers)


def _insides(made: Walker, fill: str) -> dict[str, str]:
    """Return what tells padding from the image, and the word that is read; nothing to tell where there is none."""
    if made.inside is None:
        return {
            "INSIDE_PORT": "wire step_inside",
            "INSIDE_WIRES": "  assign step_inside = 1'b1;",
            "INSIDE_1": "",
            "INSIDE_2": "",
            "WORD": "read",
            "INSIDE_3": "",
        }
    return {
        "INSIDE_PORT": "reg step_inside",
        "INSIDE_WIRES": "  reg inside_1, inside_2;",
        "INSIDE_1": f"\n    inside_1 <= {made.inside};",
        "INSIDE_2": "\n    inside_2 <= inside_1;",
        "WORD": f"inside_2 ? read : {fill}",
        "INSIDE_3": "\n    step_inside <= inside_2;",
    }


def _needed(walk: Walk, rows: int) -> str:
    """Return the needed and freed rows by output row; the commonest pair is the default."""
    pairs = list(zip(walk.needed(), walk.freed(), strict=True))
    common = max(set(pairs), key=pairs.count)
    bits, index = unsigned_bits(rows), unsigned_bits(walk.out[0] - 1)
    if set(pairs) == {common}:
        needed, freed = (literal(value, bits) for value in common)
        return f"  wire [COUNT-1:0] needed = {needed}, freed = {freed};"
    lines = ["  reg [COUNT-1:0] needed, freed;", "  always @(*)", "    case (y)"]
    for y, pair in [*((y, pair) for y, pair in enumerate(pairs) if pair != common), (-1, common)]:
        label = "default" if y < 0 else literal(y, index)
        needed, freed = (literal(value, bits) for value in pair)
        lines.append(f"      {label}: begin needed = {needed}; freed = {freed}; end")
    return "\n".join([*lines, "    endcase"])
