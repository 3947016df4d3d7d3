"""How many bits a lossless accumulator needs: from the formats alone, or from the weights themselves.

All widths are of two's-complement integers, sign included, counted in units of both formats (`quant.formats`), where
every product is a whole number. Python integers throughout: with 5 and more exponent bits int64 is too narrow.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from quant.formats import Array, Format
from quant.graph import Graph, Quant
from quant.operators import Conv, Gemm

#: Lowest and highest value a sum can have.
Span = tuple[int, int]


def signed_bits(low: int, high: int) -> int:
    """Return the width of the narrowest two's-complement integer that holds both values."""
    return max((-low - 1).bit_length() if low < 0 else 0, high.bit_length() if high > 0 else 0) + 1


def span_of(fmt: Format, *, narrow: bool = False) -> Span:
    """Return the lowest and highest value of a format in units; `narrow` leaves out the code -2^(n-1) of integers."""
    low = fmt.units_of_ordinal(-fmt.max_ordinal if narrow and fmt.signed else fmt.min_ordinal)
    return low, fmt.max_units


def product_span(weight: Span, activation: Span) -> Span:
    """Return the lowest and highest product of two values from their spans."""
    corners = [w * a for w in weight for a in activation]
    return min(corners), max(corners)


def smallest_bits(weight: Format, activation: Format, terms: int, bias: int = 0, *, narrow: bool = False) -> int:
    """Return the smallest width that holds every sum of `terms` products of any two codes, in any order.

    Args:
        weight: format of the weights.
        activation: format of the activations, zero point not taken off (it folds into the bias).
        terms: number of products in one sum.
        bias: largest magnitude of what is added besides, in units of both formats.
        narrow: integer weights never use -2^(n-1), as `quant.ptq` makes them.
    """
    low, high = product_span(span_of(weight, narrow=narrow), span_of(activation))
    return signed_bits(min(terms * low, 0) - abs(bias), max(terms * high, 0) + abs(bias))


def product_bits(weight: Format, activation: Format) -> int:
    """Return the width of a product as a multiplier makes it: Nw + Na, or mag_w + mag_a + 1 beside a minifloat.

    mag is N for an integer and 2^E + M - 1 for a minifloat.
    """
    if not weight.is_minifloat and not activation.is_minifloat:
        return weight.bits + activation.bits
    return magnitude_bits(weight) + magnitude_bits(activation) + 1


def magnitude_bits(fmt: Format) -> int:
    """Return the bits a decoder makes of a magnitude: all of an integer's, the fixed-point width of a minifloat."""
    return (1 << fmt.exponent) + fmt.mantissa - 1 if fmt.is_minifloat else fmt.bits


def formula_bits(weight: Format, activation: Format, terms: int) -> int:
    """Return the width PW + ceil(log2 terms) of a plain design; a bias counts as one more term.

    Sound for every sum of `terms` products, and at most 2 bits above `smallest_bits` with full-range codes.
    """
    return product_bits(weight, activation) + (terms - 1).bit_length()


def exact_spans(weights: Array, bias: Array, activation: Span) -> tuple[Span, ...]:
    """Return what each output channel's accumulator can reach, bias first and then the products in any order.

    Args:
        weights: decoded weights in units, [O, K].
        bias: in units of both formats, [O].
        activation: lowest and highest activation in units, zero point taken off; holds 0, for padding.
    """
    low, high = min(activation[0], 0), max(activation[1], 0)
    rows, starts = weights.astype(object), [int(b) for b in bias]
    positive = [sum(int(w) for w in row if w > 0) for row in rows]
    negative = [sum(int(w) for w in row if w < 0) for row in rows]
    triples = zip(starts, positive, negative, strict=True)
    return tuple((b + p * low + n * high, b + p * high + n * low) for b, p, n in triples)


def exact_bits(graph: Graph) -> dict[str, int]:
    """Return the smallest accumulator width of each Conv and Gemm of a quantised graph, by node name.

    From the actual weights, biases and zero points, over all inputs the activation's format can carry.
    """
    widths = {}
    for node in graph.nodes:
        if isinstance(node.op, Conv | Gemm):
            x, w = graph.quant(node.inputs[0]), graph.quant(node.inputs[1])
            units = w.format.to_units(graph.weights[node.inputs[1]])
            spans = exact_spans(units.reshape(len(units), -1), graph.weights[node.inputs[2]], centred_span(x))
            widths[node.name] = widest(spans)
    return widths


def centred_span(quant: Quant) -> Span:
    """Return the lowest and highest value of a tensor in units, zero point taken off."""
    low, high = span_of(quant.format)
    return low - quant.zero, high - quant.zero


def widest(spans: Iterable[Span]) -> int:
    """Return the width that holds every span."""
    return max(signed_bits(low, high) for low, high in spans)


def needs_python_integers(weight: Format, activation: Format, terms: int) -> bool:
    """Whether int64 is too narrow for a sum."""
    return smallest_bits(weight, activation, terms) > np.iinfo(np.int64).bits
