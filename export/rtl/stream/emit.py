"""The files of a streaming core: its top module, the units in it, and the contents of its memories."""

from __future__ import annotations

from math import gcd

from export.rtl.bounds import unsigned_bits
from export.rtl.decode import stream_bits
from export.rtl.stream.element import elementwise, rearrange
from export.rtl.stream.emit_ends import end_bits, end_modules, label_module, ports, sinks, stem_of, titles
from export.rtl.stream.layer import UnitFiles, layer
from export.rtl.stream.plan import Design, Link
from export.rtl.stream.status import status_instance, status_module, status_ports
from export.rtl.stream.text import filled, printable
from export.rtl.stream.units import Elementwise, Layer, Rearrange, Unit
from quant.formats import Format
from quant.steps import reads

#: Verilog files a core is made of; one text, so that a user adds one file to a project.
_SHARED = ("shared.v", "flow.v")


def unit_files(name: str, plan: Design) -> tuple[UnitFiles, ...]:
    """Return the Verilog and memories of every unit."""
    return tuple(_unit(name, plan, index, unit) for index, unit in enumerate(plan.units))


def _unit(name: str, plan: Design, index: int, unit: Unit) -> UnitFiles:
    module, bits = f"{name}_u{index}", plan.fifo_bits[index]
    match unit:
        case Layer():
            return layer(name, module, plan, unit, bits)
        case Elementwise():
            return elementwise(name, module, plan, unit, bits)
        case Rearrange():
            return rearrange(name, module, plan, unit, bits)


def verilog(name: str, plan: Design, units: tuple[UnitFiles, ...], cycles: int, digest: str) -> str:
    """Return the Verilog of a whole core whose top module is `name`; every module carries the name as a prefix.

    `digest` is what its status registers, where it has any, say that it is: 8 hexadecimal digits.
    """
    parts = [filled("core.v", _values(name, plan, cycles)), end_modules(name, plan)]
    parts += [text for text in (status_module(name, plan, digest), *(unit.verilog for unit in units)) if text]
    parts += [filled(part, {"NAME": name}) for part in _SHARED]
    return "`default_nettype none\n" + "\n".join(part.rstrip("\n") for part in parts) + "\n`default_nettype wire\n"


def memories(units: tuple[UnitFiles, ...]) -> dict[str, str]:
    """Return the texts of the memory files by file name."""
    return dict(entry for unit in units for entry in unit.memories)


def _values(name: str, plan: Design, cycles: int) -> dict[str, str]:
    program = plan.program
    source = program.quant(program.input).format
    in_beats = plan.codes(program.input) // plan.input_lanes
    return {
        "TITLE": f"Network '{printable(program.name)}' as a streaming core: {len(plan.units)} units.",
        "INPUT": printable(program.input),
        "IN_SHAPE": str(list(program.tensors[program.input].shape[1:])),
        "IN_FORMAT": source.name,
        "IN_LANES": str(plan.input_lanes),
        "IN_LAST": str(in_beats - 1),
        "IN_WIDTH": str(plan.input_lanes * stream_bits(source)),
        "IN_CODES": str(plan.input_lanes * source.bits),
        "OUTPUTS": titles(plan),
        "OUT_PORTS": ports(plan) + status_ports(plan),
        "STATUS": status_instance(name, plan),
        "COUNT": str(len(plan.results)),
        "MARK": str(_mark_bits(plan)),
        "MARK_ROOM": str((1 << _mark_bits(plan)) - 4),
        "BEAT": str(unsigned_bits(in_beats - 1)),
        "CYCLES": str(cycles),
        "LOAD": _load(source, plan.input_lanes),
        "BODY": _body(name, plan),
        "NAME": name,
    }


def _mark_bits(plan: Design) -> int:
    """Bits to count the frames that can be under way: two in every unit, and at least sixteen."""
    return max(4, unsigned_bits(2 * len(plan.units) + 4))


def _body(name: str, plan: Design) -> str:
    blocks = [_source(plan, -1)]
    for index, unit in enumerate(plan.units):
        blocks += [_link(name, plan, link) for link in plan.inputs(index)]
        blocks += [_instance(name, plan, index, unit), _source(plan, index)]
    blocks += [_link(name, plan, link) for link in plan.ends()]
    return "\n".join([*blocks, sinks(name, plan), *_taps(plan)])


def _wires(stem: str, bits: int) -> str:
    return f"  wire {stem}_valid, {stem}_ready;\n  wire [{bits - 1}:0] {stem}_data;"


def _source(plan: Design, source: int) -> str:
    """Return the wires of what a unit (or the input) gives, as a fork to all links that read it."""
    links = plan.outputs(source)
    stem = f"o{source}" if source >= 0 else "codes"
    ready = " && ".join(f"f{link.target}_{link.port}_ready" for link in links)
    lines = [f"  assign {stem}_ready = {ready};"]
    for link in links:
        fork, bits = f"f{link.target}_{link.port}", link.from_lanes * plan.format_bits(link.tensor)
        others = "".join(f" && f{o.target}_{o.port}_ready" for o in links if o is not link)
        lines += [
            _wires(fork, bits),
            f"  assign {fork}_valid = {stem}_valid{others};",
            f"  assign {fork}_data = {stem if source < 0 else f'{stem}_data'};",
        ]
    wires = [line for line in lines if line.startswith("  wire")]
    return "\n".join(
        [f"  // Tensor '{printable(links[0].tensor)}'.", *wires, *(line for line in lines if line not in wires)]
    )


def _link(name: str, plan: Design, link: Link) -> str:
    """Return the queue and the converters between a fork and the unit that reads it."""
    bits, stem, lines = plan.format_bits(link.tensor), f"f{link.target}_{link.port}", []
    stages: list[tuple[str, str, int]] = []
    if link.queue_bits:
        width = link.from_lanes * bits
        stages.append(("queue", f".WIDTH({width}), .BITS({link.queue_bits})", width))
    for kind, ratio, lanes in conversions(link):
        if kind == "label":
            stages.append((label_module(name, plan, link).removeprefix(f"{name}_"), "", end_bits(plan, link)))
            continue
        narrow = min(lanes, lanes * ratio if kind == "narrow" else lanes // ratio) * bits
        stages.append((kind, f".WIDTH({narrow}), .RATIO({ratio}), .BITS({unsigned_bits(ratio)})", lanes * bits))
    for number, (kind, parameters, width) in enumerate(stages):
        after = f"s{link.target}_{link.port}_{number}"
        lines.append(_wires(after, width))
        module = f"{name}_{kind} #({parameters})" if parameters else f"{name}_{kind}"
        lines.append(
            f"  {module} {kind}_{link.target}_{link.port}_{number} (.clk(clk), .rst(rst), "
            f".in_valid({stem}_valid), .in_ready({stem}_ready), .in_data({stem}_data), "
            f".out_valid({after}_valid), .out_ready({after}_ready), .out_data({after}_data));"
        )
        stem = after
    end = stem_of(link)
    lines += [
        _wires(end, end_bits(plan, link)),
        f"  assign {end}_valid = {stem}_valid;",
        f"  assign {end}_data = {stem}_data;",
        f"  assign {stem}_ready = {end}_ready;",
    ]
    return "\n".join(lines)


def conversions(link: Link) -> list[tuple[str, int, int]]:
    """Return the converters of a link: kind, ratio, and the lanes behind it."""
    common, steps = gcd(link.from_lanes, link.to_lanes), []
    if link.from_lanes > common:
        steps.append(("narrow", link.from_lanes // common, common))
    if link.to_lanes > common:
        steps.append(("widen", link.to_lanes // common, link.to_lanes))
    if link.labels_of:
        steps.append(("label", link.labels_of, link.labels_of))
    return steps


def _instance(name: str, plan: Design, index: int, unit: Unit) -> str:
    lanes = plan.outputs(index)[0].from_lanes
    names = _ports(unit)
    inputs = ", ".join(
        f".{port}_{wire}({stem_of(link)}_{wire})"
        for port, link in zip(names, plan.inputs(index), strict=True)
        for wire in ("valid", "ready", "data")
    )
    return (
        f"{_wires(f'o{index}', lanes * plan.format_bits(unit.step.y))}\n"
        f"  {name}_u{index} unit{index} (.clk(clk), .rst(rst), {inputs}, "
        f".out_valid(o{index}_valid), .out_ready(o{index}_ready), .out_data(o{index}_data));  "
        f"// step '{printable(unit.step.name)}'"
    )


def _ports(unit: Unit) -> tuple[str, ...]:
    count = len(reads(unit.step))
    if count == 1:
        return ("in",)
    return ("a", "b") if isinstance(unit, Elementwise) else tuple(f"in{i}" for i in range(count))


def _taps(plan: Design) -> list[str]:
    """Return what writes every beat of every tensor to a file of its own, when the simulation is started with +tap."""
    lines = ["`ifdef EDGEMILL_TAP", '  integer tapped = $test$plusargs("tap");']
    for source in range(-1, len(plan.units)):
        stem = f"o{source}" if source >= 0 else "codes"
        data = "codes" if source < 0 else f"{stem}_data"
        number = source + 1
        lines += [
            f"  integer tap{number};",
            f'  initial if ($test$plusargs("tap")) tap{number} = $fopen("tap_{number}.hex", "w");',
            f"  always @(posedge clk) if (tapped != 0 && !rst && {stem}_valid && {stem}_ready) "
            f'$fwrite(tap{number}, "%h\\n", {data});',
        ]
    return [*lines, "`endif"]


def _load(fmt: Format, lanes: int) -> str:
    """Return the assignment of codes from the bytes of a beat; minus zero and codes that are no numbers are mended."""
    width, bits = stream_bits(fmt), fmt.bits
    rows = []
    for lane in range(lanes):
        low, first = lane * width, lane * bits
        if not fmt.is_minifloat:
            rows.append(f"  assign codes[{first} +: {bits}] = s_data[{low} +: {bits}];")
            continue
        magnitude = f"s_data[{low} +: {bits - 1}]"
        if fmt.reserved:
            top = f"{bits - 1}'d{fmt.max_ordinal}"
            magnitude = f"{magnitude} > {top} ? {top} : {magnitude}"
        rows.append(f"  assign codes[{first} +: {bits - 1}] = {magnitude};")
        rows.append(f"  assign codes[{first + bits - 1}] = s_data[{low + bits - 1}] && |s_data[{low} +: {bits - 1}];")
    if lanes * width > lanes * bits:
        rows.append("  wire unused = &{1'b0, s_data};")
    return "\n".join(rows)
