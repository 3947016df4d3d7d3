"""How much each layer of a quantised network costs: its own error, the error that reaches it, and what the logits feel.

Per layer and batch, on the same inputs:

    accumulated   its output in the quantised network against the float network
    local         the quantised layer fed the float network's inputs against the float layer
    weights       the float network with only this layer's weights and bias quantised: what changes at the logits
    activation    the float network with only this layer's output quantised: what changes at the logits

SQNR = 10 log10(sum of squares of the float values / sum of squares of the differences), in dB.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from quant import operators as ops
from quant.diagnosis.pair import Match, Pair, decoded_bias, decoded_weight, path, source
from quant.diagnosis.spread import Response, Spread, merge_spreads, response_of, spread_of
from quant.formats import Array
from quant.graph import Graph, Node
from quant.simulate import Simulator, apply, batches, compute, fake_quantise, finish, forward, simulator

#: Float values of all activations that are kept at once (both networks), about 500 MB.
MAX_VALUES = 60_000_000
MAX_BATCH = 32

Progress = Callable[[int, int], None]
Values = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Error:
    """Sums of squares of float values and of what quantisation changes about them."""

    signal: float = 0.0
    noise: float = 0.0

    @property
    def sqnr_db(self) -> float:
        """Signal to noise ratio in dB; infinite without any noise."""
        if self.noise == 0:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal > 0 else -math.inf

    def __add__(self, other: Error) -> Error:
        """Add the sums of two batches."""
        return Error(self.signal + other.signal, self.noise + other.noise)


@dataclass(frozen=True, slots=True)
class Effect:
    """What a change does to the logits: their error, KL divergence (nats, summed), images with the same label."""

    error: Error = Error()
    kl: float = 0.0
    agreeing: int = 0
    images: int = 0

    @property
    def agreement(self) -> float:
        """Share of images whose label stays that of the float network."""
        return self.agreeing / self.images if self.images else 1.0

    @property
    def kl_mean(self) -> float:
        """KL divergence from the float network's softmax, nats per image."""
        return self.kl / self.images if self.images else 0.0

    def __add__(self, other: Effect) -> Effect:
        """Add the sums of two batches."""
        total = self.agreeing + other.agreeing
        return Effect(self.error + other.error, self.kl + other.kl, total, self.images + other.images)


@dataclass(frozen=True, slots=True, eq=False)
class Damage:
    """What was measured of one layer. `weights` and `response` are None for layers without weights."""

    accumulated: Error
    local: Error
    weights: Effect | None
    activation: Effect
    spread: Spread
    response: Response | None = None

    def merged(self, other: Damage) -> Damage:
        """Add the sums of two batches."""
        weights = self.weights + other.weights if self.weights and other.weights else None
        return Damage(
            self.accumulated + other.accumulated,
            self.local + other.local,
            weights,
            self.activation + other.activation,
            merge_spreads(self.spread, other.spread),
            self.response + other.response if self.response and other.response else None,
        )


@dataclass(frozen=True, eq=False)
class Measured:
    """The damage of the whole network, of its quantised input, and of every matched node by name."""

    total: Effect
    input: Damage
    layers: Mapping[str, Damage]


def measure(pair: Pair, inputs: Array, progress: Progress | None = None) -> Measured:
    """Measure what quantisation does to a network, layer by layer.

    Args:
        pair: the two graphs.
        inputs: float32 [N, ...], checked.
        progress: called with (steps done, steps in all).

    Raises:
        QuantError: never; inputs were checked before.
    """
    sims = simulator(pair.floating), simulator(pair.quantised)
    parts = list(batches(inputs, batch_size(pair.floating)))
    steps = len(parts) * (len(pair.matches) + 1)
    totals: list[Measured] = []
    for index, x in enumerate(parts):
        tick = _ticker(progress, index * (len(pair.matches) + 1), steps)
        totals = [_merge([*totals, _measure_batch(pair, sims, x, tick)])]
    return totals[0]


def batch_size(graph: Graph) -> int:
    """Return how many images run at once, so that all their activations fit."""
    values = sum(int(np.prod(graph.shape(name))) for name in graph.activations())
    return max(1, min(MAX_BATCH, MAX_VALUES // (2 * values)))


def _ticker(progress: Progress | None, base: int, steps: int) -> Callable[[int], None]:
    return lambda done: progress(base + done, steps) if progress else None


def _merge(parts: Sequence[Measured]) -> Measured:
    if len(parts) == 1:
        return parts[0]
    first, second = parts
    layers = {name: damage.merged(second.layers[name]) for name, damage in first.layers.items()}
    return Measured(first.total + second.total, first.input.merged(second.input), layers)


def _measure_batch(pair: Pair, sims: tuple[Simulator, Simulator], x: Tensor, tick: Callable[[int], None]) -> Measured:
    floating, quantised = pair.floating, pair.quantised
    real = forward(sims[0], x, keep=floating.activations())
    shown = forward(sims[1], x, keep=quantised.activations())
    total = compare_logits(real[floating.output], shown[quantised.output])
    begin = _damage_of_input(pair, sims, real, shown)
    tick(1)
    layers = {}
    for index, match in enumerate(pair.matches):
        layers[match.node.name] = _damage_of_layer(pair, sims, match, real, shown)
        tick(index + 2)
    return Measured(total, begin, layers)


def _damage_of_input(pair: Pair, sims: tuple[Simulator, Simulator], real: Values, shown: Values) -> Damage:
    x = real[pair.floating.input]
    rounded = shown[pair.quantised.input]
    changed = compare_logits(
        real[pair.floating.output], rerun(sims[0], real, {pair.floating.input: rounded})[pair.floating.output]
    )
    error = difference(x, rounded)
    return Damage(error, error, None, changed, spread_of(x, (pair.quantised.quant(pair.quantised.input),)))


def _damage_of_layer(
    pair: Pair, sims: tuple[Simulator, Simulator], match: Match, real: Values, shown: Values
) -> Damage:
    floating, node = pair.floating, match.node
    y = real[node.output]
    weights, response = None, None
    if isinstance(node.op, ops.Conv | ops.Gemm):
        only, response = _with_weights_of(pair, match, real)
        weights = _effect(sims[0], real, node, only)
    quants = tuple(pair.quantised.quant(step.output) for step in match.chain if _rounds(step))
    rounded = y
    for quant in quants:
        rounded = fake_quantise(quant, rounded)
    return Damage(
        difference(y, shown[match.output].reshape(y.shape)),
        difference(y, _local(sims[1], match, floating, real).reshape(y.shape)),
        weights,
        _effect(sims[0], real, node, rounded) if quants else _no_effect(real[floating.output]),
        spread_of(y, quants),
        response,
    )


def _rounds(node: Node) -> bool:
    """Whether a node's output is rounded anew, and not only moved."""
    return not isinstance(node.op, ops.MOVES) or isinstance(node.op, ops.AveragePool)


def _no_effect(logits: Tensor) -> Effect:
    return Effect(Error(_energy(logits), 0.0), 0.0, len(logits), len(logits))


def _with_weights_of(pair: Pair, match: Match, real: Values) -> tuple[Tensor, Response]:
    """Run a float layer with the quantised weights and bias; returns its output, and what changed before the clip."""
    node, x = match.node, real[match.node.inputs[0]]
    exact = [torch.from_numpy(pair.floating.weights[name].astype(np.float32)) for name in node.inputs[1:]]
    rough = [torch.from_numpy(read(pair.quantised, match.main)) for read in (decoded_weight, decoded_bias)]
    error = compute(node, [x, *(b.float() - a for a, b in zip(exact, rough, strict=True))])
    y = compute(node, [x, *exact])
    given = y - exact[1].reshape(1, -1, *(1 for _ in y.shape[2:]))
    return finish(pair.floating, node, y + error), response_of(given, error)


def _local(sim: Simulator, match: Match, floating: Graph, real: Values) -> Tensor:
    """Run the quantised layer, and what belongs to it, on the float network's inputs."""
    fed: list[Tensor | None] = [None] * len(match.main.inputs)
    for index, name in enumerate(match.node.inputs):
        x, twin = real.get(source(floating, name)), match.main.inputs[index]
        # Padding that the float graph has inside the layer may stand before it here; roundings belong to who made x.
        for move in path(sim.graph, twin):
            x = x if x is None or isinstance(move.op, ops.Requantize) else compute(move, [x])
        fed[index] = x
    y = apply(sim, match.main, fed)
    for step in match.chain[1:]:
        y = apply(sim, step, [y])
    return y


def _effect(sim: Simulator, real: Values, node: Node, changed: Tensor) -> Effect:
    after = rerun(sim, real, {node.output: changed})
    return compare_logits(real[sim.graph.output], after[sim.graph.output])


def rerun(sim: Simulator, values: Values, changed: Values) -> Values:
    """Run only what depends on changed activations.

    Args:
        sim: of a graph.
        values: every activation of an earlier run of the same inputs.
        changed: activations with other values.

    Returns:
        The output, and the changed activations that are still needed for it.
    """
    fresh, made_by_change = dict(changed), set(changed)
    for node in sim.graph.nodes:
        if node.output not in changed and not made_by_change.isdisjoint(node.inputs):
            fresh[node.output] = apply(sim, node, [fresh.get(n, values.get(n)) for n in node.inputs])
            made_by_change.add(node.output)
    return {**{sim.graph.output: values[sim.graph.output]}, **fresh}


def difference(real: Tensor, other: Tensor) -> Error:
    """Return signal and noise of one tensor."""
    return Error(_energy(real), _energy(real - other))


def _energy(values: Tensor) -> float:
    return float(values.double().square().sum())


def compare_logits(real: Tensor, other: Tensor) -> Effect:
    """Compare logits [N, ...] with those of the float network."""
    first, second = real.reshape(len(real), -1), other.reshape(len(other), -1)
    logs = first.double().log_softmax(1), second.double().log_softmax(1)
    kl = float((logs[0].exp() * (logs[0] - logs[1])).sum())
    same = int((first.argmax(1) == second.argmax(1)).sum())
    return Effect(difference(first, second), kl, same, len(first))


def compare_outputs(real: Array, other: Array) -> Effect:
    """Compare the outputs of two networks, float32 [N, ...]."""
    return compare_logits(torch.from_numpy(real), torch.from_numpy(other))
