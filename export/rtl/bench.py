"""The Verilator bench of a core: C++ from the template of this package, test vectors, and a Makefile."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from export.rtl.cycles import cycles
from export.rtl.decode import stream_bits
from export.rtl.emit import MEMORIES, fill, template
from export.rtl.layout import Layout, tensor_words
from quant.formats import Array, Format

_PER_LINE = 24
#: Places in the bench where cores have something of their own.
NOTHING_MORE: dict[str, str] = {"MEMBERS": "", "DRIVE": "", "WATCH": "", "CHECK": ""}
_WATCH = """
#ifdef EDGEMILL_TAP
    write_tap();
#endif"""


def beats(fmt: Format, codes: Array) -> npt.NDArray[np.uint16]:
    """Return codes as the stream carries them: the low bits of sign-extended bytes."""
    mask = (1 << stream_bits(fmt)) - 1
    return (codes.astype(np.int64).reshape(-1) & mask).astype(np.uint16)


def codes_of_beats(fmt: Format, data: npt.NDArray[np.uint16]) -> Array:
    """Return beats, or words of the core's memory, as codes of `fmt.dtype`."""
    low = data.astype(np.int64) & ((1 << fmt.bits) - 1)
    if fmt.signed and not fmt.is_minifloat:
        low = np.where(low >> (fmt.bits - 1), low - (1 << fmt.bits), low)
    codes: Array = low.astype(fmt.dtype)
    return codes


def bench_text(values: Mapping[str, object]) -> str:
    """Return the C++ bench of any core with the @KEY@ of its template replaced."""
    return fill(template("bench.cpp"), {key: str(value) for key, value in values.items()})


def bench_cpp(name: str, layout: Layout) -> str:
    """Return the C++ bench of a sequential core; started with +tap it writes what the core writes to its memory."""
    program = layout.program
    taken, given = (stream_bits(program.quant(end).format) for end in (program.input, program.output))
    port, beats_out = "m_axis", tensor_words(layout, program.output)
    values: dict[str, object] = {
        "CYCLES": cycles(layout),
        "LANES": 1,
        "LANE_BITS": taken,
        "ANSWERS": "false",
        "STREAMS": 1,
        "MOST_LANES": 1,
        "TABLE": f'    {{"{port}", 1, {given}, {beats_out}, kOutputs}},',
        "READY": f"    top_->{port}_tready = ready[0];",
        "SEE": f"    see(seen_[0], kStreams[0], top_->{port}_tvalid, top_->{port}_tlast, false, top_->{port}_tdata);",
    }
    own = {"MEMBERS": template("tap_bench.cpp"), "WATCH": _WATCH, "NAME": name}
    return bench_text({**NOTHING_MORE, **values, **own})


def makefile(name: str) -> str:
    """Return the Makefile."""
    return fill(template("makefile.mk"), {"NAME": name, "FILES": " ".join(f"$(NAME)_{kind}.mem" for kind in MEMORIES)})


def vectors(name: str, layout: Layout, inputs: Array, outputs: Array) -> str:
    """Return the header with the test vectors, [N, ...] codes each."""
    program = layout.program
    lines = [
        f"// Test vectors of {name}: codes as the streams carry them, frame after frame.",
        "#pragma once",
        "#include <cstddef>",
        "#include <cstdint>",
        f"constexpr size_t kVectors = {len(inputs)};",
        f"constexpr size_t kIn = {tensor_words(layout, program.input)};",
        _array("kInputs", beats(program.quant(program.input).format, inputs)),
        _array("kOutputs", beats(program.quant(program.output).format, outputs)),
    ]
    return "\n".join(lines) + "\n"


def _array(name: str, data: npt.NDArray[np.uint16]) -> str:
    rows = [", ".join(map(str, data[start : start + _PER_LINE])) for start in range(0, len(data), _PER_LINE)]
    return f"const uint16_t {name}[] = {{\n    " + ",\n    ".join(rows) + "};"
