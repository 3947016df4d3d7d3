"""What is known of one layer when its causes are looked for: numbers, so that a cause is a pure function of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from quant import operators as ops
from quant.diagnosis.damage import Damage, Effect, Error, Measured
from quant.diagnosis.pair import Match, Pair, decoded_weight
from quant.formats import Array, Format
from quant.graph import Graph, Quant
from quant.onnx_quant import bias_units

#: The logits of a healthy network are at least this far above their error, and most labels stay, ...
HEALTHY_DB, HEALTHY_AGREEMENT = 20.0, 0.9
#: ... or this far, while labels and softmax stay what they were.
NEARLY_DB, NEARLY_KL, NEARLY_AGREEMENT = 15.0, 0.01, 0.98
#: A layer's weights or output matter when they make at least this share of all that reaches the logits.
MATTERS = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Weights:
    """A layer's float weights [O, ...] and bias [O], and what they became: `decoded` are real values again."""

    real: Array
    bias: Array
    decoded: Array
    quant: Quant
    bias_codes: Array
    bias_units: Array

    @property
    def per_tensor(self) -> bool:
        """Whether all output channels share one scale."""
        return len(set(self.quant.scale)) == 1 and len(self.real) > 1

    @property
    def steps(self) -> Array:
        """The largest distance between neighbouring values of each channel's grid, [O, 1, ...]."""
        fmt = self.quant.format
        step = fmt.max - fmt.units_of_ordinal(fmt.max_ordinal - 1) * fmt.unit
        scale = np.broadcast_to(np.array(self.quant.scale), (len(self.real),))
        steps: Array = (scale * step).reshape(-1, *(1 for _ in self.real.shape[1:]))
        return steps

    @property
    def tops(self) -> Array:
        """Largest magnitude of each output channel, [O]."""
        tops: Array = np.abs(self.real.reshape(len(self.real), -1)).max(axis=1)
        return tops


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """One layer, or the network's input (`kind` Input).

    `quant` is the last grid its output is rounded to, None when it is only moved. `share` gives the part of all noise
    at the logits that comes from its weights and from its output. `clip` are the limits of a fused activation.
    `batch_norm` says that it stands where the float model has a batch norm. `drift` belongs to the input only: see
    `quant.diagnosis.inputs`, and what the first layer makes of the inputs against its bias.
    """

    name: str
    kind: str
    damage: Damage
    quant: Quant | None
    weights_share: float
    activation_share: float
    clip: tuple[float, float] | None = None
    weights: Weights | None = None
    batch_norm: bool = False
    drift: Mapping[str, float] = field(default_factory=dict)

    @property
    def format(self) -> Format | None:
        """The number format of the output."""
        return self.quant.format if self.quant else None

    @property
    def share(self) -> float:
        """Part of all noise at the logits that this layer makes."""
        return self.weights_share + self.activation_share


def is_healthy(total: Effect) -> bool:
    """Whether quantisation left the network's outputs what they were, up to what does not matter."""
    sqnr = total.error.sqnr_db
    nearly = sqnr >= NEARLY_DB and total.kl_mean <= NEARLY_KL and total.agreement >= NEARLY_AGREEMENT
    return nearly or (sqnr >= HEALTHY_DB and total.agreement >= HEALTHY_AGREEMENT)


def facts_of(pair: Pair, measured: Measured, raw: Graph, drift: Mapping[str, float]) -> tuple[Facts, ...]:
    """Return the facts of the input and of every matched layer, in execution order.

    Args:
        pair: the two graphs.
        measured: their damage.
        raw: the float graph before `prepare`, where batch norms still are.
        drift: from `quant.diagnosis.inputs.drift_of`.
    """
    noise = sum(part.noise for damage in (measured.input, *measured.layers.values()) for part in _parts(damage))
    norms = {node.name for node in raw.nodes if isinstance(node.op, ops.BatchNorm)}
    quant = pair.quantised.quant(pair.quantised.input)
    seen = {**drift, **_first_gain(pair, measured)}
    rows = [Facts(pair.floating.input, "Input", measured.input, quant, *_shares(measured.input, noise), drift=seen)]
    for match in pair.matches:
        damage = measured.layers[match.node.name]
        rows.append(_layer_facts(pair, match, damage, noise, norms))
    return tuple(rows)


def _first_gain(pair: Pair, measured: Measured) -> dict[str, float]:
    """Return how many times its bias the first layer makes of the inputs (root mean squares); empty without a bias."""
    for match in pair.matches:
        response = measured.layers[match.node.name].response
        if response is None or match.node.inputs[0] != pair.floating.input:
            continue
        bias = float(np.square(pair.floating.weights[match.node.inputs[2]].astype(np.float64)).sum())
        return {"response_to_bias": float(np.sqrt(response.energy / response.count / bias))} if bias > 0 else {}
    return {}


def _parts(damage: Damage) -> tuple[Error, ...]:
    return tuple(effect.error for effect in (damage.weights, damage.activation) if effect is not None)


def _shares(damage: Damage, noise: float) -> tuple[float, float]:
    weights = damage.weights.error.noise if damage.weights else 0.0
    return (weights / noise, damage.activation.error.noise / noise) if noise > 0 else (0.0, 0.0)


def _layer_facts(pair: Pair, match: Match, damage: Damage, noise: float, norms: set[str]) -> Facts:
    node = match.node
    moved = isinstance(node.op, ops.MOVES) and not isinstance(node.op, ops.AveragePool)
    clip = (node.op.low, node.op.high) if isinstance(node.op, ops.Clip) else node.clip
    return Facts(
        node.name,
        node.kind,
        damage,
        None if moved else pair.quantised.quant(match.output),
        *_shares(damage, noise),
        clip=clip,
        weights=_weights(pair, match) if damage.weights else None,
        batch_norm=node.name in norms,
    )


def _weights(pair: Pair, match: Match) -> Weights:
    graph, main = pair.quantised, match.main
    real, bias = (pair.floating.weights[name] for name in match.node.inputs[1:])
    units = bias_units(graph.quant(main.inputs[0]), graph.quant(main.inputs[1]))
    codes = graph.weights[main.inputs[2]]
    return Weights(
        real, bias, decoded_weight(graph, main), graph.quant(main.inputs[1]), codes, np.broadcast_to(units, bias.shape)
    )
