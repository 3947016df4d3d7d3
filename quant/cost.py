"""What a network costs in hardware under some formats: memory, operations, accumulators and FPGA look-up tables.

No weight is read and nothing is calibrated, so a search can ask thousands of times: take `shapes_of` once, then `cost`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np

from quant.accumulator import formula_bits, smallest_bits
from quant.assign import activation_formats, weight_formats
from quant.formats import Format
from quant.graph import Graph
from quant.luts import XCUP, Family, mac_luts
from quant.operators import Conv, Gemm, Minimum, Reshape
from quant.scheme import Scheme

#: Bits of one scale; of one bias with integers on both sides, and with a minifloat.
SCALE_BITS, BIAS_BITS, WIDE_BIAS_BITS = 32, 32, 64


@dataclass(frozen=True, slots=True)
class LayerShape:
    """Sizes of one Conv or Gemm: `terms` products make one of its sums, `source` is the activation it reads."""

    name: str
    source: str
    macs: int
    weights: int
    channels: int
    terms: int


@dataclass(frozen=True, slots=True)
class Shapes:
    """All of a network that its cost depends on.

    `elements` of every activation; `live` lists, for each node in order, the activations in memory while it runs.
    """

    layers: tuple[LayerShape, ...]
    elements: Mapping[str, int]
    live: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Assignment:
    """A format for the weights of every layer and for every activation."""

    weights: Mapping[str, Format]
    activations: Mapping[str, Format]
    per_channel: bool = True


@dataclass(frozen=True, slots=True)
class LayerCost:
    """Cost of one Conv or Gemm.

    `smallest_bits` is the narrowest accumulator that no input can overflow, `formula_bits` that of a plain design
    (PW + ceil(log2 terms)); the bias counts as one more product in both. `luts_per_mac` is of one multiply-accumulate
    unit for sums of 512 products, and `luts_method` `measured` or `fitted` (`quant.luts`).
    """

    name: str
    weight: str
    activation: str
    macs: int
    weight_bits: int
    scale_bits: int
    bias_bits: int
    bit_operations: int
    smallest_bits: int
    formula_bits: int
    luts_per_mac: float
    luts_method: str


@dataclass(frozen=True, slots=True)
class Summary:
    """The totals of a `Cost`, as records and reports keep them; see there."""

    weight_bits: int
    parameter_bytes: int
    live_bytes: int
    activation_bytes: int
    macs: int
    bit_operations: int
    accumulator_bits: int
    luts_per_mac: float
    luts_measured: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Cost of a network: its layers, and the activations' bits at the fullest moment and all together."""

    layers: tuple[LayerCost, ...]
    live_bits: int
    activation_bits: int
    family: str

    @property
    def macs(self) -> int:
        """Multiply-accumulates per inference."""
        return sum(layer.macs for layer in self.layers)

    @property
    def bit_operations(self) -> int:
        """MACs times weight bits times activation bits, summed."""
        return sum(layer.bit_operations for layer in self.layers)

    @property
    def weight_bits(self) -> int:
        """Bits of all weight codes, without scales and biases."""
        return sum(layer.weight_bits for layer in self.layers)

    @property
    def parameter_bytes(self) -> int:
        """Bytes of weights (packed at their format's bits), scales and biases."""
        return _bytes(sum(layer.weight_bits + layer.scale_bits + layer.bias_bits for layer in self.layers))

    @property
    def live_bytes(self) -> int:
        """Bytes of activations at the fullest moment, packed."""
        return _bytes(self.live_bits)

    @property
    def activation_bytes(self) -> int:
        """Bytes of all activations together, packed: what a dataflow design or a split moves."""
        return _bytes(self.activation_bits)

    @property
    def accumulator_bits(self) -> int:
        """The widest of the smallest accumulators."""
        return max((layer.smallest_bits for layer in self.layers), default=0)

    @property
    def luts_per_mac(self) -> float:
        """LUTs of one MAC, mean over all MACs of the network: times P, those of a design that does P per clock.

        A design whose layers all finish together gives each layer units in proportion to its MACs.
        """
        return sum(layer.macs * layer.luts_per_mac for layer in self.layers) / max(1, self.macs)

    @property
    def luts_measured(self) -> float:
        """The share of the MACs whose LUTs were measured, 0 to 1; those of the rest are fitted."""
        return sum(layer.macs for layer in self.layers if layer.luts_method == "measured") / max(1, self.macs)


def summary(found: Cost) -> Summary:
    """Return the totals of a cost."""
    return Summary(**{entry.name: getattr(found, entry.name) for entry in fields(Summary)})


def _bytes(bits: int) -> int:
    return -(-bits // 8)


def shapes_of(graph: Graph) -> Shapes:
    """Return the sizes of a graph, float or quantised; float graphs after `quant.ptq.prepare`."""
    layers = tuple(
        _layer_shape(graph, node.name, node.inputs[0], node.inputs[1], node.output)
        for node in graph.nodes
        if isinstance(node.op, Conv | Gemm)
    )
    elements = {name: int(np.prod(graph.shape(name), dtype=np.int64)) for name in graph.activations()}
    return Shapes(layers, elements, _live(graph))


def _layer_shape(graph: Graph, name: str, source: str, weight: str, output: str) -> LayerShape:
    shape = graph.shape(weight)
    count, positions = int(np.prod(shape, dtype=np.int64)), int(np.prod(graph.shape(output)[2:], dtype=np.int64))
    return LayerShape(name, source, count * positions, count, shape[0], count // shape[0])


def _live(graph: Graph) -> tuple[tuple[str, ...], ...]:
    """Return what is in memory while each node runs: its inputs and output, and what a later node reads.

    A Reshape copies nothing, and a Minimum cuts codes where they lie: their outputs take their inputs' place.
    """
    last = {graph.output: len(graph.nodes)}
    for index, node in enumerate(graph.nodes):
        last.update(dict.fromkeys(node.inputs, max(index, *(last.get(name, 0) for name in node.inputs))))
    steps, here = [], [graph.input]
    for index, node in enumerate(graph.nodes):
        moved = isinstance(node.op, Reshape | Minimum)
        kept = [name for name in here if last.get(name, -1) > index or (name in node.inputs and not moved)]
        steps.append((*kept, node.output))
        here = [name for name in (*kept, node.output) if last.get(name, -1) > index]
    return tuple(steps)


def assign(graph: Graph, scheme: Scheme) -> Assignment:
    """Return the formats that a scheme gives the layers and activations of a prepared graph."""
    return Assignment(weight_formats(graph, scheme), activation_formats(graph, scheme), scheme.per_channel)


def assigned(graph: Graph) -> Assignment:
    """Return the formats that a quantised graph has.

    Raises:
        QuantError: the graph is a float graph.
    """
    layers = [node for node in graph.nodes if isinstance(node.op, Conv | Gemm)]
    weights = {node.name: graph.quant(node.inputs[1]) for node in layers}
    activations = {name: graph.quant(name).format for name in graph.activations()}
    per_channel = any(len(quant.scale) > 1 for quant in weights.values())
    return Assignment({name: quant.format for name, quant in weights.items()}, activations, per_channel)


def cost(source: Graph | Shapes, formats: Assignment, family: Family = XCUP) -> Cost:
    """Return what a network costs under some formats.

    Args:
        source: a graph, or its `shapes_of` (faster when asked often).
        formats: a format for each layer and activation: `assign` takes them from a scheme, `assigned` from a graph.
        family: the FPGA whose LUTs are meant.
    """
    shapes = shapes_of(source) if isinstance(source, Graph) else source
    bits = {name: count * formats.activations[name].bits for name, count in shapes.elements.items()}
    layers = tuple(_layer_cost(layer, formats, family) for layer in shapes.layers)
    live = max((sum(bits[name] for name in step) for step in shapes.live), default=0)
    return Cost(layers, live, sum(bits.values()), family.name)


def _layer_cost(layer: LayerShape, given: Assignment, family: Family) -> LayerCost:
    weight, activation = given.weights[layer.name], given.activations[layer.source]
    wide, luts = weight.is_minifloat or activation.is_minifloat, mac_luts(weight, activation, family)
    return LayerCost(
        name=layer.name,
        weight=weight.name,
        activation=activation.name,
        macs=layer.macs,
        weight_bits=layer.weights * weight.bits,
        scale_bits=SCALE_BITS * (layer.channels if given.per_channel else 1),
        bias_bits=(WIDE_BIAS_BITS if wide else BIAS_BITS) * layer.channels,
        bit_operations=layer.macs * weight.bits * activation.bits,
        smallest_bits=smallest_bits(weight, activation, layer.terms + 1),
        formula_bits=formula_bits(weight, activation, layer.terms + 1),
        luts_per_mac=luts.luts,
        luts_method=luts.method,
    )
