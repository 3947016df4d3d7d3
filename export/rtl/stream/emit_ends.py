"""Where streams leave a core: its output ports, and the modules between the last links and them."""

from __future__ import annotations

from export.rtl.bounds import unsigned_bits
from export.rtl.decode import stream_bits
from export.rtl.stream.pipes.decode import ordinal_less
from export.rtl.stream.plan import Design, Link
from export.rtl.stream.streams import Stream, streams
from export.rtl.stream.text import filled, printable
from quant.formats import Format


def stem_of(link: Link) -> str:
    """Return what the wires at the end of a link begin with."""
    return f"i{link.target}_{link.port}"


def end_bits(plan: Design, link: Link) -> int:
    """Return the bits of a beat at the end of a link."""
    return unsigned_bits(link.labels_of - 1) if link.labels_of else link.to_lanes * plan.format_bits(link.tensor)


def titles(plan: Design) -> str:
    """Return the comment that describes the streams out of a core."""
    lines = [f"AXI-Stream out {stream.port}: {_title(plan, stream)}" for stream in streams(plan)]
    if len(lines) > 1:
        lines += [
            "Each of them keeps one frame that nobody takes, so that those of a frame can be taken in any order, one",
            "after the other, too. Before frame f + 1 of one of them is awaited, frame f of all must have been taken.",
        ]
    return "\n".join(f"// {line}" for line in lines)


def _title(plan: Design, stream: Stream) -> str:
    tensor = f"'{printable(stream.tensor)}' {list(plan.program.tensors[stream.tensor].shape[1:])}"
    if stream.labels:
        return f"place of the first greatest code of tensor {tensor}: one beat of {stream.bits} bits a frame, unsigned."
    fmt = plan.program.quant(stream.tensor).format.name
    return f"tensor {tensor} ({fmt}) in that order, {stream.lanes} code(s) a beat, tlast on beat {stream.beats - 1}."


def ports(plan: Design) -> str:
    """Return the output ports of a core."""
    return "\n".join(
        f"    output wire [{stream.bits}-1:0] {stream.port}_tdata,\n    output wire {stream.port}_tvalid,\n"
        f"    input wire {stream.port}_tready,\n    output wire {stream.port}_tlast,\n"
        f"    output wire {stream.port}_tuser,"
        for stream in streams(plan)
    )


def sinks(name: str, plan: Design) -> str:
    """Return the instances of the modules that make the streams out of a core."""
    found = []
    for index, (link, stream) in enumerate(zip(plan.ends(), streams(plan), strict=True)):
        stem, suffix = stem_of(link), _suffix(plan, index)
        wires = ", ".join(f".m_{wire}({stream.port}_t{wire})" for wire in ("data", "valid", "ready", "last", "user"))
        found.append(
            f"  {name}_sink{suffix} sink{suffix} (.clk(clk), .rst(rst), .in_valid({stem}_valid), "
            f".in_ready({stem}_ready), .in_data({stem}_data), .damaged_valid(damaged_valid[{index}]), "
            f".damaged(damaged[{index}]), .damaged_ready(damaged_ready[{index}]), {wires});"
        )
    return "\n".join(found)


def end_modules(name: str, plan: Design) -> str:
    """Return the modules of all outputs."""
    parts = []
    for index, (link, stream) in enumerate(zip(plan.ends(), streams(plan), strict=True)):
        values = {
            "MODULE": f"{name}_sink{_suffix(plan, index)}",
            "PORT": stream.port,
            "CODES": str(end_bits(plan, link)),
            "WIDTH": str(stream.bits),
            "BEAT": str(unsigned_bits(stream.beats - 1)),
            "LAST": str(stream.beats - 1),
            "STORE": _store(plan, link, stream),
        }
        parts.append(filled("sink.v", values))
        if link.labels_of:
            parts.append(_label(name, plan, link))
    return "\n".join(part.rstrip("\n") for part in parts)


def label_module(name: str, plan: Design, link: Link) -> str:
    """Return the name of the module that makes the labels of an output."""
    return f"{name}_label{_suffix(plan, link.target - len(plan.units))}"


def _label(name: str, plan: Design, link: Link) -> str:
    fmt = plan.program.quant(link.tensor).format
    values = {
        "MODULE": label_module(name, plan, link),
        "COUNT": str(link.labels_of),
        "CODE": str(fmt.bits),
        "LABEL": str(end_bits(plan, link)),
        "LAST": str(link.labels_of - 1),
        "GREATER": ordinal_less(fmt, "greatest", "in_data"),
    }
    return filled("label.v", values)


def _suffix(plan: Design, index: int) -> str:
    return "" if len(plan.results) == 1 else f"_{index}"


def _store(plan: Design, link: Link, stream: Stream) -> str:
    """Return the beat of a stream: each code of `in_data` in whole bytes, the first in the low bits."""
    if stream.labels:
        bits = end_bits(plan, link)
        return "in_data" if bits == stream.bits else f"{{{stream.bits - bits}'b0, in_data}}"
    fmt = plan.program.quant(stream.tensor).format
    if stream_bits(fmt) == fmt.bits:
        return "in_data"
    return "{" + ", ".join(_padded(fmt, lane) for lane in reversed(range(stream.lanes))) + "}"


def _padded(fmt: Format, lane: int) -> str:
    """Return a code in whole bytes: integers sign-extended, minifloats as they are."""
    pad, low = stream_bits(fmt) - fmt.bits, lane * fmt.bits
    top = f"{{{pad}{{in_data[{low + fmt.bits - 1}]}}}}" if fmt.signed and not fmt.is_minifloat else f"{pad}'b0"
    return f"{top}, in_data[{low} +: {fmt.bits}]"
