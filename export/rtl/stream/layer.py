"""The Verilog of units with windows: convolutions, fully connected layers, pools and means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from export.rtl.bounds import signed_bits, unsigned_bits
from export.rtl.lanes.lanes import Lanes
from export.rtl.lanes.lanes import verilog as lanes_verilog
from export.rtl.stream.fast_lanes import fast_lanes
from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.decode import decode, ordinal_less
from export.rtl.stream.pipes.divide import divide
from export.rtl.stream.pipes.requant import requant
from export.rtl.stream.plan import Design, product_style
from export.rtl.stream.text import filled
from export.rtl.stream.units import Layer
from export.rtl.stream.window import window
from quant.formats import Format, IntArray
from quant.steps import AveragePoolStep, ConvStep, MaxPoolStep, MeanStep

#: Clocks from a step of the walk to its word.
READ_CLOCKS = 3
#: Weight memories of at most this many words are made of LUTs, larger ones of block RAM.
SMALL_ROM = 64


@dataclass(frozen=True, slots=True)
class UnitFiles:
    """The Verilog of one unit, its memory files, and the clocks from the last step of a group to its first beat."""

    verilog: str
    memories: tuple[tuple[str, str], ...]
    latency: int


@dataclass(frozen=True, slots=True)
class _Terms:
    """What feeds the accumulators: text, `clocks` behind the words, bits of a term, modules and memories."""

    text: str
    clocks: int
    bits: int
    modules: str = ""
    memories: tuple[tuple[str, str], ...] = ()


def layer(name: str, module: str, plan: Design, unit: Layer, fifo_bits: int) -> UnitFiles:
    """Return the Verilog of a layer, top module `module`, of the core `name`."""
    step, fmt = unit.step, plan.program.quant(unit.step.x).format
    terms = _terms(name, module, plan, unit)
    acc = _acc_bits(plan, unit, terms)
    pipe = _finish(module, plan, unit, acc)
    out_bits = unit.out_lanes * plan.format_bits(step.y)
    send_bits = unit.out_lanes * acc
    values = {
        "TITLE": _title(plan, unit),
        "MODULE": module,
        "IN": str(unit.in_lanes * fmt.bits),
        "OUT": str(out_bits),
        "STEP": str(unsigned_bits(unit.walk.groups * unit.walk.terms - 1)),
        "TERMS": terms.text,
        "CLOCKS": str(terms.clocks),
        "ACCUMULATE": _accumulate(unit, fmt, terms.bits, acc),
        "SEND": str(send_bits),
        "HOLD": _hold(unit, acc),
        "FINISH": _finish_text(unit, pipe),
        "FIFO": str(fifo_bits),
        "COST": str(unit.beats_per_group),
        "NAME": name,
    }
    fill = _fill(plan, unit)
    walker = window(module, _title(plan, unit), unit.walk, unit.rows, unit.in_lanes * fmt.bits, fill)
    text = "\n".join(
        part for part in (filled("unit.v", values), walker, terms.modules, pipe.verilog if pipe else "") if part
    )
    memories = terms.memories + (pipe.memories if pipe else ())
    latency = READ_CLOCKS + terms.clocks + 1 + (pipe.latency if pipe else 0)
    return UnitFiles(text, memories, latency)


def _title(plan: Design, unit: Layer) -> str:
    walk, kind = unit.walk, type(unit.step).__name__.removesuffix("Step")
    rows, columns = walk.out
    return (
        f"{kind}: kernel {walk.kernel[0]} x {walk.kernel[1]}, {rows} x {columns} windows, {unit.fold.pe} outputs of "
        f"{walk.groups * unit.fold.pe} with {unit.fold.simd} products each at once, {walk.steps} clocks a frame"
    )


def _fill(plan: Design, unit: Layer) -> int:
    """Return the word that stands for padding: the zero point, or for a maximum the least code, in every lane."""
    fmt = plan.program.quant(unit.step.x).format
    match unit.step:
        case MaxPoolStep():
            code = int(fmt.from_ordinals(np.array([fmt.min_ordinal]))[0])
        case ConvStep():
            code = int(unit.step.x_zero)
        case _:
            code = 0
    code &= (1 << fmt.bits) - 1
    return sum(code << lane * fmt.bits for lane in range(unit.in_lanes))


def _terms(name: str, module: str, plan: Design, unit: Layer) -> _Terms:
    fmt = plan.program.quant(unit.step.x).format
    if isinstance(unit.step, ConvStep):
        return _products(name, module, plan, unit, fmt)
    if isinstance(unit.step, MaxPoolStep):
        return _Terms(f"  wire [{unit.in_lanes * fmt.bits - 1}:0] terms = data;", 0, fmt.bits)
    bits = signed_bits(fmt.units_of_ordinal(fmt.min_ordinal), fmt.max_units)
    lanes = [
        f"  assign terms[{lane * bits} +: {bits}] = {decode(fmt, f'data[{lane * fmt.bits} +: {fmt.bits}]', bits)};"
        for lane in range(unit.fold.pe)
    ]
    return _Terms("\n".join([f"  wire [{unit.fold.pe * bits - 1}:0] terms;", *lanes]), 0, bits)


def _products(name: str, module: str, plan: Design, unit: Layer, fmt: Format) -> _Terms:
    step, fold = unit.step, unit.fold
    assert isinstance(step, ConvStep)
    style = product_style(unit)
    pair = style == "dsp_pair"
    lanes = Lanes(step.weight_format, fmt, fold.simd, style, plan.device.family)
    weight_bits = step.weight_format.bits * fold.simd
    width, depth = weight_bits * fold.pe, unit.walk.groups * unit.walk.terms
    kind = "block" if depth > SMALL_ROM else "logic"
    lines = [
        f"  wire [{width - 1}:0] weights;",
        f"  {name}_rom_{kind} #(.WIDTH({width}), .DEPTH({depth}), .BITS({unsigned_bits(depth - 1)}), "
        f'.FILE("{module}_weights.mem")) rom (.clk(clk), .at(weight_at), .data(weights));',
        f"  wire [{fold.pe * lanes.sum_bits - 1}:0] terms;",
        "  genvar lane;",
        "  generate",
        f"    for (lane = 0; lane < {fold.pe}; lane = lane + {2 if pair else 1}) begin : lanes",
        *_instance(module, unit, fmt, lanes, weight_bits, pair),
        "    end",
        "  endgenerate",
    ]
    memory = (f"{module}_weights.mem", _weights(plan, unit))
    return _Terms("\n".join(lines), lanes.latency, lanes.sum_bits, _lanes(lanes, f"{module}_lanes"), (memory,))


def _lanes(lanes: Lanes, module: str) -> str:
    fast, gates = fast_lanes(lanes, module), lanes_verilog(lanes, module)
    return f"`ifdef EDGEMILL_FAST\n{fast}`else\n{gates}`endif"


def _instance(module: str, unit: Layer, fmt: Format, lanes: Lanes, weight_bits: int, pair: bool) -> list[str]:
    x = f"data[lane*{fmt.bits} +: {fmt.bits}]" if unit.apart else "data"
    w, s = weight_bits, lanes.sum_bits
    if not pair:
        return [
            f"      {module}_lanes dot (.clk(clk), .x({x}), .w(weights[lane*{w} +: {w}]), "
            f".sum(terms[lane*{s} +: {s}]));"
        ]
    return [
        f"      {module}_lanes dot (.clk(clk), .x({x}), .w0(weights[lane*{w} +: {w}]), "
        f".w1(weights[(lane+1)*{w} +: {w}]), .sum0(terms[lane*{s} +: {s}]), .sum1(terms[(lane+1)*{s} +: {s}]));"
    ]


def weight_words(plan: Design, unit: Layer) -> IntArray:
    """Return the weights by memory word: [groups * terms, pe * simd] bit patterns of codes, lane by lane."""
    step, fold, walk = unit.step, unit.fold, unit.walk
    assert isinstance(step, ConvStep)
    fmt, codes = step.weight_format, step.codes.astype(np.int64)
    if codes.shape[2:] == (1, 1) and codes.shape[1] == len(plan.orders[step.x]):
        codes = codes[:, plan.orders[step.x]]
    kh, kw = walk.kernel
    grouped = codes.reshape(walk.groups, fold.pe, walk.depth, fold.simd, kh, kw)
    words = grouped.transpose(0, 4, 5, 2, 1, 3).reshape(walk.groups * walk.terms, fold.pe * fold.simd)
    patterns: IntArray = words & ((1 << fmt.bits) - 1)
    return patterns


def _weights(plan: Design, unit: Layer) -> str:
    assert isinstance(unit.step, ConvStep)
    bits = unit.step.weight_format.bits
    words = weight_words(plan, unit)
    digits = -(-words.shape[1] * bits // 4)
    rows = (sum(int(code) << place * bits for place, code in enumerate(word)) for word in words)
    return "".join(f"{row:0{digits}x}\n" for row in rows)


def acc_max(plan: Design, unit: Layer) -> int:
    """Return the largest magnitude of a finished accumulator (before what a mean or pool divides)."""
    step, fmt = unit.step, plan.program.quant(unit.step.x).format
    if isinstance(step, ConvStep):
        return step.acc_max
    low, high = fmt.units_of_ordinal(fmt.min_ordinal), fmt.max_units
    zero = step.x_zero if isinstance(step, MeanStep) else 0
    return max(abs(low - zero), abs(high - zero)) * unit.walk.terms


def _acc_bits(plan: Design, unit: Layer, terms: _Terms) -> int:
    """Bits of an accumulator: enough for the finished sum, because all sums before it are modulo 2^bits."""
    if isinstance(unit.step, MaxPoolStep):
        return terms.bits
    most = acc_max(plan, unit)
    return signed_bits(-most, most)


def _accumulate(unit: Layer, fmt: Format, bits: int, acc: int) -> str:
    lanes = unit.fold.pe
    if isinstance(unit.step, MaxPoolStep):
        old, new = f"acc[lane*{acc} +: {acc}]", f"terms[lane*{acc} +: {acc}]"
        lines = [
            f"always @(posedge clk) if (term_valid && (term_first || {ordinal_less(fmt, old, new)})) {old} <= {new};"
        ]
        wires = ["  reg send_group;", "  always @(posedge clk) send_group <= !rst && done;"]
    else:
        lines, wires = _sum(bits, acc), [f"  wire [{lanes * acc - 1}:0] total;  // with the term that is there"]
    return "\n".join(
        [
            f"  reg [{lanes * acc - 1}:0] acc;",
            *wires,
            "  genvar lane_of_sum;",
            "  generate",
            f"    for (lane_of_sum = 0; lane_of_sum < {lanes}; lane_of_sum = lane_of_sum + 1) begin : sums",
            *[f"      {line}".replace("lane*", "lane_of_sum*") for line in lines],
            "    end",
            "  endgenerate",
            *(_count(unit) if isinstance(unit.step, AveragePoolStep) else ()),
        ]
    )


def _sum(bits: int, acc: int) -> list[str]:
    """Return the accumulation of one lane: terms are extended or cut to the accumulator's bits.

    The last term of a group goes on with the total and leaves zero for the next group.
    """
    term = f"terms[lane*{bits} +: {bits}]"
    top = f"terms[lane*{bits}+{bits - 1}]"
    value = f"{{{{{acc - bits}{{{top}}}}}, {term}}}" if acc > bits else f"terms[lane*{bits} +: {acc}]"
    own, total = f"acc[lane*{acc} +: {acc}]", f"total[lane*{acc} +: {acc}]"
    return [
        f"wire [{acc - 1}:0] term = {value};",
        f"assign {total} = {own} + term;",
        "always @(posedge clk)",
        f"  if (rst || done) {own} <= {{{acc}{{1'b0}}}};",
        f"  else if (term_valid) {own} <= {total};",
    ]


def _count(unit: Layer) -> list[str]:
    bits = unsigned_bits(unit.walk.terms)
    inside = f"{{{bits - 1}'b0, term_inside}}" if bits > 1 else "term_inside"
    return [
        f"  reg [{bits - 1}:0] count, sent_count;  // positions of the window inside the image",
        f"  wire [{bits - 1}:0] counted = count + {inside};",
        "  always @(posedge clk) begin",
        f"    if (rst || done) count <= {bits}'d0;",
        "    else if (term_valid) count <= counted;",
        "    if (done) sent_count <= counted;",
        "  end",
    ]


def _hold(unit: Layer, acc: int) -> str:
    if isinstance(unit.step, MaxPoolStep):
        return "  assign send = send_group;\n  assign sent = acc;"
    width, beats = unit.fold.pe * acc, unit.beats_per_group
    lines = [f"  reg [{width - 1}:0] held;"]
    if beats == 1:
        lines += ["  reg send_group;", "  always @(posedge clk) send_group <= !rst && done;"]
        return "\n".join([*lines, "  always @(posedge clk) held <= total;", *_sends("send_group", width)])
    bits, part = unsigned_bits(beats), unit.out_lanes * acc
    return "\n".join(
        [
            "  // A group leaves over the clocks in which the next one adds up.",
            *lines,
            f"  reg [{bits - 1}:0] left;",
            f"  always @(posedge clk) held <= done ? total : held >> {part};",
            "  always @(posedge clk)",
            f"    if (rst) left <= {bits}'d0;",
            f"    else if (done) left <= {bits}'d{beats};",
            f"    else if (send) left <= left - {bits}'d1;",
            *_sends("|left", part),
        ]
    )


def _sends(send: str, part: int) -> list[str]:
    return [f"  assign send = {send};", f"  assign sent = held[{part - 1}:0];"]


def _finish(module: str, plan: Design, unit: Layer, acc: int) -> Pipe | None:
    step, name, device = unit.step, f"{module}_finish", plan.device
    most, lanes = acc_max(plan, unit), unit.out_lanes
    match step:
        case ConvStep() | MeanStep():
            starts = starts_of(step) if isinstance(step, ConvStep) else (-step.x_zero * unit.walk.terms,)
            channels = unit.walk.groups * unit.fold.pe
            return requant(name, step.requant, starts, acc, lanes, channels, most, device.wide_bits, device.table_words)
        case AveragePoolStep():
            fmt, counts = plan.program.quant(step.y).format, unit.walk.counts()
            terms = unit.walk.terms
            return divide(name, fmt, step.multipliers, terms, acc, lanes, most, counts, device.wide_bits)
        case MaxPoolStep():
            return None


def starts_of(step: ConvStep) -> tuple[int, ...]:
    """Return what each channel's accumulator starts from: its bias less the zero point's share of the products."""
    sums = step.weight.astype(object).sum(axis=(1, 2, 3))
    return tuple(int(b) - step.x_zero * int(s) for b, s in zip(step.bias, sums, strict=True))


def _finish_text(unit: Layer, pipe: Pipe | None) -> str:
    if pipe is None:
        return "  assign code_valid = send;\n  assign code = sent;"
    count = ""
    if isinstance(unit.step, AveragePoolStep):
        count = ", .in_count(sent_count)"
    return (
        f"  {pipe.module} finish (.clk(clk), .rst(rst), .in_valid(send), .in_acc(sent){count}, "
        ".out_valid(code_valid), .out_data(code));"
    )
