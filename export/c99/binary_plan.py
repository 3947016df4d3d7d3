"""What a binary network needs as C: layers whose sign alone is used as thresholds, and where every buffer lies."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from export.c99.arena import Buffer, Plan, busiest_bytes, plan
from quant.binary import output_size, signs, store
from quant.binary_net import Affine, BinaryLayer, BinaryNetwork, Threshold, thresholds

#: Thresholds are found by trying every sum; layers of more terms keep their affine finish, which gives the same signs.
FOLDED_TERMS = 1 << 15
#: Weights of four outputs take turns, and vectors take eight outputs at a time.
LANES, PADDED = 4, 8


@dataclass(frozen=True, eq=False)
class Stage:
    """One binary layer with the sizes of its input and output, [channels, rows, columns].

    `bits` and `values` are what later layers use of its output: its signs, its float values, or both.
    """

    layer: BinaryLayer
    given: tuple[int, int, int]
    made: tuple[int, int, int]
    bits: bool
    values: bool

    @property
    def words(self) -> int:
        """Words of 32 bits that the patch below a window takes; every tap begins at a byte."""
        _, channels, rows, columns = self.layer.weight.shape
        return -(-(rows * columns * pixel_bytes(channels)) // 4)


@dataclass(frozen=True, eq=False)
class Layout:
    """The stages of a network, what is used of the stem's output, and the memory.

    Buffers are called `bitsN`, `valuesN` (0 is the stem's output, N + 1 that of stage N) and `patch`, `sums`, `work`.
    `names` maps them to the buffer they share, where values are computed in place.
    """

    stem: tuple[int, int, int]
    stages: tuple[Stage, ...]
    names: dict[str, str]
    memory: Plan
    busiest_bytes: int


def pixel_bytes(channels: int) -> int:
    """Return the bytes of a pixel's bits."""
    return -(-channels // 8)


def folded(network: BinaryNetwork) -> BinaryNetwork:
    """Return the network with thresholds instead of affine finishes of which only the sign is used: the same function.

    Channels with a negative gain get negated weights.
    """
    following = (*(layer.skip for layer in network.layers[1:]), True)
    layers = zip(network.layers, following, strict=True)
    return replace(network, layers=tuple(_folded(layer, adds or layer.skip) for layer, adds in layers))


def _folded(layer: BinaryLayer, needs_values: bool) -> BinaryLayer:
    finish, terms = layer.finish, layer.weight.terms
    if needs_values or isinstance(finish, Threshold) or terms > FOLDED_TERMS:
        return layer
    least, flip = thresholds(finish.gain, finish.offset, terms)
    values = signs(layer.weight)
    turned = store(np.where(flip[:, None, None, None], -values, values))
    return replace(layer, weight=turned, finish=Threshold(least))


def lay_out(network: BinaryNetwork) -> Layout:
    """Return the stages and buffers of a network that `folded` returned."""
    weight, stem = network.stem.weight, network.stem
    size = output_size(network.shape[1:], (weight.shape[2], weight.shape[3]), stem.strides, stem.pads)
    given = first = (len(weight), *size)
    stages = []
    for index, layer in enumerate(network.layers):
        out, _, rows, columns = layer.weight.shape
        size = output_size((given[1], given[2]), (rows, columns), layer.strides, layer.pads)
        made, last = (out, *size), index == len(network.layers) - 1
        values = isinstance(layer.finish, Affine) and (last or network.layers[index + 1].skip)
        stages.append(Stage(layer, given, made, not last, values))
        given = made
    names = _shared(first, tuple(stages))
    buffers = _buffers(first, tuple(stages), names)
    return Layout(first, tuple(stages), names, plan(buffers), busiest_bytes(buffers))


def stem_uses(stages: tuple[Stage, ...]) -> tuple[bool, bool]:
    """Return whether the signs and the values of the stem's output are used."""
    return bool(stages), not stages or stages[0].layer.skip


def _shared(stem: tuple[int, int, int], stages: tuple[Stage, ...]) -> dict[str, str]:
    names = {"values0": "values0"}
    for index, stage in enumerate(stages):
        mine = f"values{index + 1}"
        names[mine] = names[f"values{index}"] if stage.layer.skip and stage.values and _in_place(stage) else mine
    return names


def _in_place(stage: Stage) -> bool:
    """Whether no output pixel reaches into inputs of the shortcut that are read after it."""
    (channels, _, columns), (out, out_rows, out_columns) = stage.given, stage.made
    row_stride, column_stride = stage.layer.strides
    ends = [(row, column) for row in (0, out_rows - 1) for column in (0, out_columns - 1)]
    return all(
        (row * out_columns + column + 1) * out <= (row * row_stride * columns + (column + 1) * column_stride) * channels
        for row, column in ends
    )


def _buffers(stem: tuple[int, int, int], stages: tuple[Stage, ...], names: dict[str, str]) -> tuple[Buffer, ...]:
    """Return all buffers; step 0 is the stem, step N + 1 stage N, the last one the head."""
    bits, values = stem_uses(stages)
    uses = [(stem, bits, values), *((stage.made, stage.bits, stage.values) for stage in stages)]
    found: dict[str, Buffer] = {}
    for index, ((channels, rows, columns), has_bits, has_values) in enumerate(uses):
        if has_bits:
            name = f"bits{index}"
            found[name] = Buffer(name, rows * columns * pixel_bytes(channels), index, index + 1)
        if has_values:
            _add(found, Buffer(names[f"values{index}"], rows * columns * channels * 4, index, index + 1))
    last = len(stages) + 1
    work = max(padded(stem[0]), *(padded(c) for stage in stages for c in (stage.given[0], stage.made[0])), 1)
    found["work"] = Buffer("work", 4 * work, 0, last)
    if stages:
        found["patch"] = Buffer("patch", 4 * max(stage.words for stage in stages), 1, last - 1)
        found["sums"] = Buffer("sums", 4 * max(padded(stage.made[0]) for stage in stages), 1, last - 1)
    return tuple(found.values())


def _add(found: dict[str, Buffer], buffer: Buffer) -> None:
    """Add a buffer, or lengthen the life of the one that it shares."""
    old = found.get(buffer.name, buffer)
    size_bytes = max(old.size_bytes, buffer.size_bytes)
    found[buffer.name] = Buffer(buffer.name, size_bytes, min(old.first, buffer.first), max(old.last, buffer.last))


def padded(channels: int) -> int:
    """Return the outputs that have room: whole vectors."""
    return -(-channels // PADDED) * PADDED
