"""A quantised graph that grows node by node, beside the reference's codes of every tensor for a few inputs.

Output scales follow the values that really come out, so that no layer is constant or saturated.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from quant.errors import QuantError
from quant.fixedpoint import INT32_LIMIT, WIDE_LIMIT
from quant.formats import Array, FloatArray, Format
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.operators import Operator
from quant.program import lower
from quant.reference import execute, fast_dot

Clip = tuple[float, float] | None
#: A layer whose most frequent code is more frequent than this tells nothing, and is left out.
MOST_OF_ONE_CODE = 0.9


@dataclass(eq=False)
class Growth:
    """The graph so far; `top` is the tensor the next layer reads."""

    top: str
    tensors: dict[str, Tensor]
    values: dict[str, Array]
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)

    def shape(self, name: str = "") -> tuple[int, ...]:
        """Return the shape of a tensor, or of the top, batch axis included."""
        return self.tensors[name or self.top].shape

    def quant(self, name: str = "") -> Quant:
        """Return the number format of a tensor, or of the top."""
        found = self.tensors[name or self.top].quant
        assert found is not None
        return found

    def real(self, name: str = "") -> FloatArray:
        """Return the real values of a tensor, or of the top, for every input."""
        return decoded(self.quant(name), self.values[name or self.top])

    def graph(self, output: str = "") -> Graph:
        """Return the checked graph."""
        return check(Graph("random", "x", output or self.top, tuple(self.nodes), self.tensors, self.weights))

    def grow(
        self,
        op: Operator,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        quant: Quant,
        clip: Clip = None,
        parameters: dict[str, tuple[Tensor, Array]] | None = None,
    ) -> bool:
        """Add a node on top, unless it has no integer meaning or its output hardly varies; returns whether it did."""
        name = f"n{len(self.nodes)}"
        node = Node(name, op, (*inputs, *(parameters or ())), f"{name}_out", clip)
        kept = dict(self.tensors), dict(self.weights), list(self.nodes)
        self.tensors[node.output] = Tensor(shape, quant)
        for key, (tensor, values) in (parameters or {}).items():
            self.tensors[key], self.weights[key] = tensor, values
        self.nodes.append(node)
        try:
            program = lower(self.graph(node.output))
            codes = execute(program, program.steps[-1], self.values, fast_dot)
        except QuantError:
            codes = None
        if codes is None or not varies(quant.format, codes):
            self.tensors, self.weights, self.nodes = kept
            return False
        if codes.shape[1:] != shape[1:]:
            raise AssertionError(f"{op} makes {codes.shape}, not {shape}")
        self.values[node.output], self.top = codes, node.output
        return True


def decoded(quant: Quant, codes: Array) -> FloatArray:
    """Return the real values of codes of a per-tensor quantised tensor."""
    units = quant.format.to_units(codes).astype(np.float64) - quant.zero
    return units * (quant.format.unit * quant.scale[0])


def varies(fmt: Format, codes: Array) -> bool:
    """Whether codes differ within a tensor and between inputs, and no code is nearly everywhere."""
    ordinals = fmt.to_ordinals(codes)
    _, counts = np.unique(ordinals, return_counts=True)
    return bool(counts.max() <= MOST_OF_ONE_CODE * ordinals.size) and len({image.tobytes() for image in ordinals}) > 1


def labels(fmt: Format, codes: Array) -> set[int]:
    """Return the labels of output codes [N, ...]: where each input's largest value lies."""
    return set(fmt.to_ordinals(codes).reshape(len(codes), -1).argmax(axis=1).tolist())


def fitted(fmt: Format, values: FloatArray, symmetric: bool, cover: float = 1.0) -> Quant:
    """Return a number format that covers `cover` times the range of the values, with zero inside.

    Unsigned integers always count from a zero point that fits, as a symmetric one would cut negative values off.
    """
    low, high = min(float(values.min()), 0.0) * cover, max(float(values.max()), 0.0) * cover
    if max(-low, high) == 0:
        high = 1.0
    if fmt.is_minifloat:
        return Quant(fmt, (_f32(max(-low, high) / fmt.max),))
    if symmetric:
        return Quant(fmt, (_f32((max(-low, high) if fmt.signed else high or 1.0) / fmt.max_ordinal),))
    scale = _f32((high - low) / (fmt.max_ordinal - fmt.min_ordinal))
    zero = round(fmt.min_ordinal - low / scale)
    return Quant(fmt, (scale,), min(max(zero, fmt.min_ordinal), fmt.max_ordinal))


def largest_weight(weight: Format, x: Quant, out: Format, terms: int) -> int:
    """Return the largest ordinal that weights may have for `terms` products to fit the accumulator with room to spare.

    At least 1: a graph where even that is too much is refused when it is lowered.
    """
    low, high = x.format.units_of_ordinal(x.format.min_ordinal), x.format.max_units
    reach = max(abs(low - x.zero), abs(high - x.zero)) * terms
    limit = (WIDE_LIMIT if out.is_minifloat else INT32_LIMIT) // 4
    top = weight.max_ordinal
    while top > 1 and weight.units_of_ordinal(top) * reach >= limit:
        top -= 1 + top // 16
    return top


def _f32(value: float) -> float:
    return float(np.float32(value))
