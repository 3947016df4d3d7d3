"""The frame around the lanes of a pipe: ports, input registers, valid bits, and one instance of a lane per code."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.channels import SMALL, Constant, constants
from export.rtl.stream.pipes.verilog import Part, Signal, join, module, port, register


@dataclass(frozen=True, slots=True)
class Lane:
    """The arithmetic of one lane: its text, from the signals `inputs` (clock 0) to `code`."""

    title: str
    inputs: tuple[Signal, ...]
    fields: tuple[Constant, ...]
    code: Signal
    text: Part


def pipe(name: str, lane: Lane, lanes: int, channels: int, shared: tuple[str, ...] = (), small: int = SMALL) -> Pipe:
    """Return the pipe of some lanes at once; inputs named in `shared` are one for all lanes.

    Constants of more than `small` words go to block memory.
    """
    latency = lane.code.clock + 1
    table, memories = constants(name, lane.fields, lanes, channels, small)
    text = "\n".join((_lane(name, lane), _frame(name, lane, lanes, table, shared, latency)))
    return Pipe(name, latency, text, memories, lanes * sum(" * " in wire for wire in lane.text.wires))


def _lane(name: str, lane: Lane) -> str:
    takes = [*lane.inputs, *(Signal(field.name, field.bits, 0) for field in lane.fields)]
    ports = [port("input", one.text, one.bits, one.signed) for one in takes]
    parts = join(lane.text, Part((f"assign code = {lane.code.text};",)))
    return module(lane.title, f"{name}_lane", (*ports, port("output", "code", lane.code.bits)), parts)


def _frame(name: str, lane: Lane, lanes: int, table: Part, shared: tuple[str, ...], latency: int) -> str:
    ports = ["input wire rst", "input wire in_valid"]
    parts = []
    for one in lane.inputs:
        width = one.bits if one.name in shared else lanes * one.bits
        ports.append(port("input", f"in_{one.name}", width))
        parts.append(register(Signal(one.name, width, 1), f"in_{one.name}"))
    parts.append(table)
    parts += [_instance(name, lane, index, shared) for index in range(lanes)]
    parts.append(valid(latency))
    ports += ["output wire out_valid", port("output", "out_data", lanes * lane.code.bits)]
    return module(f"{lane.title}: {lanes} at once.", name, tuple(ports), join(*parts))


def _instance(name: str, lane: Lane, index: int, shared: tuple[str, ...]) -> Part:
    pins = []
    for one in (*lane.inputs, *(Signal(field.name, field.bits, 0) for field in lane.fields)):
        part = "" if one.name in shared else f"[{index * one.bits} +: {one.bits}]"
        pins.append(f".{one.text}({one.name}_1{part})")
    out = f"out_data[{index * lane.code.bits} +: {lane.code.bits}]"
    return Part((f"{name}_lane lane_{index} (.clk(clk), {', '.join(pins)}, .code({out}));",))


def valid(latency: int) -> Part:
    """Return the valid bits: a beat of `in_valid` comes out `latency` clocks later."""
    kept = f"{{valid[{latency - 2}:0], in_valid}}" if latency > 1 else "in_valid"
    wires = (f"reg [{latency - 1}:0] valid;", f"assign out_valid = valid[{latency - 1}];")
    return Part(wires, (f"valid <= rst ? {latency}'d0 : {kept};",))


def start(acc: Signal, bits: int) -> tuple[Signal, Part]:
    """Return the sum of an accumulator and the field `start`, modulo 2^bits, one clock later."""
    total = Signal("value", bits, acc.clock + 1, True)
    return total, register(total, f"{acc.part(0, bits)} + {Signal('start', bits, 0).text}")
