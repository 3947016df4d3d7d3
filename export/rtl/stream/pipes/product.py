"""A product of a wide value and a factor in multipliers of 18 x 18 bits, with registers behind each and each sum."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.fields import literal
from export.rtl.stream.pipes.verilog import Part, Signal, join, register, wire

#: Bits of one piece of a factor: a multiplier takes 18 bits with sign.
PIECE = 17
#: The lowest piece of a value is multiplied without a multiplier when it has at most this many bits; on ECP5, whose
#: multipliers of 18 x 18 bits stand beside look-up tables of four inputs, those sums cost more.
FEW, FEW_ECP5 = 3, 1


@dataclass(frozen=True, slots=True)
class _Row:
    """Partial products side by side: an addend that starts at bit `low` of the product."""

    signal: Signal
    low: int

    @property
    def end(self) -> int:
        return self.low + self.signal.bits


def pieces(bits: int, signed: bool, tile: int) -> list[tuple[int, int]]:
    """Return the pieces (lowest bit, bits) of a value for multipliers whose one side takes `tile` bits with sign.

    The lowest piece is as small as it can be when it then needs no multiplier, else all but the highest are full.
    """
    top, step = tile if signed else tile - 1, tile - 1
    if bits <= top:
        return [(0, bits)]
    rest = (bits - top) % step
    first = rest if 0 < rest <= few(tile) else step
    return [(0, first)] + [(low + first, count) for low, count in pieces(bits - first, signed, tile)]


def few(tile: int) -> int:
    """Return how many bits are multiplied without a multiplier, beside multipliers of `tile` bits."""
    return FEW_ECP5 if tile == PIECE + 1 else FEW


def effort(bits: int, signed: bool, tile: int) -> tuple[int, int]:
    """Return the multipliers a value needs for each piece of the factor, and its bits that need none."""
    counts = [count for _, count in pieces(bits, signed, tile)]
    free = counts[0] if len(counts) > 1 and counts[0] <= few(tile) else 0
    return len(counts) - (free > 0), free


def product(name: str, value: Signal, factor: Signal, tile: int = PIECE + 1) -> tuple[Signal, Part]:
    """Return value * factor (`factor` unsigned, both at the same clock) and its text.

    One clock for the partial products, one for each level of the sums.
    """
    parts, rows = list[Part](), list[_Row]()
    piece = min(PIECE + 1, tile)
    value_pieces, factor_pieces = pieces(value.bits, value.signed, tile), factor_parts(factor.bits, piece)
    if len(value_pieces) > 1 and value_pieces[0][1] <= few(tile):
        row, text = _few(name, value, value_pieces.pop(0)[1], factor)
        rows.append(row)
        parts.append(text)
    places = sorted((a[0] + b[0], i, j) for i, a in enumerate(value_pieces) for j, b in enumerate(factor_pieces))
    for low, i, j in places:
        top = value.signed and i == len(value_pieces) - 1
        one = _piece(value, *value_pieces[i], top), _piece(factor, *factor_pieces[j], False)
        bits = value_pieces[i][1] + factor_pieces[j][1]
        signal = Signal(f"{name}_p{i}{j}", bits, value.clock + 1, top)
        parts.append(_tile(signal, one, value_pieces[i][1] + (not top), factor_pieces[j][1] + 1))
        rows.append(_Row(signal, low))
    packed = _pack(name, rows)
    parts.append(packed[1])
    summed, tree = _sum(name, packed[0], 0)
    return summed, join(*parts, tree)


def factor_parts(bits: int, piece: int) -> list[tuple[int, int]]:
    """Return the pieces (lowest bit, bits) of an unsigned factor."""
    return [(low, min(piece - 1, bits - low)) for low in range(0, bits, piece - 1)]


def _few(name: str, value: Signal, bits: int, factor: Signal) -> tuple[_Row, Part]:
    """Return the product of the lowest bits of a value, as a sum of shifted factors."""
    signal = Signal(f"{name}_few", bits + factor.bits, value.clock + 1)
    terms = []
    for k in range(bits):
        shifted = zero_bits(factor, k)
        wide = f"{{{literal(0, bits - k)}, {shifted}}}"
        terms.append(f"({wide} & {{{signal.bits}{{{value.text}[{k}]}}}})")
    return _Row(signal, 0), register(signal, " + ".join(terms))


def _piece(signal: Signal, low: int, count: int, top: bool) -> str:
    inside = signal.text if count == signal.bits else f"{signal.text}[{low + count - 1}:{low}]"
    return f"$signed({inside})" if top else f"$signed({{1'b0, {inside}}})"


def _tile(signal: Signal, operands: tuple[str, str], first: int, second: int) -> Part:
    a = Signal(f"{signal.name}_a", first, signal.clock - 1, True)
    b = Signal(f"{signal.name}_b", second, signal.clock - 1, True)
    whole = Signal(f"{signal.name}_m", first + second, signal.clock - 1, True)
    return join(
        wire(a, operands[0]),
        wire(b, operands[1]),
        wire(whole, f"{a.text} * {b.text}"),
        register(signal, whole.text if whole.bits == signal.bits else f"{whole.text}[{signal.bits - 1}:0]"),
    )


def _pack(name: str, products: list[_Row]) -> tuple[list[_Row], Part]:
    """Put products that do not overlap side by side; one with sign can only be the highest of its row."""
    rows = list[list[_Row]]()
    for one in products:
        place = next((row for row in rows if row[-1].end == one.low and not row[-1].signal.signed), None)
        if place is None:
            rows.append([one])
        else:
            place.append(one)
    parts, packed = [], []
    for index, row in enumerate(rows):
        if len(row) == 1:
            packed.append(row[0])
            continue
        bits, top = sum(one.signal.bits for one in row), row[-1].signal
        signal = Signal(f"{name}_row{index}", bits, top.clock, top.signed)
        parts.append(wire(signal, "{" + ", ".join(one.signal.text for one in reversed(row)) + "}"))
        packed.append(_Row(signal, row[0].low))
    return packed, join(*parts)


def _sum(name: str, rows: list[_Row], level: int) -> tuple[Signal, Part]:
    if len(rows) == 1:
        signal, low = rows[0].signal, rows[0].low
        assert low == 0
        return signal, Part()
    rows = sorted(rows, key=lambda row: row.low)
    parts, sums = [], []
    for index in range(0, len(rows) - 1, 2):
        one, part = _add(f"{name}_s{level}{index}", rows[index], rows[index + 1])
        sums.append(one)
        parts.append(part)
    if len(rows) % 2:
        last = rows[-1].signal
        kept = Signal(last.name, last.bits, last.clock + 1, last.signed)
        parts.append(register(kept, last.text))
        sums.append(_Row(kept, rows[-1].low))
    signal, tree = _sum(name, sums, level + 1)
    return signal, join(*parts, tree)


def _add(name: str, first: _Row, second: _Row) -> tuple[_Row, Part]:
    """Add two rows; the bits of the first below the second go past the adder."""
    past = second.low - first.low
    signed = first.signal.signed or second.signal.signed
    end = max(first.end, second.end) + 1
    bits = end - second.low
    upper = Signal(f"{name}_u", bits, first.signal.clock, signed)
    signal = Signal(name, end - first.low, first.signal.clock + 1, signed)
    sources = (first.signal.part(past, bits), second.signal.part(0, bits))
    sum_text = f"{sources[0]} + {sources[1]}"
    whole = f"{{{upper.text}, {first.signal.text}[{past - 1}:0]}}" if past else upper.text
    return _Row(signal, first.low), join(wire(upper, sum_text), register(signal, whole))


def zero_bits(signal: Signal, count: int) -> str:
    """Return a signal with `count` zero bits below."""
    return f"{{{signal.text}, {literal(0, count)}}}" if count else signal.text
