"""Codes on their way to and from generated C: layout NHWC, raw bytes in, hex lines out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from devices.errors import DeviceError
from quant.formats import Array, Format
from quant.graph import Graph
from quant.program import lower


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the runner: `output` and `stack` of image `index`, `tensor` and `step` of step `index`."""

    kind: str
    index: int
    data: bytes


def to_device(graph: Graph, codes: Array) -> Array:
    """Return input codes [N, ...] in the dtype of their format and in NHWC order, contiguous.

    Raises:
        DeviceError: the shape is not the graph's.
    """
    shape = graph.shape(graph.input)
    if codes.ndim != len(shape) or codes.shape[1:] != shape[1:]:
        raise DeviceError(f"input codes have shape {codes.shape}; the part takes [N, {str(shape[1:])[1:-1]}].")
    moved = codes.transpose(0, 2, 3, 1) if codes.ndim == 4 else codes
    return np.ascontiguousarray(moved, dtype=_dtype(graph.quant(graph.input).format))


def _dtype(fmt: Format) -> np.dtype[np.generic]:
    return fmt.dtype.newbyteorder("<")


def from_device(graph: Graph, tensor: str, images: Sequence[bytes]) -> Array:
    """Return the codes of a tensor in graph layout, [N, ...], from the bytes of each image.

    Raises:
        DeviceError: an image has too few or too many bytes.
    """
    fmt, shape = graph.quant(tensor).format, graph.shape(tensor)[1:]
    stored = (*shape[1:], shape[0]) if len(shape) == 3 else shape
    expected = int(np.prod(stored)) * fmt.dtype.itemsize
    wrong = next((len(data) for data in images if len(data) != expected), None)
    if wrong is not None:
        raise DeviceError(f"tensor '{tensor}' came back with {wrong} bytes; it has {expected}.")
    flat = np.frombuffer(b"".join(images), dtype=_dtype(fmt)).astype(fmt.dtype)
    values = flat.reshape(len(images), *stored)
    return np.ascontiguousarray(values.transpose(0, 3, 1, 2)) if len(shape) == 3 else values


def parse(text: bytes) -> tuple[Line, ...]:
    """Parse the runner's lines.

    Raises:
        DeviceError: a line is damaged.
    """
    lines = []
    for raw in text.decode("ascii", errors="replace").splitlines():
        words = raw.split()
        if len(words) != 3 or words[0] not in ("output", "stack", "step", "tensor") or not words[1].isdigit():
            raise DeviceError(f"the emulated program wrote a line that is no result: '{raw[:60]}'.")
        try:
            lines.append(Line(words[0], int(words[1]), bytes.fromhex(words[2])))
        except ValueError as error:
            raise DeviceError(f"the emulated program wrote a damaged line: '{raw[:60]}'.") from error
    return tuple(lines)


def outputs(graph: Graph, lines: Sequence[Line], count: int) -> Array:
    """Return the output codes of `count` images.

    Raises:
        DeviceError: an image is missing or out of order.
    """
    found = [line for line in lines if line.kind == "output"]
    if [line.index for line in found] != list(range(count)):
        raise DeviceError(f"the emulated program gave {len(found)} outputs for {count} images.")
    return from_device(graph, graph.output, [line.data for line in found])


def stack_bytes(lines: Sequence[Line]) -> int:
    """Return the deepest stack of the images that ran, in bytes.

    Raises:
        DeviceError: no image told, or one used all the stack that was watched.
    """
    found = [int.from_bytes(line.data, "little", signed=True) for line in lines if line.kind == "stack"]
    if not found or min(found) < 0:
        what = "the stack grew over all of the memory that was watched" if found else "no image told its stack"
        raise DeviceError(f"stack use is not known: {what}.")
    return max(found)


def tapped(graph: Graph, lines: Sequence[Line], count: int) -> dict[str, Array]:
    """Return the codes of every step's output for `count` images, by tensor name.

    A tensor may come in pieces, one line each.
    """
    names = [step.y for step in lower(graph).steps]
    images: dict[str, list[bytes]] = {name: [] for name in names}
    for line in lines:
        if line.kind == "tensor":
            if line.index >= len(names):
                raise DeviceError(f"the emulated program showed tensor {line.index} of {len(names)}.")
            images[names[line.index]].append(line.data)
    short = next((name for name, data in images.items() if len(data) % count), None)
    if short is not None:
        raise DeviceError(f"the emulated program showed '{short}' {len(images[short])} times for {count} images.")
    return {name: from_device(graph, name, _joined(data, count)) for name, data in images.items() if data}


def _joined(pieces: Sequence[bytes], count: int) -> list[bytes]:
    """Join the pieces of each of `count` images, which have equally many."""
    each = len(pieces) // count
    return [b"".join(pieces[start : start + each]) for start in range(0, len(pieces), each)]
