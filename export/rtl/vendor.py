"""Files for makers' tools beside a core: Tcl and constraints for Vivado and Quartus, a PYNQ system and its driver, LPF.

None of them is executed by this project, and each says so in its first lines.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from math import prod

from export.errors import ExportError
from export.rtl.decode import stream_bits
from quant.formats import Format

_WORD = re.compile(r"@([a-z_]+)@")

#: Boards with an ECP5: the file's name, the board's, nextpnr's option, and where the 25 MHz oscillator is connected.
_ECP5_BOARDS = (
    ("ulx3s", "the ULX3S with 85k look-up tables (25F: --25k)", "--85k", "G2"),
    ("colorlight_i5", "the Colorlight i5", "--25k", "P3"),
)
#: Widths in bits that an AXI DMA gives its streams.
_DMA_BITS = (8, 16, 32, 64, 128, 256, 512, 1024)
#: How the driver is used, in its own text.
_EXAMPLE = "labels = Core().run(codes).reshape(len(codes), -1).argmax(axis=1)"
_SEVERAL = "first, *others = Core().run(codes)"
#: Tcl that gives the registers of a core an address.
_STATUS_LITE = """
apply_bd_automation -rule xilinx.com:bd_rule:axi4 \\
    -config {Master /ps/M_AXI_GP0 Slave /core/s_axil Clk Auto} [get_bd_intf_pins core/s_axil]"""
#: Tcl for a DMA that only receives, and for its ports.
_MORE_DMA = """
set {dma} [create_bd_cell -type ip -vlnv xilinx.com:ip:axi_dma {dma}]
set_property -dict {{CONFIG.c_include_sg 0 CONFIG.c_sg_length_width 26 CONFIG.c_include_mm2s 0}} ${dma}"""
_MORE_LITE = """
apply_bd_automation -rule xilinx.com:bd_rule:axi4 \\
    -config {{Master /ps/M_AXI_GP0 Slave /{dma}/S_AXI_LITE Clk Auto}} [get_bd_intf_pins {dma}/S_AXI_LITE]
apply_bd_automation -rule xilinx.com:bd_rule:axi4 \\
    -config {{Master /{dma}/M_AXI_S2MM Slave /ps/S_AXI_HP0 Clk Auto}} [get_bd_intf_pins {dma}/M_AXI_S2MM]"""


@dataclass(frozen=True, slots=True)
class Given:
    """A stream out of a core, as a driver reads it.

    Attributes:
        port: the stream's name.
        title: what it carries, for a person.
        shape: of one frame in graph layout; () for a label.
        axes: the order of its axes in which a frame streams.
        beat_bits: bits of a beat.
        kind: numpy's name of one code in the stream, whole bytes, little endian.
        codes: numpy's name of a code in the bundle's test vectors.
    """

    port: str
    title: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    beat_bits: int
    kind: str
    codes: str


@dataclass(frozen=True, slots=True)
class Registers:
    """Status registers behind the port `s_axil`: addresses in bytes by name, and what `identity` and `digest` read."""

    places: Mapping[str, int]
    identity: int
    digest: int


def vendor_files(
    name: str,
    in_format: Format,
    out_format: Format,
    in_shape: Sequence[int],
    out_shape: Sequence[int],
    *,
    in_lanes: int = 1,
    out_lanes: int = 1,
    in_axes: Sequence[int] | None = None,
    out_axes: Sequence[int] | None = None,
    given: Sequence[Given] = (),
    status: Registers | None = None,
) -> dict[str, str]:
    """Return the files by name.

    Args:
        name: of the part and of the top module, whose ports are `clk`, `rst`, `s_axis_*` and `m_axis_*`.
        in_format: of the codes that go in: integers sign-extended to whole bytes, minifloats as bits.
        out_format: of the codes that come out.
        in_shape: of one frame of input in graph layout, without the batch.
        out_shape: of one frame of output.
        in_lanes: codes in one beat, the first in the low bits.
        out_lanes: the same of the output.
        in_axes: the order of axes in which a frame streams; None: as in the graph.
        out_axes: the same of the output.
        given: the streams out of the core where they are not that of the output alone, called `m_axis`.
        status: the registers of a core that has some.

    Raises:
        ExportError: a shape does not divide into beats, or axes are no order of a shape's axes.
    """
    words: dict[str, object] = {"name": name, "sources": f"{name}.v", "memories": f"{name}_*.mem"}
    words |= _stream("in", in_format, in_shape, in_lanes, in_axes)
    outputs = tuple(given) or (_output(out_format, out_shape, out_lanes, out_axes),)
    in_bits = in_lanes * stream_bits(in_format)
    words |= _outputs(outputs)
    words |= _status(status)
    words |= {"in_dma_bits": _dma_bits(in_bits), "converters": _converters(in_bits, outputs)}
    plain = {
        f"{name}_vivado.tcl": "vivado.tcl",
        f"{name}.xdc": "xdc",
        f"{name}_pynq.tcl": "pynq.tcl",
        f"{name}_pynq.py": "pynq.py",
        f"{name}_quartus.tcl": "quartus.tcl",
        f"{name}.sdc": "sdc",
    }
    boards = {
        f"{name}_{file}.lpf": _filled(
            "lpf", {"name": name, "file": file, "board": board, "option": option, "site": site}
        )
        for file, board, option, site in _ECP5_BOARDS
    }
    return {file: _filled(template, words) for file, template in plain.items()} | boards


def _stream(side: str, fmt: Format, shape: Sequence[int], lanes: int, axes: Sequence[int] | None) -> dict[str, object]:
    """Return the words of a template that describe one stream."""
    order = tuple(range(len(shape))) if axes is None else tuple(axes)
    if sorted(order) != list(range(len(shape))):
        raise ExportError(
            f"vendor files: {side}put axes {order} are no order of the {len(shape)} axes of {tuple(shape)}."
        )
    if prod(shape) % lanes:
        raise ExportError(f"vendor files: {prod(shape)} {side}put codes do not divide into beats of {lanes}.")
    return {
        f"{side}_format": fmt.name,
        f"{side}_shape": tuple(shape),
        f"{side}_dims": "".join(f", {size}" for size in shape),
        f"{side}_axes": order,
        f"{side}_type": stream_type(fmt),
        f"{side}_codes": str(fmt.dtype),
    }


def _output(fmt: Format, shape: Sequence[int], lanes: int, axes: Sequence[int] | None) -> Given:
    words = _stream("out", fmt, shape, lanes, axes)
    order = tuple(range(len(shape))) if axes is None else tuple(axes)
    title = f"output [N{words['out_dims']}] in {fmt.name}"
    bits = lanes * stream_bits(fmt)
    return Given("m_axis", title, tuple(shape), order, bits, str(words["out_type"]), str(words["out_codes"]))


def stream_type(fmt: Format) -> str:
    """Return numpy's name of a code in a stream: whole bytes, little endian, signed where its extension is."""
    signed = fmt.signed and not fmt.is_minifloat
    return f"{'<i' if signed else '<u'}{stream_bits(fmt) // 8}"


def _outputs(outputs: Sequence[Given]) -> dict[str, object]:
    """Return the words about the streams out of a core; each beyond the first has a DMA of its own."""
    several = len(outputs) > 1
    rows = (f"    ({given.shape}, {given.axes}, {given.kind!r}, {given.codes!r}),  # {given.port}" for given in outputs)
    example = "labels = Core().run(codes)" if not outputs[0].shape else _EXAMPLE
    titles = [f"{given.port}: {given.title}" for given in outputs] if several else [outputs[0].title]
    more = [f"dma_{index}" for index in range(1, len(outputs))]
    return {
        "out_titles": textwrap.fill("; ".join(titles), 116),
        "out_rows": "\n".join(rows),
        "example": _SEVERAL if several else example,
        "busses": ":".join(given.port for given in outputs),
        "more_dmas": "".join(_MORE_DMA.format(dma=dma) for dma in more),
        "more_lite": "".join(_MORE_LITE.format(dma=dma) for dma in more),
    }


def _status(status: Registers | None) -> dict[str, object]:
    """Return the words about status registers: none of them leaves a trace where there are none."""
    if status is None:
        return {"status_bus": "", "status_lite": "", "registers": "{}", "told": "None"}
    return {
        "status_bus": ":s_axil",
        "status_lite": _STATUS_LITE,
        "registers": str(dict(status.places)),
        "told": f"({status.identity:#010x}, {status.digest:#010x})",
    }


def _dma_bits(bits: int) -> int:
    """Return the width of the DMA's stream: that of the core's where a DMA can have it, else bytes."""
    return bits if bits in _DMA_BITS else _DMA_BITS[0]


def _converters(in_bits: int, outputs: Sequence[Given]) -> str:
    """Return the Tcl that connects DMAs and core, with width converters where a beat has no width that a DMA has."""
    lines = [_connection("in", "dma/M_AXIS_MM2S", "core/s_axis", in_bits)]
    for index, given in enumerate(outputs):
        suffix = f"_{index}" if index else ""
        lines.append(_connection(f"out{suffix}", f"core/{given.port}", f"dma{suffix}/S_AXIS_S2MM", given.beat_bits))
    return "\n".join(lines)


def _connection(side: str, source: str, target: str, bits: int) -> str:
    link = "connect_bd_intf_net [get_bd_intf_pins {}] [get_bd_intf_pins {}]"
    if bits in _DMA_BITS:
        return link.format(source, target)
    given, taken = (1, bits // 8) if side == "in" else (bits // 8, 1)
    return "\n".join(
        (
            f"set {side}_width [create_bd_cell -type ip -vlnv xilinx.com:ip:axis_dwidth_converter {side}_width]",
            f"set_property -dict {{CONFIG.S_TDATA_NUM_BYTES {given} CONFIG.M_TDATA_NUM_BYTES {taken}}} ${side}_width",
            link.format(source, f"{side}_width/S_AXIS"),
            link.format(f"{side}_width/M_AXIS", target),
        )
    )


def _filled(template: str, words: Mapping[str, object]) -> str:
    """Return the text of a template with every @word@ replaced; a word that nothing stands for is a KeyError."""
    folder = resources.files("export.rtl").joinpath("vendor_templates")
    text = folder.joinpath(f"{template}.in").read_text(encoding="utf-8")
    return _WORD.sub(lambda found: str(words[found[1]]), text)
