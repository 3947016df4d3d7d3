"""Samples for the examples in packages: raw input where the network takes it, and the codes that must come out."""

from __future__ import annotations

import numpy as np

from export.c99.layout import c_type, to_c
from export.c99.numbers import wrapped
from export.embed.preprocess import code_table, has_table
from export.embed.template import filled
from export.target import Source
from quant.formats import Array
from quant.graph import Quant
from quant.program import lower
from quant.reference import fast_dot, run

#: Samples lie in flash.
MAX_SAMPLES = 2


def sample_header(source: Source) -> tuple[str, int]:
    """Return the text of NAME_sample.h and the number of its samples.

    The raw values are made from the test vectors: for every code the raw value that gives it, or the nearest one.
    """
    graph, given, name = source.graph, source.preprocess, source.stem
    quant, codes = graph.quant(graph.input), _distinct(source)
    inputs, outputs = codes, run(lower(graph), codes, fast_dot)[graph.output]
    raw = given is not None and has_table(source)
    if given is not None and raw:
        inputs, codes = raw_of(codes, code_table(given, quant), quant)
        inputs, outputs = inputs.view(given.raw), run(lower(graph), codes, fast_dot)[graph.output]
    words = {
        "INCLUDES": "".join(f'#include "{name}_{what}.h"\n' for what in _includes(source)),
        "COUNT": len(codes),
        "WHAT": "Raw values" if raw else "Input codes",
        "TYPE": f"{name}_raw_t" if raw else c_type(quant.format),
        "INPUTS": _rows(inputs),
        "OUTPUTS": _rows(outputs),
    }
    return filled("sample.h", name, words), len(codes)


def raw_of(codes: Array, table: Array, quant: Quant) -> tuple[Array, Array]:
    """Return raw bytes (uint8) whose codes are nearest to `codes`, and the codes they give, both in their shape.

    `codes` are [N, C, H, W], or of any shape where there is one channel.
    """
    planes = codes.reshape(len(codes), len(table), -1)
    ordinals, wanted = quant.format.to_ordinals(table), quant.format.to_ordinals(planes)
    raw = np.zeros(planes.shape, np.uint8)
    for channel, given in enumerate(ordinals):
        values, place = np.unique(wanted[:, channel], return_inverse=True)
        nearest = np.abs(given[:, None] - values[None]).argmin(axis=0).astype(np.uint8)
        raw[:, channel] = nearest[place].reshape(raw[:, channel].shape)
    made = np.stack([table[channel][raw[:, channel]] for channel in range(len(table))], axis=1)
    return raw.reshape(codes.shape), made.reshape(codes.shape)


def _includes(source: Source) -> tuple[str, ...]:
    return (("preprocess",) if has_table(source) else ()) + (("labels",) if source.labels else ())


def _distinct(source: Source) -> Array:
    """Test inputs whose greatest outputs differ, as many as there may be samples."""
    quant = source.graph.quant(source.graph.output)
    places = quant.format.to_ordinals(source.outputs).reshape(len(source.outputs), -1).argmax(axis=1)
    firsts = np.sort(np.unique(places, return_index=True)[1])[:MAX_SAMPLES]
    chosen = firsts if len(firsts) > 1 else np.arange(min(MAX_SAMPLES, len(places)))
    inputs: Array = source.inputs[chosen]
    return inputs


def _rows(values: Array) -> str:
    rows = to_c(values).reshape(len(values), -1).tolist()
    return ",\n".join("    {\n" + wrapped(row) + "\n    }" for row in rows)
