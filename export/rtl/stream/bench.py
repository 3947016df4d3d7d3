"""The benches of a streaming core (Verilator, Icarus, cocotb) and their test vectors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.rtl.bench import NOTHING_MORE, bench_text
from export.rtl.decode import stream_bits
from export.rtl.stream.plan import Design
from export.rtl.stream.schedule import bottleneck
from export.rtl.stream.status import IDENTITY, status_inputs
from export.rtl.stream.streams import Stream, expected_words, stream_codes, streams
from export.rtl.stream.text import filled
from quant.formats import Array

_PER_LINE = 24


def bench_cpp(name: str, plan: Design, digest: str = "") -> str:
    """Return the C++ bench; `digest` is what the status registers, where there are any, must say."""
    found = streams(plan)
    values = {
        "NAME": name,
        "LANES": plan.input_lanes,
        "LANE_BITS": _input_bits(plan),
        "CYCLES": bottleneck(plan),
        "STREAMS": len(found),
        "ANSWERS": "true",
        "MOST_LANES": max(stream.lanes for stream in found),
        "TABLE": "\n".join(
            f'    {{"{stream.port}", {stream.lanes}, {stream.lane_bits}, {stream.beats}, {_array_name(index)}}},'
            for index, stream in enumerate(found)
        ),
        "READY": "\n".join(f"    top_->{stream.port}_tready = ready[{i}];" for i, stream in enumerate(found)),
        "SEE": "\n".join(
            f"    see(seen_[{i}], kStreams[{i}], top_->{stream.port}_tvalid, top_->{stream.port}_tlast, "
            f"top_->{stream.port}_tuser, top_->{stream.port}_tdata);"
            for i, stream in enumerate(found)
        ),
    }
    if plan.status:
        values["READY"] = f"    ready_ = ready;\n{values['READY']}"
    values |= _status_bench(plan, digest)
    return bench_text(values)


def _status_bench(plan: Design, digest: str) -> dict[str, str]:
    """Return what the bench has to do about status registers; nothing where there are none."""
    if not plan.status:
        return NOTHING_MORE
    return {
        "MEMBERS": filled("status_bench.cpp", {"IDENTITY": f"{IDENTITY:#010x}", "DIGEST": f"0x{digest}"}),
        "DRIVE": "\n    drive_registers();",
        "WATCH": "\n    watch_registers();",
        "CHECK": "\n    if (result.error.empty()) result.error = check_registers();",
    }


def _input_bits(plan: Design) -> int:
    return stream_bits(plan.program.quant(plan.program.input).format)


def makefile(name: str) -> str:
    """Return the Makefile."""
    return filled("stream.mk", {"NAME": name})


def hdl_benches(name: str, plan: Design, latency: int, inputs: Array, outputs: Array) -> dict[str, str]:
    """Return the benches for Icarus and for cocotb, and their vectors as hexadecimal words, by file name."""
    program, found = plan.program, streams(plan)
    files = [_hex_name(name, index) for index in range(len(found))]
    values = {
        "NAME": name,
        "FRAMES": len(inputs),
        "IN_WIDTH": plan.input_lanes * _input_bits(plan),
        "IN_BEATS": plan.codes(program.input) // plan.input_lanes,
        "STREAMS": len(found),
        "PATIENCE": 4 * latency + 1000,
        "PORTS": ", ".join(f'("{s.port}", {s.beats}, "{file}")' for s, file in zip(found, files, strict=True)),
    }
    values |= {
        key: "\n".join(template(name, index, stream) for index, stream in enumerate(found))
        for key, template in {"WIRES": _wires, "START": _start, "CHECK": _check}.items()
    }
    idle = [f"      .{port}({bits}'d0)" for port, bits in status_inputs(plan).items()]
    values["CONNECTIONS"] = ",\n".join([*(_connection(stream) for stream in found), *idle])
    values["IDLE"] = ", ".join(f'"{port}"' for port in status_inputs(plan))
    texts = {key: str(value) for key, value in values.items()}
    taken = stream_codes(plan, program.input, inputs).reshape(-1, plan.input_lanes)
    given = [
        _hex(words.reshape(-1, stream.lanes), stream.lane_bits)
        for stream, words in zip(found, expected_words(plan, inputs, outputs), strict=True)
    ]
    return {
        f"{name}_icarus_tb.v": filled("icarus_tb.v", texts),
        f"{name}_cocotb.py": filled("cocotb_bench.py.in", texts),
        f"{name}_in.hex": _hex(taken, _input_bits(plan)),
        **dict(zip(files, given, strict=True)),
    }


def _hex_name(name: str, index: int) -> str:
    return f"{name}_out{f'_{index}' if index else ''}.hex"


def _wires(name: str, index: int, stream: Stream) -> str:
    return (
        f"  localparam BEATS_{index} = {stream.beats};\n"
        f"  wire {stream.port}_tvalid, {stream.port}_tlast, {stream.port}_tuser;\n"
        f"  wire [{stream.bits - 1}:0] {stream.port}_tdata;\n"
        f"  reg [{stream.bits - 1}:0] words_{index}[0:FRAMES*BEATS_{index}-1], held_data_{index};"
    )


def _start(name: str, index: int, stream: Stream) -> str:
    return f'    $readmemh("{_hex_name(name, index)}", words_{index});'


def _check(name: str, index: int, stream: Stream) -> str:
    values = {"NAME": name, "K": str(index), "PORT": stream.port, "WHICH": f"{stream.port}: "}
    return filled("icarus_check.v", values).rstrip("\n")


def _connection(stream: Stream) -> str:
    index = stream.port.removeprefix("m_axis").removeprefix("_") or "0"
    wires = ", ".join(f".{stream.port}_{wire}({stream.port}_{wire})" for wire in ("tdata", "tvalid", "tlast", "tuser"))
    return f"      {wires},\n      .{stream.port}_tready(ready[{index}])"


def _hex(words: npt.NDArray[np.uint16], bits: int) -> str:
    """Return rows of lanes as one number each, the first lane in the low bits."""
    digits = bits // 4
    return "".join("".join(f"{lane:0{digits}x}" for lane in reversed(row)) + "\n" for row in words.tolist())


def vectors(name: str, plan: Design, inputs: Array, outputs: Array) -> str:
    """Return the header with the test vectors, [N, ...] codes each."""
    lines = [
        f"// Test vectors of {name}: codes as the streams carry them, frame after frame.",
        "#pragma once",
        "#include <cstddef>",
        "#include <cstdint>",
        f"constexpr size_t kVectors = {len(inputs)};",
        f"constexpr size_t kIn = {plan.codes(plan.program.input)};",
        _array("kInputs", stream_codes(plan, plan.program.input, inputs)),
        *(_array(_array_name(i), words) for i, words in enumerate(expected_words(plan, inputs, outputs))),
    ]
    return "\n".join(lines) + "\n"


def _array_name(index: int) -> str:
    return f"kOutputs{index or ''}"


def _array(name: str, data: npt.NDArray[np.uint16]) -> str:
    rows = [", ".join(map(str, data[start : start + _PER_LINE])) for start in range(0, len(data), _PER_LINE)]
    return f"const uint16_t {name}[] = {{\n    " + ",\n    ".join(rows) + "};"
