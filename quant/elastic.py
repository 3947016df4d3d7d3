"""An elastic network as plain data: one set of float weights, and for every width the scales to round them with.

`at(network, "w4a4")` makes the quantised graph of a subnet: it rounds the shared weights with that subnet's scales and
folds that subnet's batch norm statistics into scales and biases. Nothing is trained or measured. The codes are those of
the torch network that was trained (`edge/recipes/elastic_net.py`):

    code  = clamp(rint(w / s) + z, low, high),   real value = s * (code - z),   all in float32

Behind a batch norm with gamma > 0 the graph's weight scale is s * gamma / sqrt(variance + epsilon), one per output
channel, and the codes stay as they are. Weights with a zero point become codes - z: a graph's weights have none, so
they take a format one bit wider.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from quant.errors import QuantError
from quant.formats import Array, integer
from quant.graph import Graph, Node, Quant, Tensor
from quant.onnx_quant import quantise_bias
from quant.operators import BatchNorm, Conv, Gemm
from quant.program import lower
from quant.ptq import prepare
from quant.subnet import END_BITS, WIDTHS, Subnet, parse_subnet


@dataclass(frozen=True, eq=False)
class Table:
    """Scales and offsets of one tensor: float32 [rows, widths], rows 1 or one per output channel.

    `symmetric` and `asymmetric` are scales; `offset` belongs to the asymmetric ones. `signed` is False where values
    cannot be negative.
    """

    widths: tuple[int, ...]
    signed: bool
    symmetric: Array
    asymmetric: Array
    offset: Array


@dataclass(frozen=True, eq=False)
class Layer:
    """The tables of one Conv or Gemm node's weights: one scale for the layer, and one per output channel."""

    node: str
    per_layer: Table
    per_channel: Table

    @property
    def elastic(self) -> bool:
        """Whether the layer has more than one width."""
        return len(self.per_layer.widths) > 1


#: Mean and variance of each BatchNorm node by its name, float32 [channels].
Statistics = Mapping[str, tuple[Array, Array]]


@dataclass(frozen=True, eq=False)
class ElasticNetwork:
    """Shared weights and tables.

    `graph` is a float graph with its BatchNorm nodes; `layers` are its Conv and Gemm nodes in order of execution;
    `tensors` has a table for the input and every output that remains once batch norms and clips are folded. `subnets`
    are those whose batch norm statistics are known: only they can be made.
    """

    graph: Graph
    layers: tuple[Layer, ...]
    tensors: Mapping[str, Table]
    subnets: Mapping[Subnet, Statistics]

    @property
    def elastic_layers(self) -> int:
        """How many layers have a choice of widths."""
        return sum(layer.elastic for layer in self.layers)


def code_range(bits: int, *, signed: bool, weights: bool) -> tuple[int, int]:
    """Return the lowest and highest code of a width.

    Weights and tensors that can be negative: -2^(b-1) to 2^(b-1) - 1, but 8-bit weights start at -127, as the kernels
    of TFLite expect. Tensors that cannot be negative: 0 to 2^b - 1.
    """
    if not signed:
        return 0, (1 << bits) - 1
    return -(1 << (bits - 1)) + (weights and bits == END_BITS), (1 << (bits - 1)) - 1


def find_subnet(network: ElasticNetwork, which: str | int | Subnet) -> Subnet:
    """Return a subnet whose statistics the network has.

    Raises:
        QuantError: it does not parse, or it is another one; the message lists those there are.
    """
    subnet = which if isinstance(which, Subnet) else parse_subnet(str(which), network.elastic_layers)
    if subnet not in network.subnets:
        known = ", ".join(map(str, network.subnets))
        raise QuantError(
            f"this elastic network has no batch norm statistics for {subnet}, so it cannot be made without data. It "
            f"has: {known}."
        )
    return subnet


def at(network: ElasticNetwork, which: str | int | Subnet) -> Graph:
    """Make the quantised graph of one subnet.

    Args:
        network: an elastic network.
        which: a subnet, its name, or one width for weights and activations.

    Raises:
        QuantError: no statistics for it, a gamma that is not positive, or an accumulator that could overflow.
    """
    subnet = find_subnet(network, which)
    whole = _with_statistics(network.graph, network.subnets[subnet])
    graph = prepare(whole)
    bits = layer_bits(network, subnet)
    inputs = {node.inputs[0]: bits[node.name][1] for node in graph.nodes if node.name in bits}
    tensors = dict(graph.tensors)
    for name in graph.activations():
        quant = _activation(network.tensors[name], inputs.get(name, END_BITS), subnet)
        tensors[name] = Tensor(graph.shape(name), quant)
    weights = dict(graph.weights)
    layers = {layer.node: layer for layer in network.layers}
    for node in graph.nodes:
        if isinstance(node.op, Conv | Gemm):
            _, weight, bias = node.inputs
            codes, quant = _folded(whole, layers[node.name], bits[node.name][0], subnet)
            tensors[weight], weights[weight] = Tensor(codes.shape, quant), codes
            source = tensors[node.inputs[0]].quant
            assert source is not None
            weights[bias] = quantise_bias(weights[bias], source, quant)
    made = replace(graph, tensors=tensors, weights=weights)
    lower(made)
    return made


def layer_bits(network: ElasticNetwork, subnet: Subnet) -> dict[str, tuple[int, int]]:
    """Return bits of weights and input of every layer, by node name."""
    chosen = iter(zip(subnet.weight_bits, subnet.activation_bits, strict=True))
    return {layer.node: next(chosen) if layer.elastic else (END_BITS, END_BITS) for layer in network.layers}


def weight_codes(layer: Layer, weight: Array, bits: int, subnet: Subnet) -> tuple[Array, Array, Array]:
    """Round shared weights [O, ...] of a layer.

    Returns:
        Codes minus zero points (int64), scales and zero points (float32, one per output channel).
    """
    table = layer.per_channel if subnet.per_channel else layer.per_layer
    low, high = code_range(bits, signed=True, weights=True)
    scale, zero = (np.broadcast_to(v, (len(weight),)) for v in _entry(table, bits, subnet.symmetric_weights, low, high))
    shape = (-1, *(1 for _ in weight.shape[1:]))
    steps = np.rint(weight.astype(np.float32) / scale.reshape(shape)) + zero.reshape(shape)
    return (np.clip(steps, low, high) - zero.reshape(shape)).astype(np.int64), scale, zero


def _entry(table: Table, bits: int, symmetric: bool, low: int, high: int) -> tuple[Array, Array]:
    """Return scales and zero points of a width, float32 [rows]."""
    k = table.widths.index(bits)
    if symmetric:
        return table.symmetric[:, k], np.zeros(len(table.symmetric), np.float32)
    scale = table.asymmetric[:, k]
    return scale, np.clip(np.rint(-table.offset[:, k] / scale), low, high)


def _activation(table: Table, bits: int, subnet: Subnet) -> Quant:
    """Return format, scale and zero point of a tensor; codes from 0 are shifted into the signed format."""
    low, high = code_range(bits, signed=table.signed, weights=False)
    scale, zero = _entry(table, bits, subnet.symmetric_activations, low, high)
    shift = 0 if table.signed else 1 << (bits - 1)
    return Quant(integer(bits), (float(scale[0]),), int(zero[0]) - shift)


def _folded(whole: Graph, layer: Layer, bits: int, subnet: Subnet) -> tuple[Array, Quant]:
    """Return the codes of a layer, and their format with the batch norm behind it folded into the scales."""
    node = next(node for node in whole.nodes if node.name == layer.node)
    steps, scale, _ = weight_codes(layer, whole.weights[node.inputs[1]], bits, subnet)
    fmt = integer(bits if subnet.symmetric_weights else bits + 1)
    scales = (scale.astype(np.float64) * _factor(whole, node)).astype(np.float32)
    return fmt.from_ordinals(steps), Quant(fmt, tuple(scales.tolist()), 0, 0)


def _factor(whole: Graph, node: Node) -> Array:
    """Return gamma / sqrt(variance + epsilon) of the batch norm behind a layer, 1 where there is none."""
    after = whole.consumers(node.output)
    if len(after) != 1 or not isinstance(after[0].op, BatchNorm):
        return np.ones(len(whole.weights[node.inputs[1]]))
    gamma, _, _, variance = (whole.weights[name].astype(np.float64) for name in after[0].inputs[1:])
    factor: Array = gamma / np.sqrt(variance + after[0].op.epsilon)
    if not (factor > 0).all():
        raise QuantError(f"node '{after[0].name}' (BatchNorm): every gamma must be positive to fold into the scales.")
    return factor


def _with_statistics(graph: Graph, statistics: Statistics) -> Graph:
    weights = dict(graph.weights)
    for node in graph.nodes:
        if isinstance(node.op, BatchNorm):
            weights[node.inputs[3]], weights[node.inputs[4]] = statistics[node.name]
    return replace(graph, weights=weights)


def check_network(network: ElasticNetwork) -> ElasticNetwork:
    """Return the network when graph, tables and statistics fit together.

    Raises:
        QuantError: a layer, tensor or batch norm has no table or statistics, or one of a wrong shape or value.
    """
    graph = network.graph
    if graph.is_quantised or not network.subnets:
        raise QuantError("an elastic network needs a float graph, and at least one subnet with statistics.")
    nodes = [node for node in graph.nodes if isinstance(node.op, Conv | Gemm)]
    _same("layers", [layer.node for layer in network.layers], [node.name for node in nodes])
    for layer, node in zip(network.layers, nodes, strict=True):
        channels = graph.shape(node.inputs[1])[0]
        if layer.per_layer.widths != layer.per_channel.widths:
            raise QuantError(f"layer '{layer.node}': its two tables have different widths.")
        _check_table(layer.per_layer, 1, f"layer '{layer.node}'", layer.elastic)
        _check_table(layer.per_channel, channels, f"layer '{layer.node}', per channel", layer.elastic)
    for subnet, statistics in network.subnets.items():
        _check_subnet(network, subnet, statistics)
    prepared = prepare(_with_statistics(graph, next(iter(network.subnets.values()))))
    _same("tensors", sorted(network.tensors), sorted(prepared.activations()))
    chosen = {node.inputs[0] for layer in network.layers if layer.elastic for node in nodes if node.name == layer.node}
    for name, table in network.tensors.items():
        _check_table(table, 1, f"tensor '{name}'", name in chosen)
    return network


def _same(what: str, found: list[str], wanted: list[str]) -> None:
    if found != wanted:
        raise QuantError(f"an elastic network whose {what} are {found}; its graph has {wanted}.")


def _check_table(table: Table, rows: int, where: str, elastic: bool) -> None:
    if table.widths != (WIDTHS if elastic else (END_BITS,)):
        raise QuantError(f"{where}: widths {table.widths}; elastic ones have {WIDTHS}, the others {END_BITS}.")
    for values in (table.symmetric, table.asymmetric, table.offset):
        if values.shape != (rows, len(table.widths)) or values.dtype != np.float32 or not np.isfinite(values).all():
            raise QuantError(f"{where}: a table must be float32 [{rows}, {len(table.widths)}] of finite numbers.")
    if min(table.symmetric.min(), table.asymmetric.min()) <= 0:
        raise QuantError(f"{where}: every scale must be greater than 0.")


def _check_subnet(network: ElasticNetwork, subnet: Subnet, statistics: Statistics) -> None:
    norms = {node.name: node for node in network.graph.nodes if isinstance(node.op, BatchNorm)}
    _same(f"batch norms for {subnet}", sorted(statistics), sorted(norms))
    if {len(subnet.weight_bits), len(subnet.activation_bits)} != {network.elastic_layers}:
        raise QuantError(f"subnet {subnet} is not one of {network.elastic_layers} elastic layers.")
    for name, node in norms.items():
        wanted = network.graph.shape(node.inputs[3])
        for values in statistics[name]:
            if values.shape != wanted or values.dtype != np.float32 or not np.isfinite(values).all():
                raise QuantError(f"subnet {subnet}, batch norm '{name}': statistics must be float32 {list(wanted)}.")
