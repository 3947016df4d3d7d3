"""The Verilog of units without windows: elementwise steps, and rearranged frames."""

from __future__ import annotations

from export.errors import ExportError
from export.rtl.bounds import unsigned_bits
from export.rtl.stream.layer import SMALL_ROM, UnitFiles
from export.rtl.stream.pipe import Pipe
from export.rtl.stream.pipes.elementwise import elementwise as pipe_of
from export.rtl.stream.plan import Design
from export.rtl.stream.text import filled
from export.rtl.stream.units import Elementwise, Rearrange
from quant.steps import reads

#: Clocks from a step of a rearranged frame to its code.
REARRANGE_CLOCKS = 3


def elementwise(name: str, module: str, plan: Design, unit: Elementwise, fifo_bits: int) -> UnitFiles:
    """Return the Verilog of an elementwise unit, top module `module`, of the core `name`."""
    tensors = reads(unit.step)
    widths = [unit.lanes * plan.format_bits(x) for x in tensors]
    ports = ("in",) if len(tensors) == 1 else ("a", "b")
    pipe = _pipe(f"{module}_pipe", plan, unit)
    values = {
        "TITLE": f"{type(unit.step).__name__.removesuffix('Step')}: {unit.lanes} lanes, {unit.beats} beats a frame",
        "MODULE": module,
        "NAME": name,
        "PORTS": _ports(ports, widths),
        "FRONT": _front(unit, ports, widths),
        "INPUTS": _pipe_inputs(unit, ports),
        "OUT": str(unit.lanes * plan.format_bits(unit.step.y)),
        "FIFO": str(fifo_bits),
    }
    return UnitFiles(filled("element.v", values) + pipe.verilog, pipe.memories, pipe.latency)


def _ports(ports: tuple[str, ...], widths: list[int]) -> str:
    return "\n".join(
        f"    input wire {port}_valid,\n    output wire {port}_ready,\n    input wire [{width - 1}:0] {port}_data,"
        for port, width in zip(ports, widths, strict=True)
    )


def _front(unit: Elementwise, ports: tuple[str, ...], widths: list[int]) -> str:
    if unit.vector:
        pixels = unit.beats // unit.vector
        values = {"WIDTH": widths[1], "BEATS": unit.vector, "BITS": unsigned_bits(unit.vector - 1)}
        values |= {"LAST": unit.vector - 1, "PIXEL": unsigned_bits(pixels - 1), "PIXEL_LAST": pixels - 1}
        return filled("repeat.v", {key: str(value) for key, value in values.items()})
    valid = " && ".join(f"{port}_valid" for port in ports)
    # Readiness must not depend on the own beat: where a stream forks, that would close a loop through the fork.
    others = {port: "".join(f"{other}_valid && " for other in ports if other != port) for port in ports}
    return "\n".join(
        [f"  wire go = {valid} && room;", *(f"  assign {port}_ready = {others[port]}room;" for port in ports)]
    )


def _pipe_inputs(unit: Elementwise, ports: tuple[str, ...]) -> str:
    if len(ports) == 1:
        return ".in_data(in_data)"
    return f".in_a(a_data), .in_b({'b_word' if unit.vector else 'b_data'})"


def _pipe(module: str, plan: Design, unit: Elementwise) -> Pipe:
    formats = {x: plan.program.quant(x).format for x in (*reads(unit.step), unit.step.y)}
    return pipe_of(module, unit.step, formats, unit.lanes, tile=plan.device.wide_bits)


def rearrange(name: str, module: str, plan: Design, unit: Rearrange, fifo_bits: int) -> UnitFiles:
    """Return the Verilog of a unit that reorders whole frames, top module `module`, of the core `name`.

    Raises:
        ExportError: the frame has no code at all from an input.
    """
    if not unit.order:
        raise ExportError(f"fpga: step '{unit.step.name}' makes no codes.")
    bits = plan.format_bits(unit.step.y)
    ports = ("in",) if len(unit.sizes) == 1 else tuple(f"in{i}" for i in range(len(unit.sizes)))
    low = max(unsigned_bits(size - 1) for size in unit.sizes)
    index = low + unsigned_bits(len(unit.sizes))
    halves = [
        _half(port, number, size, bits) for number, (port, size) in enumerate(zip(ports, unit.sizes, strict=True))
    ]
    values = {
        "TITLE": f"Rearranged frame: {sum(unit.sizes)} codes in, {len(unit.order)} out",
        "MODULE": module,
        "NAME": name,
        "PORTS": _ports(ports, [bits] * len(ports)),
        "MEMORIES": "".join(halves).rstrip("\n"),
        "WHOLE": " && ".join(f"whole_{i}[side]" for i in range(len(ports))),
        "AT": str(unsigned_bits(len(unit.order) - 1)),
        "LAST": str(len(unit.order) - 1),
        "COUNT": str(len(unit.order)),
        "INDEX": str(index),
        "STYLE": "block" if len(unit.order) > SMALL_ROM else "logic",
        "READS": "\n".join(_read(number, size, bits) for number, size in enumerate(unit.sizes)),
        "SELECT": _select(unit, index, low, bits),
        "OUT": str(bits),
        "FIFO": str(fifo_bits),
    }
    memory = (f"{module}_order.mem", _order(unit, index, low))
    return UnitFiles(filled("rearrange.v", values), (memory,), REARRANGE_CLOCKS)


def _half(prefix: str, port: int, size: int, width: int) -> str:
    bits = unsigned_bits(size - 1)
    values = {"PREFIX": prefix, "PORT": port, "SIZE": size, "WIDTH": width, "DEPTH": 2 << bits, "BITS": bits}
    return filled("half.v", {key: str(value) for key, value in (values | {"LAST": size - 1}).items()})


def _read(port: int, size: int, width: int) -> str:
    bits = unsigned_bits(size - 1)
    return (
        f"  reg [{width - 1}:0] read_{port};\n"
        f"  always @(posedge clk) read_{port} <= memory_{port}[{{side_2, index[{bits - 1}:0]}}];"
    )


def _select(unit: Rearrange, index: int, low: int, bits: int) -> str:
    fill = f"{bits}'h{unit.step.fill & ((1 << bits) - 1):x}"
    text = "read_0"
    for port in range(1, len(unit.sizes)):
        text = f"index_3[{index - 1}:{low}] == {index - low}'d{port} ? read_{port} : {text}"
    return f"&index_3[{index - 1}:{low}] ? {fill} : {text}"


def _order(unit: Rearrange, index: int, low: int) -> str:
    """Return the memory of indices. The number of an input is never all ones: that is the fill."""
    starts = [sum(unit.sizes[:port]) for port in range(len(unit.sizes))]
    words = []
    for place in unit.order:
        port = max((p for p, start in enumerate(starts) if start <= place), default=-1)
        words.append((1 << index) - 1 if place < 0 else port << low | place - starts[port])
    return "".join(f"{word:0{-(-index // 4)}x}\n" for word in words)
