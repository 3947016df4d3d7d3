"""The Verilog of a line buffer with its window walk, from the template and the geometry."""

from __future__ import annotations

from export.rtl.bounds import signed_bits, unsigned_bits
from export.rtl.fields import literal
from export.rtl.stream.text import filled
from export.rtl.stream.walk import Walk

#: Line buffers of at most this many words are made of LUTs, larger ones of block RAM.
SMALL_BUFFER = 64


def window(module: str, title: str, walk: Walk, rows: int, width: int, fill: int) -> str:
    """Return the module `{module}_window`: words of `width` bits, padding reads `fill`, `rows` rows are kept."""
    depth = rows * walk.row_words
    block = depth > SMALL_BUFFER
    values = {
        "MODULE": module,
        "TITLE": title,
        "PARAMETERS": _parameters(walk, rows, width, fill),
        "ROWS": _rows(walk, rows),
        "SLOTS": _slots(walk, rows),
        "STYLE": ' (* ram_style = "block" *)' if block else "",
    }
    text = filled("window.v", values)
    for name, bits in _widths(walk, rows, width).items():
        text = text.replace(f"[{name}-1:0]", f"[{bits - 1}:0]")
    return text


def _widths(walk: Walk, rows: int, width: int) -> dict[str, int]:
    """Return the bits of the ports, which stand before the parameters."""
    return {"WIDTH": width, "STEP": unsigned_bits(walk.groups * walk.terms - 1)}


def _parameters(walk: Walk, rows: int, width: int, fill: int) -> str:
    counters = {
        "WORD": walk.row_words - 1,
        "Y": walk.out[0] - 1,
        "X": walk.out[1] - 1,
        "N": walk.groups - 1,
        "P": walk.groups_per_part - 1,
        "H": walk.kernel[0] - 1,
        "W": walk.kernel[1] - 1,
        "C": walk.depth - 1,
    }
    lasts = {"WORD": "ROW_LAST"}
    lines = [f"  localparam DEPTH = {rows * walk.row_words};"]
    lines += [f"  localparam STEP = {_widths(walk, rows, width)['STEP']};"]
    for name, last in counters.items():
        bits = unsigned_bits(last)
        lines.append(f"  localparam {name} = {bits};")
        lines.append(f"  localparam [{bits - 1}:0] {lasts.get(name, f'{name}_LAST')} = {literal(last, bits)};")
    count = unsigned_bits(rows)
    lines.append(f"  localparam COUNT = {count};")
    lines.append(f"  localparam [{count - 1}:0] ROWS = {literal(rows, count)};")
    lines.append(f"  localparam [{width - 1}:0] FILL = {literal(fill, width)};")
    return "\n".join(lines + _addresses(walk, rows) + _positions(walk))


def _addresses(walk: Walk, rows: int) -> list[str]:
    row, depth = walk.row_words, rows * walk.row_words
    bits = unsigned_bits(depth - 1)
    values = {
        "ADDRESS_LAST": depth - 1,
        "SLOT_FIRST": (-walk.pads[0] % rows) * row,
        "PIXEL_FIRST": -walk.pads[1] * walk.words,
        "PIXEL_STEP": walk.strides[1] * walk.words,
        "COLUMN_STEP": walk.dilations[1] * walk.words,
        "PART_STEP": walk.depth if walk.groups > walk.groups_per_part else 0,
    }
    lines = [f"  localparam [{bits - 1}:0] {name} = {literal(value, bits)};" for name, value in values.items()]
    return [f"  localparam ADDRESS = {bits};", *lines]


def _slots(walk: Walk, rows: int) -> str:
    """Return the slots of rows further on: the buffer is a ring of rows."""
    bits = unsigned_bits(rows * walk.row_words - 1)
    steps = (
        ("frame", "frame_slot", walk.height),
        ("row", "top_slot", walk.strides[0]),
        ("kernel", "slot", walk.dilations[0]),
    )
    return "\n".join(
        f"  wire [{bits - 1}:0] next_{name} = {_ahead(slot, step, walk, rows, bits)};" for name, slot, step in steps
    )


def _ahead(slot: str, step: int, walk: Walk, rows: int, bits: int) -> str:
    ahead, depth = step % rows * walk.row_words, rows * walk.row_words
    if not ahead:
        return slot
    wrap, back, on = (literal(value, bits) for value in (depth - ahead, ahead - depth, ahead))
    return f"{slot} + ({slot} >= {wrap} ? {back} : {on})"


def _positions(walk: Walk) -> list[str]:
    lines = []
    axes = zip(("ROW", "COL"), (walk.height, walk.width), walk.pads[:2], walk.strides, walk.dilations, strict=True)
    for axis, (name, size, pad, stride, dilation) in enumerate(axes):
        reach = (walk.out[axis] - 1) * stride + (walk.kernel[axis] - 1) * dilation
        high = max(size, reach + stride + dilation - pad)
        bits = signed_bits(-pad, high)
        values = {"FIRST": -pad, "STRIDE": stride, "DILATION": dilation, "END": size}
        lines.append(f"  localparam {name} = {bits};")
        lines += [
            f"  localparam signed [{bits - 1}:0] {name}_{key} = {literal(value, bits, True)};"
            for key, value in values.items()
        ]
    return lines


def _rows(walk: Walk, rows: int) -> str:
    """Return the cases of needed and freed rows by output row; the commonest pair is the default."""
    pairs = list(zip(walk.needed(), walk.freed(), strict=True))
    common = max(set(pairs), key=pairs.count)
    bits, index = unsigned_bits(rows), unsigned_bits(walk.out[0] - 1)
    lines = []
    for y, pair in [*((y, pair) for y, pair in enumerate(pairs) if pair != common), (-1, common)]:
        label = "default" if y < 0 else literal(y, index)
        needed, freed = (literal(value, bits) for value in pair)
        lines.append(f"      {label}: begin needed = {needed}; freed = {freed}; end")
    return "\n".join(lines)
