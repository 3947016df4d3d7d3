"""The cut points of any graph with what each would send, compute and hold in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from edge.errors import EdgeError
from edge.link.packing import packed_bytes
from edge.link.requantise import link_formats
from edge.link.wire import CHECKSUM, HEADER
from edge.split import cut, cut_points
from quant.formats import Format
from quant.graph import Graph
from quant.names import find

#: What a packet has beside its payload (docs/wire.md).
PACKET_BYTES = HEADER.size + CHECKSUM.size
FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True)
class Point:
    """One cut point.

    Attributes:
        tensor, shape, own: the tensor, its shape with the batch, its own number format (float32 in a float graph).
        macs_before, macs_after: multiply-accumulates per inference of both sides.
        wire_bytes: (format of the link, bytes of a packet, header and checksum included) for each format asked for.
        head_peak_bytes, tail_peak_bytes: most bytes of activations that live at once on each side; codes of up to 8
            bits take a byte, and no step writes over its input (an exporter may do better).
    """

    tensor: str
    shape: tuple[int, ...]
    own: str
    macs_before: int
    macs_after: int
    wire_bytes: tuple[tuple[str, int], ...]
    head_peak_bytes: int
    tail_peak_bytes: int

    def record(self) -> dict[str, object]:
        """Return what --json prints."""
        return {**asdict(self), "shape": list(self.shape), "wire_bytes": dict(self.wire_bytes)}


def points(graph: Graph, formats: Sequence[Format]) -> tuple[Point, ...]:
    """Return every cut point of a float or quantised graph in execution order.

    Args:
        graph: any graph.
        formats: of the link.

    Raises:
        EdgeError: the graph has none.
    """
    found = cut_points(graph)
    if not found:
        raise EdgeError(
            f"graph '{graph.name}' has no cut point: no single tensor between its input and its output that every path "
            "goes through. Give it a bottleneck, or run it whole."
        )
    made = []
    for place in found:
        head, tail = cut(graph, place.tensor)
        count = int(np.prod(place.shape, dtype=np.int64))
        sent = tuple((fmt.name, packed_bytes(fmt, count) + PACKET_BYTES) for fmt in formats)
        made.append(
            Point(
                place.tensor,
                place.shape,
                place.format,
                place.macs_before,
                place.macs_after,
                sent,
                peak_bytes(head),
                peak_bytes(tail),
            )
        )
    return tuple(made)


def peak_bytes(graph: Graph) -> int:
    """Return the most bytes of activations that live at once, input and output included, in execution order."""
    order = graph.activations()
    last = {name: index for index, node in enumerate(graph.nodes) for name in node.inputs if name in order}
    last[graph.output] = len(graph.nodes)
    peak = 0
    for index, node in enumerate(graph.nodes):
        made = order[: index + 2]
        peak = max(peak, sum(_bytes(graph, n) for n in made if last.get(n, -1) >= index or n == node.output))
    return peak


def _bytes(graph: Graph, name: str) -> int:
    tensor = graph.tensors[name]
    each = FLOAT_BYTES if tensor.quant is None else tensor.quant.format.dtype.itemsize
    return each * int(np.prod(tensor.shape, dtype=np.int64))


def parse_link_formats(text: str) -> tuple[Format, ...]:
    """Read `int8,int4,e3m2`.

    Raises:
        EdgeError: an unknown name (with the nearest one), one twice, or none.
    """
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    if not names or len(set(names)) < len(names):
        raise EdgeError(f"formats of a link are names between commas, each once, such as int8,int4,e3m2; not '{text}'.")
    return tuple(find(name, link_formats(), "format of a link", EdgeError) for name in names)
