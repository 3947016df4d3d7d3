"""A float branch, quantised so that it reads the very codes that another part makes: a judge behind a stem."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edge.errors import EdgeError
from edge.evaluate import reference_codes
from quant.formats import Array
from quant.graph import Graph, Quant, Tensor, check
from quant.program import lower
from quant.ptq import lay_out, prepare, scheme_ranges
from quant.ranges import check_calibration
from quant.reference import dequantise, quantise_input
from quant.scheme import Scheme


def quantise_branch(stem: Graph, branch: Graph, scheme: Scheme, calibration: Array) -> Graph:
    """Quantise a branch behind a quantised stem.

    Args:
        stem: quantised; its output is what the branch reads.
        branch: a float graph whose input has the shape of the stem's output.
        scheme: formats and ranges of the branch; activations in the stem's output format.
        calibration: real inputs of the stem, float32 [N, ...].

    Returns:
        The branch; its input has the stem's output format, scale and zero point.

    Raises:
        EdgeError: shapes or formats differ, or the branch begins with an operator that only moves codes, whose output
            would have to share its scale.
    """
    given, prepared = stem.quant(stem.output), prepare(branch)
    if prepared.shape(prepared.input)[1:] != stem.shape(stem.output)[1:]:
        raise EdgeError(
            f"branch '{branch.name}' takes {list(prepared.shape(prepared.input)[1:])}, "
            f"'{stem.name}' gives {list(stem.shape(stem.output)[1:])}."
        )
    values = check_calibration(prepared, stem_values(stem, calibration))
    ranges = {**scheme_ranges(prepared, scheme, values), prepared.input: _limits(given, scheme.symmetric)}
    laid = lay_out(prepared, scheme, ranges)
    made = laid.quant(laid.input)
    if made.format != given.format or made.zero != given.zero or not np.isclose(made.scale[0], given.scale[0], 1e-5):
        raise EdgeError(
            f"branch '{branch.name}' cannot read what '{stem.name}' makes ({given.format.name}, step "
            f"{given.scale[0]:g}) with {made.format.name}, step {made.scale[0]:g}: give it activations of that format, "
            "and begin it with a convolution or a fully connected layer."
        )
    # The scale may be a float32 rounding beside the stem's; a part must have the very one.
    tensors = {**laid.tensors, laid.input: Tensor(laid.shape(laid.input), given)}
    found = check(replace(laid, tensors=tensors))
    lower(found)
    return found


def stem_values(stem: Graph, x: Array) -> Array:
    """Return what a quantised stem makes of real inputs, as real values, float32 [N, ...]."""
    codes = quantise_input(stem.quant(stem.input), x)
    made = np.concatenate(list(reference_codes(stem, codes)))
    return dequantise(stem.quant(stem.output), made)


def _limits(quant: Quant, symmetric: bool) -> tuple[float, float]:
    """Return the range that the codes of a number format span; a symmetric scheme leaves out the lowest code."""
    fmt, scale = quant.format, quant.scale[0]
    if fmt.is_minifloat:
        return -scale * fmt.max, scale * fmt.max
    if symmetric:
        return -scale * fmt.max_ordinal, scale * fmt.max_ordinal
    return (fmt.min_ordinal - quant.zero) * scale, (fmt.max_ordinal - quant.zero) * scale
