"""Train a network with early exits: cross-entropy everywhere, and the last exit teaches the others (Dynamic Perceiver).

    loss = CE(last) + weight * sum_i CE(exit i) + distil * T^2 * sum_i KL(softmax(last / T) || softmax(exit i / T))

The last exit's probabilities are taken as they are in the distillation: no gradient goes back through the teacher.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import cross_entropy, kl_div, log_softmax

from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.recipes.recipe import Recipe
from edge.train import Schedule, train


@dataclass(frozen=True, slots=True, kw_only=True)
class ExitLoss:
    """Weight of the early exits' cross-entropy, weight of the distillation and its temperature; the paper's values."""

    weight: float = 0.5
    distil: float = 0.5
    temperature: float = 1.0


def exit_loss(logits: Sequence[torch.Tensor], y: torch.Tensor, settings: ExitLoss) -> torch.Tensor:
    """Return the loss of all exits, a scalar.

    Args:
        logits: [N, classes] of every exit, the last one last.
        y: int64 [N].
        settings: the weights.
    """
    *early, last = logits
    loss, t = cross_entropy(last, y), settings.temperature
    target = log_softmax(last.detach() / t, 1)
    for one in early:
        distance = kl_div(log_softmax(one / t, 1), target, reduction="batchmean", log_target=True)
        loss = loss + settings.weight * cross_entropy(one, y) + settings.distil * t * t * distance
    return loss


def recipe(settings: ExitLoss) -> Recipe:
    """Return the recipe for modules with a method `logits(x)` that gives the logits of every exit."""

    def loss(module: Any, x: Any, y: Any) -> Any:
        return exit_loss(module.logits(x), y, settings)

    return Recipe("exits", "cross-entropy of every exit, and the last one teaches the others", loss)


def train_exits(
    module: Any, dataset: Dataset, schedule: Schedule, settings: ExitLoss | None = None, show: bool = True
) -> float:
    """Train a network with exits in place.

    Args:
        module: as `edge.models.exit_net` builds it.
        dataset: raw images and labels.
        schedule: epochs, batch, peak rate, seed.
        settings: weights of the loss; None for the paper's.
        show: whether to draw a progress bar.

    Returns:
        Top-1 accuracy of the last exit on the data's test images, 0 to 1.

    Raises:
        EdgeError: the module has no exits, too few images, or a loss that is no longer finite.
    """
    if not hasattr(module, "logits"):
        raise EdgeError("the model has no exits (no method 'logits'); use edge.models.exit_net, or another recipe.")
    return train(module, dataset, recipe(settings or ExitLoss()), schedule, show)
