"""Walk a quantised graph layer by layer beside its float graph, and let a function set each layer anew.

Both networks run on the same calibration inputs. A layer is set when its inputs are known: those of the float network,
and those the quantised network, with every layer before set already, hands on. So a layer makes up for what earlier
layers lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from quant.formats import Array
from quant.graph import Graph, Node, Quant
from quant.graph import Tensor as GraphTensor
from quant.moments import Moments, moments
from quant.onnx_quant import quantise_bias
from quant.operators import Conv, Gemm, Requantize
from quant.ptq import bias_floor
from quant.simulate import Simulator, apply, batches, fake_quantise, real_bias, real_weight, simulator

#: Bytes all live activations of both networks may take; fewer images are used where they would take more.
MEMORY_BYTES = 1_500_000_000
BATCH = 32


@dataclass(frozen=True, eq=False)
class Layer:
    """One Conv or Gemm of a walk.

    `weight` [O, ...] and `bias` [O] are float64 as the float graph has them; `quant` is the weight's present format and
    scale, `current` its present real values [O, ...], and `floor` the smallest scales the bias allows.
    """

    node: Node
    weight: Array
    bias: Array
    current: Array
    current_bias: Array
    quant: Quant
    source: Quant
    floor: Array
    moments: Moments

    @property
    def groups(self) -> int:
        """Groups of the convolution; 1 for Gemm."""
        return self.node.op.groups if isinstance(self.node.op, Conv) else 1

    @property
    def with_fixed_bias(self) -> Layer:
        """The layer as passes need it that round weights and leave the bias."""
        return replace(self, moments=self.moments.about_zero)


@dataclass(frozen=True, eq=False)
class Setting:
    """What a visitor decides: weight codes with their format and scale, and the real bias."""

    codes: Array
    quant: Quant
    bias: Array


Visitor = Callable[[Layer], Setting]


def walk(quantised: Graph, original: Graph, inputs: Array, visit: Visitor, *, second: bool = True) -> Graph:
    """Return the quantised graph with every layer as `visit` set it.

    Args:
        quantised: laid out from `original` (the same node names; Requantize nodes may stand between).
        original: the prepared float graph.
        inputs: float32 [N, ...]; thinned where N images would not fit MEMORY_BYTES.
        visit: called once per Conv and Gemm, in execution order.
        second: whether `visit` needs second moments; means alone are quicker.
    """
    inputs = inputs[: max(BATCH, MEMORY_BYTES // _bytes_per_image(original))]
    exact, rough = simulator(original), simulator(quantised)
    first = list(batches(inputs, BATCH))
    state = _State(quantised, {original.input: first}, _quantised_inputs(quantised, first))
    weights, tensors = dict(quantised.weights), dict(quantised.tensors)
    nodes = {node.name: node for node in original.nodes}
    for node in quantised.nodes:
        if isinstance(node.op, Conv | Gemm):
            layer = _layer(quantised, original, node, nodes[node.name], state, second=second)
            setting = visit(layer)
            rough = _store(rough, weights, tensors, node, layer.source, setting)
        _advance(state, exact, rough, nodes.get(node.name), node)
    return replace(quantised, weights=weights, tensors=tensors)


@dataclass(frozen=True, eq=False)
class _State:
    """Live activations of both networks, batch by batch."""

    graph: Graph
    exact: dict[str, list[Tensor]]
    rough: dict[str, list[Tensor]]


def _bytes_per_image(graph: Graph) -> int:
    """Upper estimate of what both networks keep alive for one image: four of the largest activations."""
    return 4 * 4 * max(int(np.prod(graph.shape(name))) for name in graph.activations())


def _quantised_inputs(graph: Graph, parts: list[Tensor]) -> dict[str, list[Tensor]]:
    return {graph.input: [fake_quantise(graph.quant(graph.input), part) for part in parts]}


def _layer(quantised: Graph, original: Graph, node: Node, twin: Node, state: _State, *, second: bool) -> Layer:
    weight, bias = (original.weights[name].astype(np.float64) for name in twin.inputs[1:])
    quant, source = quantised.quant(node.inputs[1]), quantised.quant(node.inputs[0])
    kernel = (weight.shape[2], weight.shape[3]) if weight.ndim == 4 else (1, 1)
    images = sum(len(part) for part in state.rough[node.inputs[0]])
    pairs = zip(state.rough[node.inputs[0]], state.exact[twin.inputs[0]], strict=True)
    return Layer(
        node,
        weight,
        bias,
        real_weight(quantised, node.inputs[1]),
        real_bias(quantised, node),
        quant,
        source,
        bias_floor(bias, source, quant.format),
        moments(node, kernel, pairs, images, second=second),
    )


def _store(
    sim: Simulator,
    weights: dict[str, Array],
    tensors: dict[str, GraphTensor],
    node: Node,
    source: Quant,
    setting: Setting,
) -> Simulator:
    """Write a setting into the graph being built; return the simulator that runs it."""
    _, weight, bias = node.inputs
    weights[weight], tensors[weight] = setting.codes, replace(tensors[weight], quant=setting.quant)
    weights[bias] = quantise_bias(setting.bias, source, setting.quant)
    graph = replace(sim.graph, weights=weights, tensors=tensors)
    real = {weight: real_weight(graph, weight), bias: real_bias(graph, node)}
    fresh = {name: torch.from_numpy(value.astype(np.float32)) for name, value in real.items()}
    return replace(sim, graph=graph, parameters={**sim.parameters, **fresh})


def _advance(state: _State, exact: Simulator, rough: Simulator, twin: Node | None, node: Node) -> None:
    """Run one node of both networks on all batches, and drop what nothing reads any more."""
    state.rough[node.output] = _run(rough, node, state.rough)
    if isinstance(node.op, Requantize) and twin is None:
        state.exact[node.output] = state.exact[node.inputs[0]]
    else:
        assert twin is not None
        state.exact[node.output] = _run(exact, twin, state.exact)
    for name in rough.dead.get(node.name, ()):
        del state.rough[name]
        if name not in exact.graph.tensors:
            del state.exact[name]
    for name in exact.dead.get(node.name, ()):
        del state.exact[name]


def _run(sim: Simulator, node: Node, values: dict[str, list[Tensor]]) -> list[Tensor]:
    count = len(next(iter(values[name] for name in node.inputs if name in values)))
    return [apply(sim, node, [values[n][k] if n in values else None for n in node.inputs]) for k in range(count)]
