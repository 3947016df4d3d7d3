"""The streams out of a core as its driver sees them."""

from __future__ import annotations

from export.rtl.stream.build import Core
from export.rtl.stream.plan import Design
from export.rtl.stream.status import IDENTITY, registers
from export.rtl.stream.streams import Stream, streams
from export.rtl.stream.text import printable
from export.rtl.vendor import Given, Registers, stream_type


def given_streams(plan: Design) -> tuple[Given, ...]:
    """Return the streams out of a core."""
    return tuple(_given(plan, stream) for stream in streams(plan))


def _given(plan: Design, stream: Stream) -> Given:
    tensor = printable(stream.tensor).replace('"', "'")
    if stream.labels:
        title = f"labels [N], the place of the first greatest code of '{tensor}'"
        kind = f"<u{stream.lane_bits // 8}"
        return Given(stream.port, title, (), (), stream.bits, kind, kind)
    fmt, shape = plan.program.quant(stream.tensor).format, plan.program.tensors[stream.tensor].shape
    title = f"'{tensor}' [N, {str(list(shape[1:]))[1:-1]}] in {fmt.name}"
    return Given(stream.port, title, shape[1:], image_axes(shape), stream.bits, stream_type(fmt), str(fmt.dtype))


def status_registers(core: Core) -> Registers | None:
    """Return the status registers of a core; None where it has none."""
    if not core.plan.status:
        return None
    places = {register.name: register.offset for register in registers(core.plan)}
    return Registers(places, IDENTITY, int(core.digest(), 16))


def image_axes(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the order of a frame's axes in which it streams: rows, columns, channels."""
    axes = len(shape) - 1
    return (*range(1, axes), 0)
