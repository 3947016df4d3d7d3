"""Activation ranges over a calibration set: minimum and maximum, or a percentile. Runs in ONNX Runtime."""

from __future__ import annotations

from typing import Any

import numpy as np

from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph
from quant.onnx_write import open_session, run_batches, to_float_onnx

#: Bins of the histogram a percentile is read from; the range's ends are exact.
BINS = 4096

Ranges = dict[str, tuple[float, float]]


def with_zero(low: float, high: float) -> tuple[float, float]:
    """Widen a range to hold 0; a tensor that is always 0 gets [0, 1]."""
    return min(low, 0.0), max(high, 0.0) if high > 0 or low < 0 else 1.0


def check_calibration(graph: Graph, inputs: Array) -> Array:
    """Return calibration inputs as float32.

    Raises:
        QuantError: they are empty, of another shape than the graph's input, or hold NaN or infinities.
    """
    want = graph.shape(graph.input)[1:]
    if inputs.ndim != len(want) + 1 or inputs.shape[1:] != want:
        raise QuantError(f"calibration data has shape {list(inputs.shape)}; the model takes [N, {str(list(want))[1:]}.")
    if len(inputs) == 0:
        raise QuantError("calibration data is empty; give at least one image, better 100 to 500.")
    if inputs.dtype.kind not in "fiub":
        raise QuantError(f"calibration data is of type {inputs.dtype}; it must be numbers, best float32.")
    with np.errstate(over="ignore"):
        values = inputs.astype(np.float32)
    finite = np.isfinite(values.reshape(len(values), -1)).all(axis=1)
    if not finite.all():
        raise QuantError(f"calibration data has NaN or infinite values, first in image {int(np.argmin(finite))}.")
    return values


def estimate_ranges(graph: Graph, inputs: Array, percentile: float | None) -> Ranges:
    """Return (low, high) of every activation of a float graph.

    Args:
        graph: a float graph after the passes, so that ranges are those of fused outputs.
        inputs: calibration inputs, float32 [N, ...], checked.
        percentile: None for minimum and maximum; else the two-sided percentile, e.g. 99.99 keeps that share of
            values below `high` and above `low`, up to one of BINS histogram bins.

    Raises:
        QuantError: an activation is NaN or infinite.
    """
    ranges = minima_and_maxima(graph, inputs)
    return ranges if percentile is None or percentile == 100 else _percentiles(graph, inputs, ranges, percentile)


def minima_and_maxima(graph: Graph, inputs: Array) -> Ranges:
    """Return the smallest and largest value of every activation.

    Raises:
        QuantError: an activation is NaN or infinite.
    """
    ranges = _min_max(graph, inputs)
    for name, limit in ranges.items():
        if not np.isfinite(limit).all():
            raise QuantError(
                f"graph '{graph.name}': activation '{name}' reaches {limit[0]} .. {limit[1]} on the calibration data; "
                "the float model itself overflows there. Check its weights and the scale of the inputs."
            )
    return ranges


def _min_max(graph: Graph, inputs: Array) -> Ranges:
    """Reduce inside ONNX Runtime, so that no activation is copied out."""
    from onnx import helper

    def reducers(name: str) -> list[Any]:
        kinds = (("ReduceMin", f"{name}.min"), ("ReduceMax", f"{name}.max"))
        return [helper.make_node(kind, [name], [out], name=out, keepdims=0) for kind, out in kinds]

    names = graph.activations()
    outputs = [f"{name}.{end}" for name in names for end in ("min", "max")]
    session = open_session(to_float_onnx(graph, reducers, outputs))
    rows = np.array([[float(v) for v in out] for out in run_batches(session, graph.input, inputs)])
    lows, highs = rows[:, 0::2].min(axis=0), rows[:, 1::2].max(axis=0)
    return {name: (float(low), float(high)) for name, low, high in zip(names, lows, highs, strict=True)}


def _percentiles(graph: Graph, inputs: Array, limits: Ranges, percentile: float) -> Ranges:
    names = graph.activations()
    session = open_session(to_float_onnx(graph, outputs=names[1:]))
    counts = {name: np.zeros(BINS, dtype=np.int64) for name in names}
    for start in range(0, len(inputs), 16):
        part = inputs[start : start + 16]
        for name, value in zip(names, [part, *session.run(None, {graph.input: part})], strict=True):
            counts[name] += np.histogram(value, bins=BINS, range=_span(limits[name]))[0]
    return {name: _cut(counts[name], limits[name], percentile / 100) for name in names}


def _span(limit: tuple[float, float]) -> tuple[float, float]:
    return limit if limit[1] > limit[0] else (limit[0], limit[0] + 1.0)


def _cut(counts: Array, limit: tuple[float, float], share: float) -> tuple[float, float]:
    low, high = _span(limit)
    edges = np.linspace(low, high, BINS + 1)
    below = np.cumsum(counts) / counts.sum()
    top = edges[1:][np.searchsorted(below, share)]
    bottom = edges[:-1][np.searchsorted(below, 1 - share, side="right")]
    return float(max(bottom, limit[0])), float(min(top, limit[1]))
