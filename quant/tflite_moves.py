"""Operators of a `.tflite` file that move values: reshapes, transposes, pads, slices and concatenations."""

from __future__ import annotations

import numpy as np

from quant import operators as ops
from quant.formats import Array
from quant.tflite_build import Build, Place, activation_quant, default_order, graph_order, graph_shape, refuse
from quant.tflite_read import FileOp
from quant.tflite_windows import fused, options

#: Types of constants that count axes and extents.
COUNTS = ("INT32", "INT64")


def reshape(build: Build, op: FileOp) -> None:
    """Import RESHAPE, SQUEEZE and EXPAND_DIMS; the output's shape in the file says what they do.

    A graph keeps channels first. Where a reshape keeps the channels apart, or there is only one channel or one
    pixel, the graph's reshape moves values as the file's does. A flattened image keeps its order in `Place.flat`.
    """
    place, found = build.read(op, 0), build.output(op)
    quant, x = activation_quant(found), build.tensors[place.name]
    before, after = build.tensor(op.inputs[0]).shape, found.shape
    order = default_order(len(after))
    if int(np.prod(before)) != int(np.prod(after)):
        raise refuse(op, f"it makes {list(after)} of {list(before)}, which have other numbers of values.")
    if quant != x.quant:
        raise refuse(op, f"its output, {found.what}, has another scale or zero point than its input.")
    flat = None
    if place.flat is not None and len(after) > 2:
        raise refuse(op, "it makes an image of a flattened one; put the layers between them in image form.")
    if not _same_order(place, x.shape, before, after):
        if len(after) == 2:
            flat = place.flat or (x.shape, place.order)
        elif _is_plain(x.shape, place.order):
            order = tuple(range(len(after)))
        else:
            raise refuse(op, f"it mixes channels and pixels ({list(before)} to {list(after)}), which is not imported.")
    shape = graph_shape(after, order)
    build.emit(op, ops.Reshape(shape=shape), (place.name,), shape, Place("", order, flat))


def _same_order(place: Place, graph: tuple[int, ...], before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether a reshape of the graph's tensor, channels first, moves values as the file's reshape does."""
    if place.flat is not None:
        return False
    kept = place.order == default_order(len(before)) and min(len(before), len(after)) > 2 and before[-1] == after[-1]
    return kept or (_is_plain(graph, place.order) and _is_plain(graph_shape(after, default_order(len(after))), None))


def _is_plain(shape: tuple[int, ...], order: tuple[int, ...] | None) -> bool:
    """Whether the file's order of values in memory is the graph's."""
    order = default_order(len(shape)) if order is None else order
    long = [axis for axis in order if shape[axis] > 1]
    return long == sorted(long)


def transpose(build: Build, op: FileOp) -> None:
    """Import TRANSPOSE: the graph keeps its tensor, the file's axes stand for others of it."""
    place, found = build.read(op, 0), build.output(op)
    turn = _counts(build, op, 1)
    if place.flat is not None or sorted(turn) != list(range(len(place.order))) or turn[0] != 0:
        raise refuse(op, f"it turns axes {turn}; the batch axis stays first, and every axis comes once.")
    order = tuple(place.order[axis] for axis in turn)
    if graph_shape(found.shape, order) != build.tensors[place.name].shape:
        raise refuse(op, f"its output, {found.what}, has another shape than its input in this order.")
    if activation_quant(found) != build.tensors[place.name].quant:
        raise refuse(op, f"its output, {found.what}, has another scale or zero point than its input.")
    build.alias(op, Place(place.name, order))


def pad(build: Build, op: FileOp) -> None:
    """Import PAD, which adds the code of zero; PADV2 with that code, or with the lowest before a MAX_POOL_2D."""
    place = _axes(build, op)
    amounts, shape = _table(build, op, 1), build.tensors[place.name].shape
    if amounts.shape != (len(shape), 2) or amounts.min(initial=0) < 0 or amounts[0].any():
        raise refuse(
            op, f"its pads are {amounts.tolist()}; allowed is one non-negative pair per axis, none on the batch."
        )
    before, after = (graph_order(tuple(int(n) for n in amounts[:, side]), place) for side in (0, 1))
    made = tuple(n + a + b for n, a, b in zip(shape, before, after, strict=True))
    if op.code == "PADV2" and not _pads_with_zero(build, op):
        _pad_before_pool(build, op, place, (before, after, made))
        return
    build.emit(op, ops.Pad(before=before, after=after), (place.name,), made, place)


def _pads_with_zero(build: Build, op: FileOp) -> bool:
    x = build.tensor(op.inputs[0])
    value = build.constant(op, 2, (x.dtype,))
    return value.size == 1 and int(value.ravel()[0]) == int(x.zero[0])


def _pad_before_pool(build: Build, op: FileOp, place: Place, amounts: tuple[tuple[int, ...], ...]) -> None:
    """Leave padding with the lowest code to the largest-value pools that read it.

    `amounts` are the pads before and after each axis of the graph, and the extents they make.
    """
    before, after, made = amounts
    found, x = build.output(op), build.tensor(op.inputs[0])
    value = build.constant(op, 2, (x.dtype,))
    lowest = value.size == 1 and int(value.ravel()[0]) == np.iinfo(value.dtype).min
    readers = [other for other in build.file.operators if found.index in other.inputs]
    pools = found.index != build.file.output and all(other.code == "MAX_POOL_2D" for other in readers)
    if not (lowest and pools and place.order == default_order(4) and before[1] == after[1] == 0):
        raise refuse(op, "it pads with another code than that of zero, or the lowest code before a MAX_POOL_2D only.")
    if activation_quant(found) != build.tensors[place.name].quant or graph_shape(found.shape, place.order) != made:
        raise refuse(op, f"its output, {found.what}, has another shape, scale or zero point than it makes.")
    build.padded[found.index] = (before[2], before[3], after[2], after[3])
    build.alias(op, place)


def strided_slice(build: Build, op: FileOp) -> None:
    """Import STRIDED_SLICE with positive strides that keeps every axis."""
    place, table = _axes(build, op), options(op)
    starts, ends, steps = (_counts(build, op, position) for position in (1, 2, 3))
    extents = build.tensor(op.inputs[0]).shape
    if not len(starts) == len(ends) == len(steps) == len(extents) or min(steps) < 1:
        raise refuse(op, f"begin {starts}, end {ends} and strides {steps} need one value per axis, strides above 0.")
    if any(table.integer(field, "i") for field in (2, 3, 4)) or table.integer(5, "?"):
        raise refuse(op, "masks for ellipsis, new axes or dropped axes, and offsets as ends, are not imported.")
    masks = table.integer(0, "i"), table.integer(1, "i")
    parts = []
    for axis, extent in enumerate(extents):
        start = None if masks[0] >> axis & 1 else starts[axis]
        end = None if masks[1] >> axis & 1 else ends[axis]
        parts.append(slice(start, end, steps[axis]).indices(extent))
    _slice(build, op, place, tuple(parts))


def plain_slice(build: Build, op: FileOp) -> None:
    """Import SLICE: a begin and a size (-1: the rest) per axis."""
    place = _axes(build, op)
    starts, sizes, extents = _counts(build, op, 1), _counts(build, op, 2), build.tensor(op.inputs[0]).shape
    if not len(starts) == len(sizes) == len(extents):
        raise refuse(op, f"begin {starts} and size {sizes} need one value per axis.")
    parts = []
    for start, size, extent in zip(starts, sizes, extents, strict=True):
        end = extent if size == -1 else start + size
        if not 0 <= start < end <= extent:
            raise refuse(op, f"begin {starts} and size {sizes} do not lie in {list(extents)}.")
        parts.append((start, end, 1))
    _slice(build, op, place, tuple(parts))


def concatenation(build: Build, op: FileOp) -> None:
    """Import CONCATENATION of tensors of one scale and zero point."""
    places = [build.read(op, position) for position in range(len(op.inputs))]
    found, rank = build.output(op), len(build.output(op).shape)
    axis, quant = options(op).integer(0, "i"), activation_quant(found)
    if not places or not -rank < axis < rank or axis % rank == 0:
        raise refuse(op, f"it joins along axis {axis} of {rank}; the batch axis cannot be joined.")
    for position, place in enumerate(places):
        if place.order != places[0].order or len(place.order) != rank or place.flat is not None:
            raise refuse(op, f"input {position} has its axes in another order, or is a flattened image.")
        if build.tensors[place.name].quant != quant:
            raise refuse(op, f"input {position} has another scale or zero point than the output {found.what}.")
    joined = places[0].order[axis % rank]
    shapes = [build.tensors[place.name].shape for place in places]
    if len({(*s[:joined], *s[joined + 1 :]) for s in shapes}) > 1:
        raise refuse(op, f"its inputs {[list(shape) for shape in shapes]} differ along more than one axis.")
    made = tuple(sum(s[a] for s in shapes) if a == joined else n for a, n in enumerate(shapes[0]))
    names = tuple(place.name for place in places)
    build.emit(op, ops.Concat(axis=joined), names, made, places[0], fused(op, 1))


def _axes(build: Build, op: FileOp) -> Place:
    """Return where an operator's first input is, whose axes must be those of an image or a plain vector."""
    place = build.read(op, 0)
    if place.flat is not None:
        raise refuse(op, "it divides or extends a flattened image, which is not imported.")
    return place


def _slice(build: Build, op: FileOp, place: Place, parts: tuple[tuple[int, int, int], ...]) -> None:
    extents = tuple(len(range(*part)) for part in parts)
    if 0 in extents or parts[0] != (0, 1, 1):
        raise refuse(op, f"it takes {list(extents)} values of {build.tensor(op.inputs[0]).what}; no axis may be empty.")
    starts, ends, steps = (graph_order(values, place) for values in zip(*parts, strict=True))
    operator = ops.Slice(starts=starts, ends=ends, steps=steps)
    build.emit(op, operator, (place.name,), graph_order(extents, place), place)


def _table(build: Build, op: FileOp, position: int) -> Array:
    return build.constant(op, position, COUNTS).astype(np.int64)


def _counts(build: Build, op: FileOp, position: int) -> list[int]:
    values: list[int] = _table(build, op, position).ravel().tolist()
    if not values:
        raise refuse(op, f"input {position} is empty.")
    return values
