"""How two linear heads answer together, and how they become one file.

`arithmetic` is DHO's own rule, p = a softmax(h_ce) + (1 - a) softmax(h_kd / beta). It needs two softmaxes and a sum of
what they give, which a quantised graph cannot hold: softmax has no integer form here. `geometric` is the normalised
product softmax(h_ce)^a softmax(h_kd / beta)^(1 - a) = softmax(a h_ce + (1 - a) h_kd / beta): one linear layer with the
classes as outputs, which costs what one head costs and goes everywhere.

    rule         file                          layer                 runs as
    arithmetic   `arithmetic_module`           Linear(2 classes)     float ONNX; refused by the quantiser
    arithmetic   `joint_module` + `answer`     Linear(2 classes)     anything; softmaxes and sum behind the network
    geometric    `geometric_module`            Linear(classes)       anything
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from edge.dataset import Labels
from edge.errors import EdgeError
from edge.recipes.dual_head import DualHead, with_head
from quant.formats import Array

RULES = ("arithmetic", "geometric")
#: DHO's grid.
SHARES = tuple(step / 20 for step in range(21))
BETAS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Mix:
    """The share `a` of the label head, what divides the other head's logits, and the rule, one of RULES."""

    share: float
    beta: float
    rule: str = "arithmetic"


def combined(first: Array, second: Array, mix: Mix) -> Array:
    """Return the probabilities of both heads together.

    Args:
        first: logits of the label head, [N, classes].
        second: logits of the teacher's head, [N, classes].
        mix: share, beta, rule.

    Returns:
        float64 [N, classes]; rows sum to 1.

    Raises:
        EdgeError: no such rule.
    """
    first, second = first.astype(np.float64), second.astype(np.float64) / mix.beta
    if mix.rule not in RULES:
        raise EdgeError(f"no rule '{mix.rule}' for two heads; allowed are {', '.join(RULES)}.")
    if mix.rule == "geometric":
        return _softmax(mix.share * first + (1 - mix.share) * second)
    mean: Array = mix.share * _softmax(first) + (1 - mix.share) * _softmax(second)
    return mean


def choose_mix(first: Array, second: Array, y: Labels, rule: str = "arithmetic") -> Mix:
    """Return the mix of SHARES and BETAS with the highest accuracy on these images; never give it test images.

    Among equals the one with the highest mean log probability of the labels wins, then the first.

    Args:
        first: logits of the label head for held-out training images, [N, classes].
        second: logits of the teacher's head for the same images.
        y: their labels, [N].
        rule: one of RULES.
    """

    def worth(mix: Mix) -> tuple[float, float]:
        found = combined(first, second, mix)
        likelihood = np.log(np.maximum(found[np.arange(len(y)), y], np.finfo(float).tiny)).mean()
        return float((found.argmax(axis=1) == y).mean()), float(likelihood)

    return max((Mix(share, beta, rule) for share in SHARES for beta in BETAS), key=worth)


def answer(joined: Array, mix: Mix) -> Array:
    """Return the probabilities from the outputs of `joint_module`, [N, 2 classes]: beta is in its weights already."""
    first, second = np.split(joined.reshape(len(joined), -1), 2, axis=1)
    return combined(first, second, Mix(mix.share, 1.0, mix.rule))


def joint_layer(dual: DualHead, mix: Mix) -> nn.Linear:
    """Return one layer with the outputs h_ce and h_kd / beta, 2 classes in all."""
    first, second = _linear(dual)
    return _layer(
        torch.cat([first.weight, second.weight / mix.beta]), torch.cat([_bias(first), _bias(second) / mix.beta])
    )


def geometric_layer(dual: DualHead, mix: Mix) -> nn.Linear:
    """Return one layer with the outputs a h_ce + (1 - a) h_kd / beta."""
    first, second = _linear(dual)
    share, other = mix.share, (1 - mix.share) / mix.beta
    return _layer(share * first.weight + other * second.weight, share * _bias(first) + other * _bias(second))


class Arithmetic(nn.Module):  # type: ignore[misc]  # torch has no types here
    """One network that gives DHO's probabilities: body, Linear(2 classes), two softmaxes, weighted sum."""

    def __init__(self, joint: nn.Module, classes: int, share: float):
        super().__init__()
        self.joint = joint
        # The sum as a layer, so that the softmaxes are the only operators without an integer form.
        one = torch.eye(classes)
        self.sum = _layer(torch.cat([share * one, (1 - share) * one], 1), torch.zeros(classes))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return probabilities [N, classes]."""
        first, second = self.joint(x).chunk(2, 1)
        both: torch.Tensor = self.sum(torch.cat([first.softmax(1), second.softmax(1)], 1))
        return both


def joint_module(dual: DualHead, mix: Mix) -> nn.Module:
    """Return the network with `joint_layer` as its last layer; `answer` makes probabilities of its outputs."""
    return with_head(dual, joint_layer(dual, mix))


def arithmetic_module(dual: DualHead, mix: Mix) -> nn.Module:
    """Return the network that gives the probabilities themselves, for float ONNX."""
    return Arithmetic(joint_module(dual, mix), dual.first.out_features, mix.share).train(dual.training)


def geometric_module(dual: DualHead, mix: Mix) -> nn.Module:
    """Return the network with `geometric_layer` as its last layer: as large as with one head."""
    return with_head(dual, geometric_layer(dual, mix))


def _linear(dual: DualHead) -> tuple[nn.Linear, nn.Linear]:
    for name, head in (("first", dual.first), ("second", dual.second)):
        if not isinstance(head, nn.Linear):
            raise EdgeError(f"the {name} head is {type(head).__name__}; only torch.nn.Linear heads can be folded.")
    return dual.first, dual.second


def _bias(layer: nn.Linear) -> Any:
    return layer.bias if layer.bias is not None else torch.zeros(layer.out_features)


def _layer(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def _softmax(values: Array) -> Array:
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    found: Array = powers / powers.sum(axis=1, keepdims=True)
    return found
