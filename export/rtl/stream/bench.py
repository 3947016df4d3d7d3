"""The Verilator bench of a streaming core, its test vectors, and codes as its streams carry them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from export.rtl.bench import beats, codes_of_beats
from export.rtl.decode import stream_bits
from export.rtl.stream.plan import Design
from export.rtl.stream.schedule import bottleneck
from export.rtl.stream.text import filled
from quant.formats import Array

_PER_LINE = 24


def bench_cpp(name: str, plan: Design) -> str:
    """Return the C++ bench."""
    bits = stream_bits(plan.program.quant(plan.program.input).format)
    values = {"NAME": name, "LANES": plan.input_lanes, "LANE_BITS": bits, "CYCLES": bottleneck(plan)}
    return filled("stream_bench.cpp", {key: str(value) for key, value in values.items()})


def makefile(name: str) -> str:
    """Return the Makefile."""
    return filled("stream.mk", {"NAME": name})


def hdl_benches(name: str, plan: Design, latency: int, inputs: Array, outputs: Array) -> dict[str, str]:
    """Return the benches for Icarus and for cocotb, and their vectors as hexadecimal words, by file name."""
    program = plan.program
    source, result = (program.quant(end).format for end in (program.input, program.output))
    values = {
        "NAME": name,
        "FRAMES": len(inputs),
        "IN_WIDTH": plan.input_lanes * stream_bits(source),
        "OUT_WIDTH": stream_bits(result),
        "IN_BEATS": plan.codes(program.input) // plan.input_lanes,
        "OUT_BEATS": plan.codes(program.output),
        "PATIENCE": 4 * latency + 1000,
    }
    texts = {key: str(value) for key, value in values.items()}
    taken = stream_codes(plan, program.input, inputs).reshape(-1, plan.input_lanes)
    given = stream_codes(plan, program.output, outputs).reshape(-1, 1)
    return {
        f"{name}_icarus_tb.v": filled("icarus_tb.v", texts),
        f"{name}_cocotb.py": filled("cocotb_bench.py.in", texts),
        f"{name}_in.hex": _hex(taken, stream_bits(source)),
        f"{name}_out.hex": _hex(given, stream_bits(result)),
    }


def _hex(words: npt.NDArray[np.uint16], bits: int) -> str:
    """Return rows of lanes as one number each, the first lane in the low bits."""
    digits = bits // 4
    return "".join("".join(f"{lane:0{digits}x}" for lane in reversed(row)) + "\n" for row in words.tolist())


def stream_codes(plan: Design, tensor: str, codes: Array) -> npt.NDArray[np.uint16]:
    """Return codes [N, ...] as 16-bit words in the order of a stream, frame after frame."""
    rows = codes.reshape(len(codes), -1)[:, plan.orders[tensor]]
    return beats(plan.program.quant(tensor).format, rows)


def tensor_codes(plan: Design, tensor: str, words: npt.NDArray[np.uint16]) -> Array:
    """Return 16-bit words in the order of a stream as codes [N, ...] in C order."""
    flat = codes_of_beats(plan.program.quant(tensor).format, words).reshape(-1, plan.codes(tensor))
    codes = np.empty_like(flat)
    codes[:, plan.orders[tensor]] = flat
    return codes.reshape(len(flat), *plan.program.tensors[tensor].shape[1:])


def vectors(name: str, plan: Design, inputs: Array, outputs: Array) -> str:
    """Return the header with the test vectors, [N, ...] codes each."""
    program = plan.program
    lines = [
        f"// Test vectors of {name}: codes as the streams carry them, frame after frame.",
        "#pragma once",
        "#include <cstddef>",
        "#include <cstdint>",
        f"constexpr size_t kVectors = {len(inputs)};",
        f"constexpr size_t kIn = {plan.codes(program.input)};",
        f"constexpr size_t kOut = {plan.codes(program.output)};",
        _array("kInputs", stream_codes(plan, program.input, inputs)),
        _array("kOutputs", stream_codes(plan, program.output, outputs)),
    ]
    return "\n".join(lines) + "\n"


def _array(name: str, data: npt.NDArray[np.uint16]) -> str:
    rows = [", ".join(map(str, data[start : start + _PER_LINE])) for start in range(0, len(data), _PER_LINE)]
    return f"const uint16_t {name}[] = {{\n    " + ",\n    ".join(rows) + "};"
