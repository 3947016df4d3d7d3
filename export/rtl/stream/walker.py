"""The registers of a window walk: counters and addresses. Those that a layer's geometry keeps constant do not exist."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.bounds import signed_bits, unsigned_bits
from export.rtl.fields import literal
from export.rtl.stream.walk import Walk


@dataclass(frozen=True, slots=True)
class Register:
    """A register of the walk: its first value, and the text of its next one at steps where `when` holds."""

    name: str
    bits: int
    first: str
    when: str
    next: str
    signed: bool = False

    @property
    def declaration(self) -> str:
        """Its declaration."""
        return f"reg {'signed ' if self.signed else ''}[{self.bits - 1}:0] {self.name};"

    @property
    def update(self) -> str:
        """Its assignment at a step of the walk."""
        return (f"if ({self.when}) " if self.when else "") + f"{self.name} <= {self.next};"


@dataclass(frozen=True, slots=True)
class Walker:
    """Wires and registers of a walk; `address` and `inside` are expressions of them (`inside` None: always)."""

    wires: tuple[str, ...]
    registers: tuple[Register, ...]
    address: str
    inside: str | None


def counting(name: str, last: int, when: str, end: str) -> Register:
    """Return a counter from 0 to `last`; a power of two of values needs no comparison to begin again."""
    bits = unsigned_bits(last)
    one, zero = literal(1, bits), literal(0, bits)
    on = f"{name} + {one}"
    return Register(name, bits, zero, when, on if last + 1 == 1 << bits else f"{end} ? {zero} : {on}")


def walker(walk: Walk, rows: int) -> Walker:
    """Return the walk: output row y and column x, group n (in its part p), kernel row h and column w, word c."""
    wires, registers = _counters(walk)
    bits = unsigned_bits(rows * walk.row_words - 1)
    parts = [_slots(walk, rows, bits), _columns(walk, bits), _channels(walk, bits)]
    insides = [one for axis in (0, 1) if (one := _inside(walk, axis)) is not None]
    for part in (*parts, *insides):
        wires, registers = wires + part[0], registers + part[1]
    address = " + ".join(text for _, _, text in parts if text != literal(0, bits)) or literal(0, bits)
    return Walker(wires, registers, address, " && ".join(text for _, _, text in insides) or None)


_Part = tuple[tuple[str, ...], tuple[Register, ...], str]


def _counters(walk: Walk) -> tuple[tuple[str, ...], tuple[Register, ...]]:
    """Return the counters from the innermost on, and `end_*`: this step is the last one of all counters so far."""
    counts = (
        ("c", walk.depth),
        ("w", walk.kernel[1]),
        ("h", walk.kernel[0]),
        ("n", walk.groups),
        ("x", walk.out[1]),
        ("y", walk.out[0]),
    )
    wires, registers, inner = list[str](), list[Register](), ""
    for name, count in counts:
        end = f"end_{name}"
        if count > 1:
            registers.append(counting(name, count - 1, inner, end))
        wires.append(f"wire {end} = {_end(name, count, inner)};")
        inner = end
    if 1 < walk.groups_per_part < walk.groups:
        registers.append(counting("p", walk.groups_per_part - 1, "end_h", "end_p"))
    if walk.groups_per_part < walk.groups:
        wires.insert(3, f"wire end_p = {_end('p', walk.groups_per_part, 'end_h')};")
    return tuple(wires), tuple(registers)


def _end(name: str, count: int, inner: str) -> str:
    here = f"{name} == {literal(count - 1, unsigned_bits(count - 1))}" if count > 1 else ""
    return " && ".join(text for text in (inner, here) if text) or "1'b1"


def _slots(walk: Walk, rows: int, bits: int) -> _Part:
    """Return the registers of the slot of the row that is read: the buffer is a ring of rows."""
    first = literal((-walk.pads[0] % rows) * walk.row_words, bits)
    slot, wires, registers = first, list[str](), list[Register]()

    def further(name: str, step: int) -> str:
        return _ahead(name, step, walk.row_words, rows, bits)

    jump = slot
    if walk.height % rows:
        slot, jump = "frame_slot", further("frame_slot", walk.height)
        registers.append(Register("frame_slot", bits, first, "end_y", jump))
    if walk.out[0] > 1:
        wires.append(f"wire [{bits - 1}:0] next_top = end_y ? {jump} : {further('top_slot', walk.strides[0])};")
        registers.append(Register("top_slot", bits, first, "end_x", "next_top"))
        slot, jump = "top_slot", "next_top"
    if walk.kernel[0] > 1:
        text = f"!end_h ? {further('slot', walk.dilations[0])} : end_x ? {jump} : {slot}"
        registers.append(Register("slot", bits, first, "end_w", text))
        slot = "slot"
    return tuple(wires), tuple(registers), slot


def _ahead(slot: str, step: int, row: int, rows: int, bits: int) -> str:
    """Return the slot `step` rows behind another one."""
    ahead, depth = step % rows * row, rows * row
    if not ahead:
        return slot
    on, back = literal(ahead, bits), literal(ahead - depth, bits)
    return f"{slot} + {on}" if on == back else f"{slot} + ({slot} >= {literal(depth - ahead, bits)} ? {back} : {on})"


def _columns(walk: Walk, bits: int) -> _Part:
    """Return the registers of the place in a row of the pixel that is read."""
    first = literal(-walk.pads[1] * walk.words, bits)
    step, stride = literal(walk.dilations[1] * walk.words, bits), literal(walk.strides[1] * walk.words, bits)
    return _pixels(walk, "column", "pixel", bits, (first, stride, step), signed=False)


def _pixels(walk: Walk, name: str, outer: str, bits: int, values: tuple[str, str, str], *, signed: bool) -> _Part:
    """Return the registers of a quantity that steps with the columns of the output and of the kernel."""
    first, stride, step = values
    kind = f"wire {'signed ' if signed else ''}[{bits - 1}:0]"
    wires, registers, here, there = list[str](), list[Register](), first, first
    if walk.out[1] > 1:
        wires.append(f"{kind} next_{outer} = end_x ? {first} : {outer} + {stride};")
        registers.append(Register(outer, bits, first, "end_n", f"next_{outer}", signed))
        here, there = outer, f"next_{outer}"
    if walk.kernel[1] > 1:
        again = here if here == there else f"end_n ? {there} : {here}"
        registers.append(Register(name, bits, first, "end_c", f"!end_w ? {name} + {step} : {again}", signed))
        here = name
    return tuple(wires), tuple(registers), here


def _channels(walk: Walk, bits: int) -> _Part:
    """Return the registers of the word of channels that is read: those of the part that group n sees."""
    zero, one = literal(0, bits), literal(1, bits)
    if walk.groups_per_part == walk.groups:
        if walk.depth == 1:
            return (), (), zero
        own = unsigned_bits(walk.depth - 1)
        return (), (), "c" if own == bits else f"{{{literal(0, bits - own)}, c}}"
    on = f"end_n ? {zero} : end_p ? part + {literal(walk.depth, bits)} : part"
    if walk.depth == 1:
        return (), (Register("part", bits, zero, "end_h", on),), "part"
    wires = (f"wire [{bits - 1}:0] next_part = {on};",)
    turned = f"!end_c ? channel + {one} : end_h ? next_part : part"
    registers = (Register("part", bits, zero, "end_h", "next_part"), Register("channel", bits, zero, "", turned))
    return wires, registers, "channel"


def _inside(walk: Walk, axis: int) -> _Part | None:
    """Return the registers of the row (axis 0) or column (1) that is read, and whether it is no padding.

    None where no window of the axis reaches beyond the image.
    """
    size, pad = (walk.height, walk.width)[axis], walk.pads[axis]
    stride, step = walk.strides[axis], walk.dilations[axis]
    reach = (walk.out[axis] - 1) * stride + (walk.kernel[axis] - 1) * step
    if not pad and reach < size:
        return None
    bits = signed_bits(-pad, max(size, reach + stride + step - pad))
    values = (literal(-pad, bits, True), literal(stride, bits, True), literal(step, bits, True))
    wires, registers, name = (
        _pixels(walk, "col", "pixel_col", bits, values, signed=True) if axis else _lines(walk, bits, values)
    )
    if not registers:
        inside = -pad >= 0 and -pad < size
        return (), (), "1'b1" if inside else "1'b0"
    return wires, registers, f"!{name}[{bits - 1}] && {name} < {literal(size, bits, True)}"


def _lines(walk: Walk, bits: int, values: tuple[str, str, str]) -> _Part:
    """Return the registers of the row that is read, counted in the image."""
    first, stride, step = values
    wires, registers, here, there = list[str](), list[Register](), first, first
    if walk.out[0] > 1:
        wires.append(f"wire signed [{bits - 1}:0] next_top_row = end_y ? {first} : top_row + {stride};")
        registers.append(Register("top_row", bits, first, "end_x", "next_top_row", True))
        here, there = "top_row", "next_top_row"
    if walk.kernel[0] > 1:
        again = here if here == there else f"end_x ? {there} : {here}"
        registers.append(Register("row", bits, first, "end_w", f"!end_h ? row + {step} : {again}", True))
        here = "row"
    return tuple(wires), tuple(registers), here
